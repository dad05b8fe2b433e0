"""The same rules and alerts as an object of the Prometheus Operator, for clusters whose Prometheus reads no files."""

from __future__ import annotations

import textwrap

_HEAD = """\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: cxstream
spec:
"""


def prometheus_rule(*rule_files: str) -> str:
    """Return a PrometheusRule that has the groups of all these Prometheus rule files, in their order."""
    groups = "".join(text.removeprefix("groups:\n") for text in rule_files)
    return _HEAD + textwrap.indent(f"groups:\n{groups}", "  ")
