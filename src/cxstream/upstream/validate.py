"""Says of the events of files what a worker would say of them, and what they would do to the vital signs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple
from zoneinfo import available_timezones

from cxstream.client.records import SEEN, nearest, unknown
from cxstream.domain import vocabulary
from cxstream.domain.facts import Fact, RejectedError, admit
from cxstream.domain.instant import DAY_MS, SECOND_MS, format_instant
from cxstream.domain.policy import Policy
from cxstream.engine.assess import Catalogue
from cxstream.offline.events_file import Delivered, read_event
from cxstream.offline.judge import judge_facts
from cxstream.upstream.event_files import Line, read_lines

Severity = Literal["error", "warning"]


class Finding(NamedTuple):
    """What is to be said about one record of a file, and how to mend it."""

    path: str
    line: int
    severity: Severity
    """`error`: a worker rejects the event. `warning`: it takes it, and it is probably not what was meant."""
    reason: str
    field: str | None
    said: str
    fix: str

    def __str__(self) -> str:
        """Return the finding as editors and people read it."""
        field = f"{self.field}: " if self.field else ""
        return f"{self.path}:{self.line}: {self.severity}: {self.reason}: {field}{self.said}. Fix: {self.fix}."

    def document(self) -> dict[str, object]:
        """Return the finding as it is printed as JSON."""
        return self._asdict()


class Effect(NamedTuple):
    """What the events would do to one vital sign: its units by verdict, and the reasons of what is not good."""

    sign: str
    good: int
    miss: int
    pending: int
    excluded: int
    reasons: dict[str, int]
    """Of misses, pending and excluded units: how many by `verdict reason`."""

    def __str__(self) -> str:
        """Return one line for people."""
        why = ", ".join(f"{count} {reason}" for reason, count in self.reasons.items())
        counts = f"{self.good} good, {self.miss} missed, {self.pending} pending, {self.excluded} excluded"
        return f"{self.sign}: {counts}{f' ({why})' if why else ''}"


class Report(NamedTuple):
    """What was found in files of events."""

    records: int
    findings: list[Finding]
    effects: list[Effect]

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def warnings(self) -> int:
        """How many findings are warnings."""
        return len(self.findings) - self.errors

    def document(self, as_of_ms: int) -> dict[str, object]:
        """Return everything as one JSON object."""
        return {
            "records": self.records,
            "errors": self.errors,
            "warnings": self.warnings,
            "as_of": format_instant(as_of_ms),
            "findings": [finding.document() for finding in self.findings],
            "vital_signs": [effect._asdict() for effect in self.effects],
        }


def validate(paths: Iterable[Path], as_of_ms: int, catalogue: Catalogue, policy: Policy) -> Report:
    """Check the events of all files together, as delivered at `seen`, or at `as_of_ms` where that is absent.

    Raises OSError if a file cannot be read.
    """
    findings: list[Finding] = []
    told: list[_Told] = []
    records = 0
    for path in paths:
        for line in read_lines(path):
            records += 1
            try:
                if line.error is not None:
                    raise line.error
                told.append(_Told(line, *_admitted(line.event, as_of_ms, policy.clock_skew_ms)))
            except RejectedError as error:
                findings.append(_finding(line, error))
            else:
                event = {name: value for name, value in line.event.items() if name != SEEN}
                findings += [_finding(line, ignored) for ignored in unknown(event)]
    findings += _semantics(told, policy.memory_ms)
    findings.sort(key=lambda finding: (finding.path, finding.line, finding.severity))
    return Report(records, findings, list(_effects(told, as_of_ms, catalogue, policy)))


class _Told(NamedTuple):
    """A fact, and the line that states it."""

    line: Line
    case_id: str
    fact: Fact


def _admitted(event: Mapping[str, object], as_of_ms: int, skew_ms: int) -> Delivered:
    if event.get(SEEN) is not None:
        return read_event(event, skew_ms)
    return Delivered(*admit(event, as_of_ms, skew_ms=skew_ms))


# --- Single events


_WRONG_NAME = "correct the name, or leave it out"
_IGNORED = {"unknown_type": "no verdict will rest on it", "unknown_field": "it will be dropped"}
_FIXES = {
    "naive_time": "add the offset of the place it happened at, or Z",
    "future": "state when it happened, and check the clock of the machine that stamps it",
    "undecodable": "write the file anew with the schema it names",
    "too_large": "split it",
    "unknown_schema": "write it with a schema of schemas/",
}


def _finding(line: Line, error: RejectedError) -> Finding:
    ignored = _IGNORED.get(error.reason)
    said = f"expected {error.expected}" + (f"; {ignored}" if ignored else "")
    severity: Severity = "warning" if ignored else "error"
    return Finding(line.path, line.number, severity, error.reason, error.field, said, _fix(line.event, error))


def _fix(event: Mapping[str, object], error: RejectedError) -> str:
    """Say what to change: a known name near the one found, else what a field of its kind needs."""
    if error.reason in _FIXES:
        return _FIXES[error.reason]
    if error.reason in _IGNORED:
        return _WRONG_NAME
    if error.field is None:
        return "write one JSON object a line"
    name, _, corrected = error.field.partition(".")
    value = event.get(name)
    declared = (vocabulary.fields_of(str(event.get("topic")), str(event.get("type"))) or {}).get(name)
    known: tuple[str, ...] = declared.choices if declared else vocabulary.TOPICS if name == "topic" else ()
    if declared is not None and declared.kind == "zone":
        known = tuple(available_timezones())
    meant = nearest(str(value), set(known)) if known else ""
    if meant:
        return f"write {meant.removeprefix(', perhaps ')}"
    if name == "topic":
        return f"write one of {', '.join(known)}"
    if value is None:
        return f"state {name}"
    may_be_absent = bool(corrected) or name == SEEN or (declared is not None and not declared.required)
    return f"write {error.field} as expected" + (", or leave it out" if may_be_absent else "")


# --- Events together


_BEGIN_VISIT = {"scheduled", "rescheduled"}
_OF_VISIT = {"assigned", "en_route", "arrived", "completed", "cancelled"}
_BEGIN_COMMITMENT = "commitment_made"


class _Case:
    """What the files tell of one case, by what other events refer to."""

    def __init__(self) -> None:
        self.opened_ms: int | None = None
        self.events: dict[str, _Told] = {}
        self.scheduled_ms: dict[str, int] = {}
        self.visits: set[str] = set()
        self.commitments: set[str] = set()
        self.lines: set[str] = set()

    def learn(self, told: _Told) -> None:
        fact = told.fact
        self.events.setdefault(fact.event_id, told)
        if (fact.topic, fact.type) == ("ticket", "opened"):
            self.opened_ms = min(fact.at_ms, self.opened_ms if self.opened_ms is not None else fact.at_ms)
        elif fact.topic == "dispatch" and (visit_id := fact.text("visit_id")):
            self.visits.add(visit_id)
            if fact.type in _BEGIN_VISIT:
                self.scheduled_ms[visit_id] = min(fact.at_ms, self.scheduled_ms.get(visit_id, fact.at_ms))
        elif fact.type == _BEGIN_COMMITMENT:
            self.commitments.add(str(fact.text("commitment_id")))
        elif (fact.topic, fact.type) == ("parts", "required"):
            self.lines.add(str(fact.text("line_id")))


def _semantics(told: Iterable[_Told], memory_ms: int) -> Iterator[Finding]:
    """Yield what no single event shows: what refers to nothing, what comes before its time, what contradicts.

    `memory_ms`: an event delivered so long after it happened is refused where nothing is known of its case.
    """
    told = list(told)
    cases: defaultdict[str, _Case] = defaultdict(_Case)
    for one in told:
        cases[one.case_id].learn(one)
    for one in told:
        for reason, field, said, fix in chain(_age(one, memory_ms), *(check(one, cases) for check in _CHECKS)):
            yield Finding(one.line.path, one.line.number, "warning", reason, field, said, fix)


_Said = Iterator[tuple[str, str | None, str, str]]
"""Reason, field, what is odd, how to mend it."""


def _age(one: _Told, memory_ms: int) -> _Said:
    fact = one.fact
    late_ms = fact.delivered_ms - fact.at_ms
    if late_ms > memory_ms:
        said = f"it happened {late_ms // DAY_MS} days before its delivery: a worker that knows nothing of the case"
        fix = "state in seen when it was delivered, or send first what the case began with"
        if abs(fact.delivered_ms - fact.at_ms * SECOND_MS) <= memory_ms:
            fix = "write milliseconds: it seems to be seconds"
        yield "too_old", "at", f"{said} rejects it", fix


def _known_case(one: _Told, cases: Mapping[str, _Case]) -> _Said:
    case = cases[one.case_id]
    if case.opened_ms is None:
        if next(iter(case.events.values())) is one:
            yield (
                "never_opened",
                "case_id",
                "no ticket.opened of this case that a worker would take: most of its signs stay pending",
                "send ticket.opened with the same case_id, or mend the case_id",
            )
    elif one.fact.at_ms < case.opened_ms and one.fact.type not in vocabulary.ANY_TOPIC:
        said = f"it happened before the case was opened ({format_instant(case.opened_ms)})"
        yield "before_opening", "at", said, "state the time it happened, or the opening's first contact"


def _known_visit(one: _Told, cases: Mapping[str, _Case]) -> _Said:
    fact, case = one.fact, cases[one.case_id]
    visit_id = fact.text("visit_id")
    if fact.topic == "parts" and visit_id is not None and visit_id not in case.visits:
        said = "a parts event for a visit no dispatch event of the case names"
        yield "unknown_visit", "visit_id", said, "use the visit_id of dispatch.scheduled, or send that"
    if fact.topic != "dispatch" or visit_id is None or fact.type not in _OF_VISIT:
        return
    scheduled_ms = case.scheduled_ms.get(visit_id)
    if scheduled_ms is None:
        said = "the visit was never scheduled: without a window it has no promise to keep"
        yield "never_scheduled", "visit_id", said, "send dispatch.scheduled for it, or mend the visit_id"
    elif fact.at_ms < scheduled_ms:
        said = f"{fact.type} before the visit was scheduled ({format_instant(scheduled_ms)})"
        yield "before_scheduled", "at", said, "state in scheduled when the promise was made, not when it was stored"


def _window(one: _Told, _cases: Mapping[str, _Case]) -> _Said:
    end_ms = one.fact.instant_ms("window_end")
    if end_ms is not None and end_ms < one.fact.at_ms:
        said = "the window was over when it was promised: it can only be missed"
        yield "window_past", "window_end", said, "state in at when the promise was made, or mend the window"


def _known_commitment(one: _Told, cases: Mapping[str, _Case]) -> _Said:
    fact = one.fact
    if fact.type in {"commitment_changed", "commitment_kept"}:
        if fact.text("commitment_id") not in cases[one.case_id].commitments:
            said = "no commitment_made of the case has this id"
            yield "unknown_commitment", "commitment_id", said, "use the id of commitment_made, or send that"
    elif fact.type == _BEGIN_COMMITMENT and fact.instant_ms("due") is None:
        yield "no_due_time", "due", "a commitment without a due time cannot be kept or broken", "state due"


def _known_line(one: _Told, cases: Mapping[str, _Case]) -> _Said:
    fact = one.fact
    if fact.topic != "parts" or fact.type in {"required", *vocabulary.ANY_TOPIC}:
        return
    if "line_id" in fact.fields and fact.text("line_id") not in cases[one.case_id].lines:
        said = "no parts.required of the case names this line: parts_ready does not see it"
        yield "never_required", "line_id", said, "send parts.required for it, or mend the line_id"


def _known_target(one: _Told, cases: Mapping[str, _Case]) -> _Said:
    fact = one.fact
    if fact.type in vocabulary.ANY_TOPIC and fact.target not in cases[one.case_id].events:
        said = f"{fact.type} names an event the case does not have: it waits for it"
        yield "unknown_target", "target", said, "use the event_id of the event, and its case_id"
    if fact.type == "merged" and fact.text("into") not in cases:
        said = "the case it was merged into is not in these files"
        yield "unknown_case", "into", said, "check the case_id of the survivor"


def _known_changes(one: _Told, cases: Mapping[str, _Case]) -> _Said:
    changes = one.line.event.get("set")
    if one.fact.type != "corrected" or not isinstance(changes, Mapping):
        return
    target = cases[one.case_id].events.get(one.fact.target)
    declared = vocabulary.fields_of(target.fact.topic, target.fact.type) if target else None
    names = {name for name in vocabulary.CORRECTABLE if declared is None or name == "at" or name in declared}
    of = f"{target.fact.topic}.{target.fact.type}" if target and declared is not None else "any type"
    for name in sorted(changes.keys() - names):
        hint = nearest(name, names) or f" ({', '.join(sorted(names))})"
        yield "unknown_field", f"set.{name}", f"expected a field of {of}{hint}; it will be dropped", _WRONG_NAME


def _unique(one: _Told, cases: Mapping[str, _Case]) -> _Said:
    first = cases[one.case_id].events[one.fact.event_id]
    if first is one:
        return
    where = f"{first.line.path}:{first.line.number}"
    if first.fact.payload() == one.fact.payload():
        yield "duplicate", "event_id", f"the same event as {where}: it counts once", "none needed"
    else:
        said = f"another event than {where} with the same event_id: one of them is dropped"
        yield "conflict", "event_id", said, "a new event_id for a new fact; corrected for a changed one"


_CHECKS: tuple[Callable[[_Told, Mapping[str, _Case]], _Said], ...] = (
    _unique,
    _known_case,
    _known_visit,
    _window,
    _known_commitment,
    _known_line,
    _known_target,
    _known_changes,
)


# --- What they would do


def _effects(told: Iterable[_Told], as_of_ms: int, catalogue: Catalogue, policy: Policy) -> Iterator[Effect]:
    facts = sorted((Delivered(one.case_id, one.fact) for one in told), key=lambda one: one.fact.delivered_ms)
    judged, _not_taken = judge_facts(facts, as_of_ms, catalogue, policy)
    for sign in catalogue:
        verdicts = [one.verdict for one in judged if one.verdict.sign == sign]
        if not verdicts:
            continue
        counts = Counter(verdict.verdict for verdict in verdicts)
        why = Counter(
            f"{verdict.verdict} {verdict.reason}" for verdict in verdicts if not verdict.verdict.endswith("_hit")
        )
        yield Effect(
            sign,
            counts["provisional_hit"] + counts["final_hit"],
            counts["miss"],
            counts["pending"],
            counts["excluded"],
            dict(sorted(why.items())),
        )
