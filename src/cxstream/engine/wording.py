"""Wording: what the explanation of a case says in plain words, with times as they were at the site."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec

from cxstream.domain.facts import Value
from cxstream.domain.instant import LATEST_MS, MINUTE_MS, format_duration, format_limit, zone
from cxstream.domain.vocabulary import TIME_FIELDS
from cxstream.engine.explain import Entry, Explained, Explanation, Witness

_TYPES = {
    ("ticket", "cancelled"): "case cancelled",
    ("dispatch", "cancelled"): "visit cancelled",
    ("parts", "cancelled"): "part cancelled",
}


class Wording:
    """The words for one explanation, an instant in the time zone of its site."""

    def __init__(self, explanation: Explanation) -> None:
        self._case = explanation
        self._zone = zone(explanation.zone)
        self.is_utc = explanation.zone == "UTC"
        """Whether the time of the site is UTC: then a time ends in Z, and none is said twice."""

    def remarks(self) -> Iterator[str]:
        """Yield what holds for the case as a whole."""
        if self._case.closed == "erased":
            yield "The case was erased on request: its facts are gone, verdicts that were final by then stay (rule 10)."
        if self._case.closed == "overflow":
            yield "The case had more facts than a case may have: they are gone, and it is not judged."
        if self._case.crowded_since_ms is not None:
            since = self.moment(self._case.crowded_since_ms)
            yield f"Since {since} its equipment is named by so many cases that a repeat cannot be told."

    def whose(self, entry: Entry) -> str:
        """Return of which case a fact is, nothing if it is the one explained."""
        if entry.case_id == self._case.case_id:
            return ""
        return f"of case {entry.case_id}{', merged into this one' if entry.is_absorbed else ''}"

    def stated(self, entry: Entry) -> str:
        """Return what a fact states, ids first, and what holds where it states nothing."""
        fields = dict(entry.fields)
        start, end = fields.pop("window_start", None), fields.pop("window_end", None)
        stated = [_field(name, self._value(name, value)) for name, value in sorted(fields.items(), key=_ids_first)]
        if isinstance(start, int) and isinstance(end, int):
            same_day = self.day(start) == self.day(end)
            stated.append(f"window {self.local(start)} to {self.clock(end) if same_day else self.local(end)}")
        stated += [f"{_field(name, value)} (not stated)" for name, value in entry.defaults.items()]
        return ", ".join(stated)

    def marks(self, entry: Entry) -> Iterator[str]:
        """Yield what a reader must know of a fact beyond what it states."""
        apart_ms = entry.delivered_ms - entry.at_ms
        if abs(apart_ms) > 5 * MINUTE_MS:
            length = format_duration(abs(apart_ms))
            yield f"told {length} {'later' if apart_ms > 0 else 'before'}: {self.moment(entry.delivered_ms)}"
        for change in entry.corrected:
            before, after = (
                "not stated" if value is None else self._value(change.field, value)
                for value in (change.before, change.after)
            )
            yield f"corrected by [{change.by}]: {_label(change.field)} was {before}, is {after}"
        for void in entry.voided_by:
            yield f"voided by [{void}]: it counts as if it had never been told"
        for late in entry.late_for:
            sealed = self.moment(late.sealed_ms)
            yield f"too late for {late.kind} {late.unit} ({', '.join(late.signs)}), sealed {sealed} (rule 3)"
        if not entry.counts and entry.case_id == self._case.case_id:
            yield "told after everything of the case had been sealed: it counts for nothing (rule 3)"
        dropped = entry.dropped
        for count, what in ((dropped.duplicates, "equal"), (dropped.conflicts, "conflicting")):
            if count:
                yield f"{count} {what} {'copy' if count == 1 else 'copies'} dropped (rule 1)"
        yield from entry.remarks

    def why(self, one: Explained) -> str:
        """Return why a verdict is what it is, with the rules it follows from."""
        rules = f" (rule{'s' if len(one.rules) > 1 else ''} {', '.join(map(str, one.rules))})" if one.rules else ""
        return one.why + rules

    def counted_at(self, one: Explained) -> str:
        """Return when a decided unit is counted, and what happened then; nothing of others."""
        if one.verdict not in ("provisional_hit", "final_hit", "miss"):
            return ""
        here = (f"{type_of(fact)} [{fact.event_id}]" for fact in one.evidence if fact.at_ms == one.anchor_ms)
        what = next(here, one.anchor_is)
        return self.moment(one.anchor_ms) + (f", {what}" if what else "")

    def rests_on(self, one: Explained) -> str:
        """Return what a verdict rests on."""
        nothing = "nothing" if self._case.timeline else "facts that are not kept any more"
        return "; ".join(self.evidence(one)) or nothing

    def open_to(self, one: Explained) -> str:
        """Return what can still change a verdict, and until when."""
        if one.final:
            return "no more: it is final"
        told = f"by what is told until {self.moment(one.seals_at_ms)}"
        if one.seals_at_ms < self._case.as_of_ms:
            return f"{told}, as soon as that is known to be all here it is final"
        if one.repeat_until_ms is not None:
            told += f" and happens until {self.moment(one.repeat_until_ms)}"
        undecided = "; still pending then, it is left out" if one.verdict == "pending" else ""
        return f"{told}: {one.open_to}{undecided}"

    def evidence(self, one: Explained) -> Iterator[str]:
        """Yield the facts a verdict rests on, and the silence."""
        for fact in one.evidence:
            of_case = "" if fact.case_id == self._case.case_id else f" of case {fact.case_id}"
            yield f"{self.local(fact.at_ms)} {type_of(fact)} [{fact.event_id}]{of_case}"
        if one.silence_of:
            yield f"no {' or '.join(one.silence_of)} event up to {self.moment(one.anchor_ms)} says otherwise"

    def _value(self, name: str, value: Value) -> Value:
        if isinstance(value, dict):
            return ", ".join(f"{_label(inner)} to {self._value(inner, new)}" for inner, new in value.items())
        if name in TIME_FIELDS and isinstance(value, int):
            return self.local(value)
        return f"[{value}]" if name == "target" else value

    def moment(self, instant_ms: int) -> str:
        """Return an instant with its day, in the time of the site and in UTC."""
        if self.is_utc:
            return f"{self.local(instant_ms)}"
        return f"{self.local(instant_ms)} ({self.utc_clock(instant_ms)})"

    def local(self, instant_ms: int) -> str:
        """Return an instant with its day, in the time of the site."""
        return f"{self.day(instant_ms)} {self.clock(instant_ms)}"

    def day(self, instant_ms: int) -> str:
        """Return the day at the site."""
        return f"{self._at_site(instant_ms):%a %Y-%m-%d}"

    def clock(self, instant_ms: int) -> str:
        """Return the time of day at the site."""
        return _clock(self._at_site(instant_ms)) + ("Z" if self.is_utc else "")

    def utc_clock(self, instant_ms: int) -> str:
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


def type_of(named: Entry | Witness) -> str:
    """Return what happened, in words."""
    return _TYPES.get((named.topic, named.type), plain(named.type).replace("_", " "))


def _label(name: str) -> str:
    return name.removesuffix("_id").replace("_", " ")


def _field(name: str, value: Value) -> str:
    if isinstance(value, bool):
        return _label(name) if value else f"not {_label(name)}"
    return f"{_label(name)} {value}"


def _ids_first(field: tuple[str, Value]) -> tuple[bool, str]:
    return not field[0].endswith("_id"), field[0]


def plain(text: str) -> str:
    """Return text with what could steer a terminal spelled out."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def document(explanation: Explanation) -> dict[str, object]:
    """Return an explanation for machines: instants as RFC 3339 in UTC, lengths and limits in words."""
    told = msgspec.to_builtins(explanation)
    return {name.removesuffix("_ms"): _written(value, name) for name, value in told.items()}


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
