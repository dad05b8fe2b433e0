"""The reference of the vital signs as a page, in the words of the catalogue."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cxstream.domain import scope
from cxstream.domain.gaming import Trace
from cxstream.domain.policy import Policy
from cxstream.domain.reasons import Reason
from cxstream.domain.vital_sign import VitalSign
from cxstream.engine import assess

_RULES = re.compile(r"\((rules? \d[^)]*|definition [BC]\d[^)]*)\)")


def reference(catalogue: Mapping[str, VitalSign]) -> str:
    """Return docs/vital-signs.md: what each sign means and how it is counted."""
    overview = [
        f"| [{sign.title}](#{name}) | {sign.question} | {sign.unit.kind} | {_objective(sign)} | {sign.tier} |"
        for name, sign in sorted(catalogue.items(), key=lambda named: named[1].tier)
    ]
    shared = f"{_SHARED}\n\n{_reasons({**scope.REASONS, **assess.REASONS})}"
    return "\n".join([_OPENING, *overview, "", *(_section(name, sign) for name, sign in catalogue.items()), shared])


def rules_of(sign: VitalSign) -> str:
    """Return the rules or the definition a sign holds to, as its judge cites them; empty if it cites none."""
    cited = _RULES.search(sign.judge.__doc__ or "")
    return cited[1] if cited else ""


def trace(sign: VitalSign, shown_by: Trace) -> str:
    """Return a counter that shows a sign being gamed as a selector of its series."""
    labels = [f'{shown_by.label}="{shown_by.value}"'] if shown_by.label else []
    if shown_by.family.startswith("cxstream_vital_sign_") and shown_by.label != "vital_sign":
        labels.insert(0, f'vital_sign="{sign.name}"')
    return shown_by.family + (f"{{{', '.join(labels)}}}" if labels else "")


def _objective(sign: VitalSign) -> str:
    return "measured" if sign.objective is None else f"{sign.objective:.0%}"


def _formula(sign: VitalSign) -> str:
    """Return what is recorded of a sign at the level of the whole job, and how it comes about."""
    if sign.measure is None:
        return "numerator / denominator: `job:cxstream_vital_sign_good_per_units:ratio`"
    called = ", ".join(["mean", *(f"p{round(100 * quantile)}" for quantile in sign.measure.quantiles)])
    name = f"job:cxstream_{sign.name}_{sign.measure.unit}"
    return f"of what is measured, over the denominator, in {sign.measure.unit}: {called} (`{name}:mean`)"


def _section(name: str, sign: VitalSign) -> str:
    rows = [
        ("The customer", f"“{sign.question}”"),
        ("Formula", _formula(sign)),
        ("Numerator", f"{'good' if sign.measure is None else 'measured'}: {sign.numerator}"),
        ("Denominator", sign.denominator),
        ("Unit", sign.unit.kind),
        ("Known, and until when it can change", sign.known),
        *([("Objective", f"{_objective(sign)} good, unless the policy says otherwise")] if sign.objective else []),
        ("Evidence from", ", ".join(sign.topics)),
        ("Rules", f"{rules_of(sign)} of the [vital-signs contract](rules.md)"),
        ("Tier", sign.tier if sign.tier == "A" else f"{sign.tier}: judged by workers whose `sign_tiers` name it"),
    ]
    if sign.lower_is_better:
        rows.append(("Also published as", f"`{sign.lower_is_better}`, 1 - the share of good: lower is better"))
    if sign.measure is not None:
        rows.append(("Better", sign.measure.better))
    rows.append(("What games it", sign.gaming.how))
    shown_by = ", ".join(f"`{trace(sign, one)}`" for one in sign.gaming.traces)
    rows.append(("What shows the gaming", shown_by or "no counter does"))
    table = "\n".join(f"| {what} | {text} |" for what, text in rows)
    return f"## {name}\n\n{sign.title}.\n\n| | |\n|---|---|\n{table}\n\n{_reasons(sign.reasons)}"


def _reasons(reasons: Mapping[str, Reason]) -> str:
    """Return reasons in plain words as a table, with the default limits."""
    told = {code: reason.told(Policy()) for code, reason in reasons.items()}
    rows = [f"| `{code}` | {reason.sentence} | {', '.join(map(str, reason.rules))} |" for code, reason in told.items()]
    return "\n".join(["| reason | in plain words | rules |", "|---|---|---|", *rows, ""])


_OPENING = """\
# Vital signs

Each sign asks one question a customer has when something breaks, of every case, visit, commitment or part line. A \
unit is good or bad for the customer once it is decided; until then it is pending, and what cannot be judged is \
excluded, with a reason. The ratio is good / (good + bad); without a decided unit there is none. Workers judge and \
publish the signs of tier A, unless `sign_tiers` says otherwise ([configuration](configuration.md)); where a sign of \
another tier shows gaming, it does so where it is judged.

| vital sign | the customer asks | unit | objective | tier |
|---|---|---|---|---|"""

_SHARED = """\
## Reasons of any sign

What was still pending at its seal is excluded as `unknown_at_seal:` with the reason it was pending for (rule 4)."""
