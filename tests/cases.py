"""Short builders for the events of a case, and what the production core says of them; times count from one Monday."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from cxstream.domain.cases import Case
from cxstream.domain.facts import Fact
from cxstream.domain.instant import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, format_instant, parse_instant
from cxstream.domain.policy import Policy
from cxstream.domain.verdict import Verdict
from cxstream.domain.vocabulary import TIME_FIELDS
from cxstream.engine.assess import Catalogue, Clock
from cxstream.engine.casebook import Casebook
from cxstream.offline.events_file import Delivered, read_event
from cxstream.vital_signs import CATALOGUE

Event = dict[str, object]

POLICY = Policy()
MONDAY_MS = parse_instant("2026-03-02T08:00:00Z")
_UNITS_MS = {"d": DAY_MS, "h": HOUR_MS, "m": MINUTE_MS, "s": SECOND_MS, "ms": 1}


def ms(offset: str) -> int:
    """Return the instant an offset like "1d2h", "-30m" or "50h15m1ms" from Monday 08:00 UTC stands for."""
    length_ms = sum(int(number) * _UNITS_MS[unit] for number, unit in re.findall(r"(\d+)(ms|[dhms])", offset))
    return MONDAY_MS - length_ms if offset.startswith("-") else MONDAY_MS + length_ms


def rfc3339(offset: str) -> str:
    """Return that instant as events state it."""
    return format_instant(ms(offset))


def event(
    kind: str, at: str, /, *, case: str = "C1", seen: str | None = None, named: str | None = None, **fields: object
) -> Event:
    """Return one event; `kind` is topic.type, `named` its id, which otherwise is made of type, visit and time."""
    topic, event_type = kind.split(".")
    default_id = "-".join(str(part) for part in (event_type, fields.get("visit_id"), at) if part)
    stated = {name: _written(name, value) for name, value in fields.items()}
    made = {"event_id": named or default_id, "topic": topic, "type": event_type, "case_id": case, "at": rfc3339(at)}
    return {**made, **stated} if seen is None else {**made, **stated, "seen": rfc3339(seen)}


def _written(name: str, value: object) -> object:
    if name in TIME_FIELDS and isinstance(value, str):
        return rfc3339(value)
    if name == "set" and isinstance(value, dict):
        return {changed: _written(changed, new) for changed, new in value.items()}
    return value


def opened(at: str = "0h", *, asset_id: str | None = "A1", **more: object) -> Event:
    """Return the opening of a case."""
    return _event("ticket.opened", at, more, asset_id=asset_id)


def resolved(at: str, **more: object) -> Event:
    """Return the ticket's resolution."""
    return _event("ticket.resolved", at, more)


def reopened(at: str, **more: object) -> Event:
    """Return a reopening, by default for the same fault."""
    return _event("ticket.reopened", at, more)


def cancelled(at: str, **more: object) -> Event:
    """Return the cancellation of a case, by default because the customer withdrew."""
    return _event("ticket.cancelled", at, more)


def merged(at: str, into: str, **more: object) -> Event:
    """Return the merge of a case into another."""
    return _event("ticket.merged", at, more, into=into)


def scheduled(at: str, start: str, end: str, visit: str = "V1", **more: object) -> Event:
    """Return a window made for a visit."""
    return _event("dispatch.scheduled", at, more, visit_id=visit, window_start=start, window_end=end)


def rescheduled(at: str, start: str, end: str, visit: str = "V1", **more: object) -> Event:
    """Return another window for a visit, by default by the provider."""
    return _event("dispatch.rescheduled", at, more, visit_id=visit, window_start=start, window_end=end)


def planned(at: str = "0h", visit: str = "V1", **more: object) -> Event:
    """Return a visit that was planned without a window."""
    return _event("dispatch.scheduled", at, more, visit_id=visit)


def visit_cancelled(at: str, visit: str = "V1", **more: object) -> Event:
    """Return the cancellation of a visit, by default by the provider."""
    return _event("dispatch.cancelled", at, more, visit_id=visit)


def arrived(at: str, visit: str = "V1", **more: object) -> Event:
    """Return the arrival of a technician."""
    return _event("dispatch.arrived", at, more, visit_id=visit)


def completed(at: str, outcome: str | None = None, visit: str = "V1", **more: object) -> Event:
    """Return the completion of a visit; without outcome it states none."""
    stated = {"visit_id": visit} if outcome is None else {"visit_id": visit, "outcome": outcome}
    return _event("dispatch.completed", at, more, **stated)


def corrected(at: str, target: str, changes: Mapping[str, object], **more: object) -> Event:
    """Return a correction of the event with the id `target`."""
    return _event("ticket.corrected", at, more, target=target, set=dict(changes))


def voided(at: str, target: str, **more: object) -> Event:
    """Return the void of the event with the id `target`."""
    return _event("ticket.voided", at, more, target=target)


def erased(at: str, **more: object) -> Event:
    """Return the erasure of a case."""
    return _event("ticket.erased", at, more)


def _event(kind: str, at: str, more: Mapping[str, object], /, **fields: object) -> Event:
    return event(kind, at, **{**fields, **more})  # type: ignore[arg-type]  # keywords and fields share one mapping


def of_case(case: str, *events: Event) -> list[Event]:
    """Return the events as those of another case."""
    return [{**one, "case_id": case} for one in events]


def delivered(*events: Event) -> list[Delivered]:
    """Admit events: each fact with the case it belongs to."""
    return [read_event(one, POLICY.clock_skew_ms) for one in events]


def facts(*events: Event) -> list[Fact]:
    """Admit events of one case."""
    return [one.fact for one in delivered(*events)]


def booked(events: Iterable[Event], policy: Policy = POLICY, catalogue: Catalogue = CATALOGUE) -> Casebook:
    """Return a casebook that has taken the events in, in the order given."""
    casebook = Casebook(catalogue, policy)
    for case_id, fact in delivered(*events):
        casebook.take(case_id, fact)
    return casebook


def judged(
    events: Iterable[Event], as_of: str, sign: str, unit: str = "C1", *, case: str = "C1", policy: Policy = POLICY
) -> Verdict | None:
    """Return the verdict of one sign on one unit of a case, at a clock reading when all of it has been delivered."""
    casebook = booked(events, policy)
    casebook.assess(Clock.at(ms(as_of)))
    found = (one for one in casebook.cases[case].verdicts if (one.sign, one.unit) == (sign, unit))
    return next(found, None)


def told(
    events: Iterable[Event], as_of: str, sign: str, unit: str = "C1", *, case: str = "C1", policy: Policy = POLICY
) -> str:
    """Return that verdict in words: the verdict and its reason."""
    verdict = judged(events, as_of, sign, unit, case=case, policy=policy)
    return "no such unit" if verdict is None else f"{verdict.verdict} {verdict.reason}"


def wakes_ms(case: Case) -> int:
    """Return the first instant at which the clock alone may change a case, for a reader who has every fact by then."""
    return min(case.deadline_ms, case.settles_ms)
