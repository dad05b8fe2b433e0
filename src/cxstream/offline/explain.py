"""Explains one case of a set of facts: what `cxstream explain` prints, as text for people or as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import NamedTuple

import msgspec

from cxstream.domain.cases import Case
from cxstream.domain.facts import Value
from cxstream.domain.instant import LATEST_MS, MINUTE_MS, format_duration, format_limit, zone
from cxstream.domain.policy import Policy
from cxstream.domain.vocabulary import TIME_FIELDS
from cxstream.engine.assess import Catalogue, Clock
from cxstream.engine.casebook import Casebook
from cxstream.engine.explain import Dropped, Entry, Explained, Explanation, Key, Witness, explain
from cxstream.offline.events_file import Delivered, WrongLine

WIDTH = 100
"""Columns of the text."""

NEAR = 3
"""How many ids are offered for one that is not known."""

_LIKENESS = 0.5
"""How much of an id must agree for it to be near, of 1: ids are short."""


class UnknownCaseError(Exception):
    """No fact of a case of this id is known; the message names those whose ids are near."""

    def __init__(self, case_id: str, known: Iterable[str], as_of_ms: int) -> None:
        by_folded = {one.casefold(): one for one in sorted(known)}
        near = [by_folded[one] for one in get_close_matches(case_id.casefold(), by_folded, NEAR, _LIKENESS)]
        offer = ", ".join(map(repr, near)) or f"none of {len(by_folded)}"
        super().__init__(
            f"nothing of a case {case_id!r} was delivered by {format_limit(as_of_ms)}; ids near it: {offer}"
        )


class Told(NamedTuple):
    """The explanation of one case of some files, and what those say of it that is no part of the case."""

    explanation: Explanation
    later: int
    """Facts of the case that are delivered after the clock reading."""
    rejected: list[WrongLine]
    """Lines that name the case and are no facts."""

    def document(self) -> dict[str, object]:
        """Return the same for machines: instants as RFC 3339 in UTC, lengths and limits in words."""
        explanation = msgspec.to_builtins(self.explanation)
        return {
            **{name.removesuffix("_ms"): _written(value, name) for name, value in explanation.items()},
            "delivered_later": self.later,
            "rejected": [line._asdict() for line in self.rejected],
        }

    def text(self) -> str:
        """Return the same for people: at most WIDTH columns, instants in the time of the site and in UTC."""
        return "\n".join([*_Page(self).lines(), ""])


def explain_case(
    facts: Sequence[Delivered],
    wrong: Iterable[WrongLine],
    case_id: str,
    as_of_ms: int,
    catalogue: Catalogue,
    policy: Policy,
) -> Told:
    """Explain a case by what was delivered by `as_of_ms`, at that clock reading; `facts` are in order of delivery.

    Raises UnknownCaseError if nothing of it was.
    """
    seen = [one for one in facts if one.fact.delivered_ms <= as_of_ms]
    casebook = Casebook(catalogue, policy)
    concerning = _concerning(case_id, seen, policy)
    for one in concerning:
        casebook.take(one.case_id, one.fact)
    case = casebook.cases.get(case_id, Case(case_id))
    if case == Case(case_id):
        raise UnknownCaseError(case_id, {one.case_id for one in seen}, as_of_ms)
    explanation = explain(case, catalogue, policy, Clock.at(as_of_ms), _dropped(concerning))
    rejected = [line for line in wrong if line.case_id == case_id]
    return Told(
        explanation,
        sum(one.case_id == case_id for one in facts) - sum(one.case_id == case_id for one in seen),
        rejected,
    )


def _concerning(case_id: str, facts: Sequence[Delivered], policy: Policy) -> list[Delivered]:
    """Return the facts of all cases that a case can hear of, by assets and merges that any of them names (rule 9)."""
    named: dict[str, set[tuple[str, str]]] = {}
    for origin, fact in facts:
        names = named.setdefault(origin, {("case", origin)})
        changes = fact.fields.get("set")
        for fields in (fact.fields, changes if isinstance(changes, dict) else {}):
            names |= {("asset", str(fields[name])) for name in ("asset_id", "replaced_by") if name in fields}
            names |= {("case", str(fields["into"]))} if "into" in fields else set()
    bearers: dict[tuple[str, str], list[str]] = {}
    for origin, names in named.items():
        for kind, name in names:
            if kind == "case" or policy.asset(name):
                bearers.setdefault((kind, name), []).append(origin)
    reached: set[str] = set()
    ahead = [("case", case_id)]
    while ahead:
        for origin in bearers.pop(ahead.pop(), ()):
            if origin not in reached:
                reached.add(origin)
                ahead += named[origin]
    return [one for one in facts if one.case_id in reached]


def _dropped(facts: Iterable[Delivered]) -> dict[Key, Dropped]:
    """Count the copies of each fact that are not kept, by how they compare with the one that is (rule 1)."""
    copies: dict[Key, list[tuple[int, bytes, bytes]]] = {}
    for case_id, fact in facts:
        copies.setdefault((case_id, fact.event_id), []).append(fact.precedence())
    dropped = {}
    for key, its_copies in copies.items():
        *_, kept = min(its_copies)
        equal = sum(payload == kept for *_, payload in its_copies)
        if len(its_copies) > 1:
            dropped[key] = Dropped(equal - 1, len(its_copies) - equal)
    return dropped


def _written(value: object, name: str = "") -> object:
    """Write what a struct holds for machines: instants, told by their names, as RFC 3339."""
    if isinstance(value, dict):
        corrected = str(value.get("field"))
        named = {key: corrected if key in ("before", "after") else key for key in value}
        return {key.removesuffix("_ms"): _written(inner, named[key]) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_written(inner, name) for inner in value]
    if isinstance(value, int) and not isinstance(value, bool) and (name.endswith("_ms") or name in TIME_FIELDS):
        return format_limit(value)
    return value


_TYPES = {
    ("ticket", "cancelled"): "case cancelled",
    ("dispatch", "cancelled"): "visit cancelled",
    ("parts", "cancelled"): "part cancelled",
}
_VERDICTS = {"provisional_hit": "hit", "final_hit": "hit"}
_LEGEND = """\
hit: good for the customer. miss: bad. pending: not decided yet, in no ratio. excluded: left out of the ratio. \
final: sealed, nothing can change it any more. Until when something can change moves \
with what is told. Rules: docs/rules.md."""


class _Page:
    """The text of one explanation."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._case = told.explanation
        self._zone = zone(self._case.zone)
        self._is_utc = self._case.zone == "UTC"

    def lines(self) -> Iterator[str]:
        """Yield all lines, without their ends."""
        case = self._case
        yield from _wrapped(f"Case {case.case_id} as of {self._moment(case.as_of_ms)}", "")
        if not self._is_utc:
            yield f"Times are those of the site ({case.zone}); those that end in Z are UTC."
        yield from (line for remark in self._remarks() for line in _wrapped(remark, "! ", "  "))
        yield from ("", "WHAT IS KNOWN, by the time it happened")
        yield from self._timeline()
        if self._told.rejected:
            yield from ("", "REJECTED: lines that name this case and are no facts")
            for line in self._told.rejected:
                yield from _wrapped(f"[{line.event_id}] {line}" if line.event_id else str(line), "  ", "      ")
        yield from ("", "VERDICTS")
        for kind in ("case", "visit", "commitment"):
            for one in sorted((one for one in case.verdicts if one.kind == kind), key=lambda one: (one.unit, one.sign)):
                yield ""
                yield from self._verdict(one)
        if not case.verdicts:
            yield "  None: no fact of its own makes a unit that could be judged."
        yield from ("", *_wrapped(_LEGEND, ""))

    def _remarks(self) -> Iterator[str]:
        if self._case.closed == "erased":
            yield "The case was erased on request: its facts are gone, verdicts that were final by then stay (rule 10)."
        if self._case.closed == "overflow":
            yield "The case had more facts than a case may have: they are gone, and it is not judged."
        if self._case.crowded_since_ms is not None:
            since = self._moment(self._case.crowded_since_ms)
            yield f"Since {since} its equipment is named by so many cases that a repeat cannot be told."
        if self._told.later:
            yield f"Facts of this case that are delivered after that time, and so are not seen: {self._told.later}."

    def _timeline(self) -> Iterator[str]:
        entries = self._case.timeline
        heads = [
            (self._clock(one.at_ms), "" if self._is_utc else self._utc_clock(one.at_ms), _type(one)) for one in entries
        ]
        widths = [max(map(len, column)) for column in zip(*heads, strict=True)]
        day = ""
        for entry, head in zip(entries, heads, strict=True):
            if self._day(entry.at_ms) != day:
                day = self._day(entry.at_ms)
                yield f"  {day}"
            first = "  ".join(text.ljust(width) for text, width in zip(head, widths, strict=True) if width)
            hanging = " " * (len(first) + 6)
            yield from _wrapped(self._stated(entry), f"    {first}  ", hanging)
            for mark in self._marks(entry):
                yield from _wrapped(mark, f"{hanging}! ", f"{hanging}  ")
        if not entries:
            yield "  Nothing."

    def _stated(self, entry: Entry) -> str:
        parts = [f"[{entry.event_id}]"]
        if entry.case_id != self._case.case_id:
            parts.append(f"of case {entry.case_id}{', merged into this one' if entry.is_absorbed else ''}:")
        fields = dict(entry.fields)
        start, end = fields.pop("window_start", None), fields.pop("window_end", None)
        stated = [_field(name, self._value(name, value)) for name, value in sorted(fields.items(), key=_ids_first)]
        if isinstance(start, int) and isinstance(end, int):
            same_day = self._day(start) == self._day(end)
            stated.append(f"window {self._local(start)} to {self._clock(end) if same_day else self._local(end)}")
        stated += [f"{_field(name, value)} (not stated)" for name, value in entry.defaults.items()]
        return " ".join([*parts, ", ".join(stated)])

    def _marks(self, entry: Entry) -> Iterator[str]:
        apart_ms = entry.delivered_ms - entry.at_ms
        if abs(apart_ms) > 5 * MINUTE_MS:
            length = format_duration(abs(apart_ms))
            yield f"told {length} {'later' if apart_ms > 0 else 'before'}: {self._moment(entry.delivered_ms)}"
        for change in entry.corrected:
            before, after = (
                "not stated" if value is None else self._value(change.field, value)
                for value in (change.before, change.after)
            )
            yield f"corrected by [{change.by}]: {_label(change.field)} was {before}, is {after}"
        for void in entry.voided_by:
            yield f"voided by [{void}]: it counts as if it had never been told"
        for late in entry.late_for:
            sealed = self._moment(late.sealed_ms)
            yield f"too late for {late.kind} {late.unit} ({', '.join(late.signs)}), sealed {sealed} (rule 3)"
        if not entry.counts and entry.case_id == self._case.case_id:
            yield "told after everything of the case had been sealed: it counts for nothing (rule 3)"
        dropped = entry.dropped
        for count, what in ((dropped.duplicates, "equal"), (dropped.conflicts, "conflicting")):
            if count:
                yield f"{count} {what} {'copy' if count == 1 else 'copies'} dropped (rule 1)"
        yield from entry.remarks

    def _verdict(self, one: Explained) -> Iterator[str]:
        name = _VERDICTS.get(one.verdict, one.verdict).upper()
        state = "final" if one.final else "provisional" if one.verdict != "pending" else "open"
        yield from _wrapped(f"{one.kind} {one.unit}: {one.sign}: {name}, {state} ({one.reason})", "  ", "    ")
        yield from _row("question", f"“{one.question}”")
        rules = f" (rule{'s' if len(one.rules) > 1 else ''} {', '.join(map(str, one.rules))})" if one.rules else ""
        yield from _row("why", one.why + rules)
        if one.measured:
            yield from _row("measured", one.measured)
        nothing = "nothing" if self._case.timeline else "facts that are not kept any more"
        yield from _row("from", "; ".join(self._evidence(one)) or nothing)
        if one.verdict in ("provisional_hit", "final_hit", "miss"):
            here = (f"{_type(fact)} [{fact.event_id}]" for fact in one.evidence if fact.at_ms == one.anchor_ms)
            what = next(here, one.anchor_is)
            yield from _row("counted at", self._moment(one.anchor_ms) + (f", {what}" if what else ""))
        if one.due_ms is not None:
            yield from _row("needed", f"{one.missing} by {self._moment(one.due_ms)}, or it will be a miss")
        elif one.decided_by_clock_ms is not None:
            yield from _row("the clock", f"may decide it at {self._moment(one.decided_by_clock_ms)}, without any event")
        yield from _row("can change", self._open_to(one))

    def _open_to(self, one: Explained) -> str:
        if one.final:
            return "no more: it is final"
        told = f"by what is told until {self._moment(one.seals_at_ms)}"
        if one.seals_at_ms < self._case.as_of_ms:
            return f"{told}, as soon as that is known to be all here it is final"
        if one.repeat_until_ms is not None:
            told += f" and happens until {self._moment(one.repeat_until_ms)}"
        undecided = "; still pending then, it is left out" if one.verdict == "pending" else ""
        return f"{told}: {one.open_to}{undecided}"

    def _evidence(self, one: Explained) -> Iterator[str]:
        for fact in one.evidence:
            of_case = "" if fact.case_id == self._case.case_id else f" of case {fact.case_id}"
            yield f"{self._local(fact.at_ms)} {_type(fact)} [{fact.event_id}]{of_case}"
        if one.silence_of:
            yield f"no {' or '.join(one.silence_of)} event up to {self._moment(one.anchor_ms)} says otherwise"

    def _value(self, name: str, value: Value) -> Value:
        if isinstance(value, dict):
            return ", ".join(f"{_label(inner)} to {self._value(inner, new)}" for inner, new in value.items())
        if name in TIME_FIELDS and isinstance(value, int):
            return self._local(value)
        return f"[{value}]" if name == "target" else value

    def _moment(self, instant_ms: int) -> str:
        """Return an instant with its day, in the time of the site and in UTC."""
        if self._is_utc:
            return f"{self._local(instant_ms)}"
        return f"{self._local(instant_ms)} ({self._utc_clock(instant_ms)})"

    def _local(self, instant_ms: int) -> str:
        return f"{self._day(instant_ms)} {self._clock(instant_ms)}"

    def _day(self, instant_ms: int) -> str:
        return f"{self._at_site(instant_ms):%a %Y-%m-%d}"

    def _clock(self, instant_ms: int) -> str:
        return _clock(self._at_site(instant_ms)) + ("Z" if self._is_utc else "")

    def _utc_clock(self, instant_ms: int) -> str:
        """Return the time in UTC, with its day where that is another one than at the site."""
        utc = _utc(instant_ms)
        day = "" if utc.date() == self._at_site(instant_ms).date() else f"{utc:%Y-%m-%d} "
        return f"{day}{_clock(utc)}Z"

    def _at_site(self, instant_ms: int) -> datetime:
        try:
            return _utc(instant_ms).astimezone(self._zone)
        except OverflowError:
            return _utc(instant_ms)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _utc(instant_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=min(instant_ms, LATEST_MS))


def _clock(moment: datetime) -> str:
    """Return the time of day, to the minute unless there is more."""
    if moment.microsecond:
        return moment.strftime("%H:%M:%S.") + f"{moment.microsecond // 1000:03}"
    return moment.strftime("%H:%M:%S" if moment.second else "%H:%M")


def _type(named: Entry | Witness) -> str:
    return _TYPES.get((named.topic, named.type), _plain(named.type).replace("_", " "))


def _label(name: str) -> str:
    return name.removesuffix("_id").replace("_", " ")


def _field(name: str, value: Value) -> str:
    if isinstance(value, bool):
        return _label(name) if value else f"not {_label(name)}"
    return f"{_label(name)} {value}"


def _ids_first(field: tuple[str, Value]) -> tuple[bool, str]:
    return not field[0].endswith("_id"), field[0]


def _row(what: str, text: str) -> list[str]:
    return _wrapped(text, f"    {what:<12}", " " * 16)


def _wrapped(text: str, first: str, hanging: str = "") -> list[str]:
    return textwrap.wrap(
        _plain(text), WIDTH, initial_indent=_plain(first), subsequent_indent=hanging, break_on_hyphens=False
    )


def _plain(text: str) -> str:
    """Return text with what could steer a terminal spelled out."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
