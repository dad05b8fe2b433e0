"""What the figures must be: `cxstream judge` over every event handed to Kafka, kept up as they are handed over."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from cxstream.config import load
from cxstream.demo.upstream import Delivery
from cxstream.domain.cases import Case
from cxstream.domain.instant import format_instant
from cxstream.domain.windows import BUCKET_MS
from cxstream.engine.assess import Clock, assess
from cxstream.engine.casebook import Casebook
from cxstream.engine.ledger import Windows
from cxstream.vital_signs import TIER_A
from oracle.evaluator import evaluate
from parts.figures import UNITS, Figures, Segments, counted
from parts.producer import facts_of

from .fence import Spoken

POLICY = load(None, {"CXSTREAM_LEDGER_WINDOWS": "3650d", "CXSTREAM_LEDGER_LEVELS": "job=all"}).policy()
OF_VISIT = tuple(name for name, sign in TIER_A.items() if sign.unit.kind == "visit")
OF_COMMITMENT = tuple(name for name, sign in TIER_A.items() if sign.unit.kind == "commitment")


class Judged(NamedTuple):
    """The figures from one clock reading until the next at which the clock alone may change one."""

    figures: Figures
    from_ms: int
    until_ms: int


Unit = tuple[str, str, str]
"""Sign, case and unit."""


def said_of(cases: Iterable[Case]) -> dict[Unit, str]:
    """Return what these records say of their units."""
    return {
        (one.sign, case.case_id, one.unit): f"{one.verdict}{' sealed' if one.sealed else ''}"
        for case in cases
        for one in case.verdicts
    }


def taken_back(cases: Iterable[Case]) -> set[Unit]:
    """Return the units of which these records say that something decided was taken back."""
    return {(one.sign, case.case_id, one.unit) for case in cases for one in case.verdicts if one.retracted}


class Truth:
    """Every event of a job, and what they come to."""

    def __init__(self, windows: Windows) -> None:
        """Begin with no event."""
        self.windows = windows
        self.events: list[Delivery] = []
        self._casebook = Casebook(TIER_A, POLICY)
        self._segments: Segments = {}
        self._units: dict[str, set[tuple[str, str]]] = {"case": set(), "visit": set(), "commitment": set()}
        self._judged: Judged | None = None
        self._longest = max(windows.lengths_ms, key=lambda label: windows.lengths_ms[label])

    def take(self, delivery: Delivery) -> None:
        """Take an event that is about to be handed to Kafka."""
        self._judged = None
        self.events.append(delivery)
        event = delivery.event
        case_id = str(event["case_id"])
        self._units["case"].add((case_id, case_id))
        for unit in ("visit", "commitment"):
            if isinstance(named := event.get(f"{unit}_id"), str):
                self._units[unit].add((case_id, named))
        if event["type"] == "opened":
            self._segments[case_id] = {name: str(event[name]) for name in ("region", "product")}
        for case, fact in facts_of([delivery]):
            self._casebook.take(case, fact)

    def at(self, now_ms: int) -> Figures:
        """Return the figures at a clock reading."""
        if self._judged is None or not self._judged.from_ms <= now_ms < self._judged.until_ms:
            judged = [assess(case, TIER_A, POLICY, Clock.at(now_ms)).case for case in self._casebook.cases.values()]
            verdicts = [(case.case_id, verdict) for case in judged for verdict in case.verdicts]
            until_ms = min([(now_ms // BUCKET_MS + 1) * BUCKET_MS, *(case.deadline_ms for case in judged)])
            self._judged = Judged(counted(now_ms, verdicts, self._segments, self.windows), now_ms, until_ms)
        return self._judged.figures

    @property
    def most(self) -> dict[str, int]:
        """How many units of each sign there can be at most, by what was handed over so far."""
        of = dict.fromkeys(TIER_A, len(self._units["case"]))
        of |= dict.fromkeys(OF_VISIT, len(self._units["visit"]))
        return of | dict.fromkeys(OF_COMMITMENT, len(self._units["commitment"]))

    def excess(self, spoken: Spoken) -> list[str]:
        """Say of which signs more units are shown than there can be; whatever counts a unit twice ends up here."""
        most, shown = self.most, Counter[str]()
        for name in (UNITS, "cxstream_vital_sign_pending_units", "cxstream_vital_sign_excluded_units"):
            job = {"level": "job"} if name == UNITS else {}
            for (sign,), units in spoken.samples.by(name, "vital_sign", window=self._longest, **job).items():
                shown[sign] += int(units)
        return [
            f"{sign}: {units} units shown, {most[sign]} are there"
            for sign, units in shown.items()
            if units > most[sign]
        ]

    def retracted(self, spoken: Spoken) -> int:
        """Return how many units are shown as taken back, of all there were."""
        return int(spoken.samples.sum("cxstream_vital_sign_retracted_units", window=self._longest))

    def verdicts(self, now_ms: int) -> dict[Unit, str]:
        """Return what is to be said of every unit at a clock reading."""
        judged = (assess(case, TIER_A, POLICY, Clock.at(now_ms)).case for case in self._casebook.cases.values())
        return said_of(judged)

    def oracle_differences(self, now_ms: int) -> list[str]:
        """Judge all events again with the independent evaluator, and say of which units it says something else."""
        said = self.verdicts(now_ms)
        found: dict[Unit, str] = {}
        for events in self._apart():
            for (sign, case_id, unit), one in evaluate(events, now_ms).by_case.items():
                found[sign, case_id, unit] = f"{one.verdict}{' sealed' if one.sealed else ''}"
        return [
            f"{unit}: judge {said.get(unit)}, the evaluator {found.get(unit)}"
            for unit in sorted(said.keys() | found.keys())
            if said.get(unit) != found.get(unit)
        ]

    def _apart(self) -> Iterator[list[dict[str, object]]]:
        """Yield the events of cases that can know of each other, by assets and merges; the evaluator is slow."""
        root: dict[str, str] = {}

        def find(name: str) -> str:
            while root.setdefault(name, name) != name:
                name = root[name]
            return name

        def tie(case: str, other: object) -> None:
            if isinstance(other, str) and other not in POLICY.placeholder_assets:
                root[find(case)] = find(other)

        for _, _, event in self.events:
            case = f"case {event['case_id']}"
            find(case)
            changes = event.get("set")
            for fields in (event, changes if isinstance(changes, Mapping) else {}):
                for name in ("asset_id", "replaced_by"):
                    tie(case, fields.get(name))
                if isinstance(into := fields.get("into"), str):
                    tie(case, f"case {into}")
        groups: defaultdict[str, list[dict[str, object]]] = defaultdict(list)
        for delivered_ms, topic, event in self.events:
            stated = {**event, "topic": topic, "seen": format_instant(delivered_ms)}
            groups[find(f"case {event['case_id']}")].append(stated)
        yield from groups.values()
