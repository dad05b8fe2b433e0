"""Explains one case of a set of facts: what `cxstream explain` prints, as text for people or as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from cxstream.domain.cases import Case
from cxstream.domain.instant import format_limit
from cxstream.domain.policy import Policy
from cxstream.engine.assess import Catalogue, Clock
from cxstream.engine.casebook import Casebook
from cxstream.engine.explain import Dropped, Explained, Explanation, Key, explain
from cxstream.engine.wording import Wording, document, plain, type_of
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
        return {
            **document(self.explanation),
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
        self._words = Wording(self._case)

    def lines(self) -> Iterator[str]:
        """Yield all lines, without their ends."""
        case = self._case
        yield from _wrapped(f"Case {case.case_id} as of {self._words.moment(case.as_of_ms)}", "")
        if not self._words.is_utc:
            yield f"Times are those of the site ({case.zone}); those that end in Z are UTC."
        yield from (line for remark in self._remarks() for line in _wrapped(remark, "! ", "  "))
        yield from ("", "WHAT IS KNOWN, by the time it happened")
        yield from self._timeline()
        if self._told.rejected:
            yield from ("", "REJECTED: lines that name this case and are no facts")
            for line in self._told.rejected:
                yield from _wrapped(f"[{line.event_id}] {line}" if line.event_id else str(line), "  ", "      ")
        yield from ("", "VERDICTS")
        for kind in ("case", "visit", "commitment", "line"):
            for one in sorted((one for one in case.verdicts if one.kind == kind), key=lambda one: (one.unit, one.sign)):
                yield ""
                yield from self._verdict(one)
        if not case.verdicts:
            yield "  None: no fact of its own makes a unit that could be judged."
        yield from ("", *_wrapped(_LEGEND, ""))

    def _remarks(self) -> Iterator[str]:
        yield from self._words.remarks()
        if self._told.later:
            yield f"Facts of this case that are delivered after that time, and so are not seen: {self._told.later}."

    def _timeline(self) -> Iterator[str]:
        entries = self._case.timeline
        heads = [
            (self._words.clock(one.at_ms), "" if self._words.is_utc else self._words.utc_clock(one.at_ms), type_of(one))
            for one in entries
        ]
        widths = [max(map(len, column)) for column in zip(*heads, strict=True)]
        day = ""
        for entry, head in zip(entries, heads, strict=True):
            if self._words.day(entry.at_ms) != day:
                day = self._words.day(entry.at_ms)
                yield f"  {day}"
            first = "  ".join(text.ljust(width) for text, width in zip(head, widths, strict=True) if width)
            hanging = " " * (len(first) + 6)
            whose = self._words.whose(entry)
            stated = f"[{entry.event_id}] {f'{whose}: ' if whose else ''}{self._words.stated(entry)}"
            yield from _wrapped(stated, f"    {first}  ", hanging)
            for mark in self._words.marks(entry):
                yield from _wrapped(mark, f"{hanging}! ", f"{hanging}  ")
        if not entries:
            yield "  Nothing."

    def _verdict(self, one: Explained) -> Iterator[str]:
        name = _VERDICTS.get(one.verdict, one.verdict).upper()
        state = "final" if one.final else "provisional" if one.verdict != "pending" else "open"
        yield from _wrapped(f"{one.kind} {one.unit}: {one.sign}: {name}, {state} ({one.reason})", "  ", "    ")
        yield from _row("question", f"“{one.question}”")
        yield from _row("why", self._words.why(one))
        if one.measured:
            yield from _row("measured", one.measured)
        yield from _row("from", self._words.rests_on(one))
        counted_at = self._words.counted_at(one)
        if counted_at:
            yield from _row("counted at", counted_at)
        if one.due_ms is not None:
            yield from _row("needed", f"{one.missing} by {self._words.moment(one.due_ms)}, or it will be a miss")
        elif one.decided_by_clock_ms is not None:
            yield from _row(
                "the clock", f"may decide it at {self._words.moment(one.decided_by_clock_ms)}, without any event"
            )
        yield from _row("can change", self._words.open_to(one))


def _row(what: str, text: str) -> list[str]:
    return _wrapped(text, f"    {what:<12}", " " * 16)


def _wrapped(text: str, first: str, hanging: str = "") -> list[str]:
    return textwrap.wrap(
        plain(text), WIDTH, initial_indent=plain(first), subsequent_indent=hanging, break_on_hyphens=False
    )
