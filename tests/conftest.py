"""What every test can ask for, and how a run tells what it used and what it left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import hypothesis
import pytest

from parts.apache_kafka import ApacheKafka
from parts.broker import require_apache_kafka, started, test_broker
from parts.trials import FACTOR

MARKERS = {
    "slow": "takes more than about ten seconds; left out by `make test-fast`",
    "kafka": "needs a Kafka broker; set by itself on tests that use a broker's fixture",
}
_NEEDS_KAFKA = {"kafka", "apache_kafka", "secured"}
_ORDER = ("unit", "property", "contract", "golden", "simulation", "integration", "e2e", "faults")


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers (an unknown one is an error), and let examples take their time: machines are busy.

    Examples of the profile `new` are never those of another run, also where CI wants the same each time.
    """
    hypothesis.settings.register_profile("cxstream", deadline=None, max_examples=100 * FACTOR)
    hypothesis.settings.load_profile("cxstream")
    usual = hypothesis.settings.get_profile("cxstream")
    hypothesis.settings.register_profile("new", parent=usual, derandomize=False, database=None)
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


def pytest_report_header() -> str:
    """Say which broker this run uses."""
    return test_broker().line


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests that need a broker, and run cheap folders first: a broken rule is told before a broker starts."""
    for item in items:
        if _NEEDS_KAFKA & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.kafka)

    def rank(item: pytest.Item) -> int:
        parts = item.path.relative_to(config.rootpath).parts
        folder = parts[1] if len(parts) > 2 else ""
        return _ORDER.index(folder) if folder in _ORDER else len(_ORDER)

    items.sort(key=rank)  # stable: the order within a folder stays


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what was left out and why, in words; silence would read as proof."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for report in terminalreporter.stats.get("skipped", []):
        where = report.longrepr
        reason = where[2] if isinstance(where, tuple) else str(where)
        reasons[reason.removeprefix("Skipped: ")].append(report.nodeid)
    terminalreporter.section("left out")
    terminalreporter.line(test_broker().line)
    if not reasons:
        terminalreporter.line("nothing was skipped")
    for reason, tests in sorted(reasons.items()):
        terminalreporter.line(f"{len(tests)} skipped: {reason}")
        for test in tests:
            terminalreporter.line(f"    {test}")


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Bootstrap address of the broker the whole run shares; topics and groups need names of their own."""
    with started(test_broker()) as bootstrap:
        yield bootstrap


@pytest.fixture
def apache_kafka(request: pytest.FixtureRequest) -> Iterator[ApacheKafka]:
    """A running Apache Kafka of the test's own, to kill, pause and restart; parametrize with 3 for three brokers.

    Skipped where no Java or Maven is at hand, failed where they are and it does not run.
    """
    require_apache_kafka()
    with ApacheKafka(brokers=getattr(request, "param", 1)) as cluster:
        yield cluster
