# ruff: noqa: PLR2004 - the ratios are the simulation; a name for each would say no more than its line
"""A field-service company that never was, so that the demo and the benchmarks have something true to life to judge.

It writes what a real upstream would, in the vocabulary of the vital-signs page (section 1), with everything that makes
real upstreams hard: topics that overtake each other, phones that were offline, deliveries twice, corrections and
voids, duplicate reports, repeat failures, bad days. It is pure: same arguments, same deliveries; the clock is an
argument. Every case draws from random numbers of its own, so a planted incident changes nothing but what it touches.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import exp
from random import Random
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

Topic = Literal["ticket", "dispatch", "parts"]
Event = dict[str, object]
Rate = Callable[[int], float]
"""Cases opened per day at an instant (milliseconds since the epoch)."""

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

VISITS_MAX = 4
"""A case that is not fixed by then is left lying."""
FLEET_START = 250
FLEET_MAX = 50_000
"""Assets of one product in one region: at the start, and at most (then even an asset that failed lately is taken)."""
RESTING_MS = 75 * DAY
"""An asset rests this long before it fails by chance: repeat failures are those the product's quality explains."""
STORM_EVERY_DAYS = 20
CALENDAR_MAX = 20_000
"""Entries of a cache of calendar facts before it starts afresh."""


class Delivery(NamedTuple):
    """One event as it reaches Kafka: when (milliseconds), on which topic, and its JSON, which is not to be changed."""

    delivered_ms: int
    topic: Topic
    event: Event


class Region(NamedTuple):
    """A region: its IANA zone, its share of the cases, and how often its technicians are late on a usual day."""

    name: str
    zone: str
    share: float
    late_ratio: float


class Product(NamedTuple):
    """A product family: its share of the cases, and how often a visit fixes it or needs parts, and it fails again."""

    name: str
    share: float
    fixed_ratio: float
    parts_ratio: float
    repeat_ratio: float


REGIONS = (
    Region("north", "Europe/Oslo", 0.25, 0.07),
    Region("south", "Europe/Madrid", 0.25, 0.10),
    Region("east", "Europe/Athens", 0.25, 0.07),
    Region("west", "Europe/Lisbon", 0.25, 0.06),
)
PRODUCTS = (
    Product("hvac", 0.34, 0.89, 0.50, 0.06),
    Product("boiler", 0.28, 0.88, 0.55, 0.06),
    Product("elevator", 0.20, 0.86, 0.65, 0.05),
    Product("pump", 0.18, 0.84, 0.55, 0.12),
)
TIERS = ("gold", "silver", "standard")
PROVIDERS = ("own", "partner_a", "partner_b")
CHANNELS = ("phone", "web", "email", "iot")
PRIORITIES = ("P1", "P2", "P3")


@dataclass(frozen=True, slots=True)
class Incident:
    """From `starts_ms` (to `ends_ms`, if it ends) parts ordered for a region are not delivered; its vans run empty."""

    region: str
    starts_ms: int
    what: Literal["parts_stop"] = "parts_stop"
    ends_ms: int | None = None

    def hits(self, region: str, at_ms: int) -> bool:
        """Tell whether it is felt there and then."""
        return self.region == region and self.starts_ms <= at_ms and (self.ends_ms is None or at_ms < self.ends_ms)


@dataclass(frozen=True, slots=True)
class Tempo:
    """How long the stages of a case take, in milliseconds; typical values, each case draws its own."""

    office_hours: bool
    """Windows are those of a working day (four hours from 8, 12 and 16 local time); else `window_ms`, at any time."""
    acknowledge_ms: int
    diagnose_ms: int
    schedule_ms: int
    lead_ms: int
    window_ms: int
    travel_ms: int
    on_site_ms: int
    lateness_ms: int
    """Beyond the grace."""
    parts_lead_ms: int
    parts_poll_ms: int
    """The parts system is read this often; what happened between is delivered together."""
    postpone_ms: int
    desk_ms: int
    """From an event in the field to the desk's reaction."""
    reopen_ms: int
    repeat_ms: tuple[int, int]
    offline_ms: tuple[int, int]
    van_stock_ms: int
    """How long the vans of a region last when nothing comes in (a time constant)."""


CALM = Tempo(
    office_hours=True,
    acknowledge_ms=40 * MINUTE,
    diagnose_ms=2 * HOUR,
    schedule_ms=30 * MINUTE,
    lead_ms=10 * HOUR,
    window_ms=2 * HOUR,
    travel_ms=35 * MINUTE,
    on_site_ms=75 * MINUTE,
    lateness_ms=40 * MINUTE,
    parts_lead_ms=20 * HOUR,
    parts_poll_ms=5 * MINUTE,
    postpone_ms=22 * HOUR,
    desk_ms=20 * MINUTE,
    reopen_ms=5 * DAY,
    repeat_ms=(8 * HOUR, 38 * DAY),
    offline_ms=(HOUR, 9 * HOUR),
    van_stock_ms=2 * DAY,
)
BUSY = Tempo(
    office_hours=False,
    acknowledge_ms=8 * SECOND,
    diagnose_ms=10 * SECOND,
    schedule_ms=6 * SECOND,
    lead_ms=20 * SECOND,
    window_ms=2 * MINUTE,
    travel_ms=30 * SECOND,
    on_site_ms=40 * SECOND,
    lateness_ms=5 * MINUTE,
    parts_lead_ms=20 * SECOND,
    parts_poll_ms=2 * SECOND,
    postpone_ms=2 * MINUTE,
    desk_ms=8 * SECOND,
    reopen_ms=6 * MINUTE,
    repeat_ms=(2 * MINUTE, 45 * MINUTE),
    offline_ms=(2 * MINUTE, 40 * MINUTE),
    van_stock_ms=2 * MINUTE,
)
"""The same company in time lapse, so that somebody who watches sees cases begin and end."""

_TWO_DIGITS = tuple(f"{number:02d}" for number in range(60))
_GRACE_MS = 15 * MINUTE
_ON_SITE_MAX_MS = 11 * HOUR
_HOUR_WEIGHTS = (3, 2, 2, 2, 3, 5, 8, 12, 15, 15, 14, 13, 12, 12, 12, 11, 10, 9, 8, 7, 6, 5, 4, 4)  # fmt: skip
_HOUR_MEAN = sum(_HOUR_WEIGHTS) / 24
_WEEKDAY_FACTORS = (1.25, 1.15, 1.1, 1.1, 1.1, 0.7, 0.6)
_THURSDAY = 3  # 1 January 1970
_SUNDAY = 6
_PRIORITY_PACE = {"P1": 0.25, "P2": 0.8, "P3": 1.6}
_FAILURES = ("not_fixed", "partial", "diagnosed_only", "temporary", "wrong_skill", "continued")
_NEEDS_PARTS_NEXT = {"no_parts": 1.0, "partial": 0.6, "temporary": 0.6, "diagnosed_only": 0.6}


class Upstream:
    """The company's systems: opens cases over time and tells each to its end.

    `cases_per_day` is the mean number of cases opened, a number or a function of time. Before `busy_from_ms` the time
    of day, the weekday and storms are laid over it and cases take hours and days (CALM); from then on it is obeyed
    as it is and cases take minutes (BUSY). Case ids start with `prefix`; give every run on the same topics its own.
    """

    def __init__(
        self,
        seed: int,
        start_ms: int,
        *,
        regions: Sequence[Region] = REGIONS,
        products: Sequence[Product] = PRODUCTS,
        cases_per_day: float | Rate = 90.0,
        busy_from_ms: int | None = None,
        incidents: Sequence[Incident] = (),
        prefix: str = "C",
    ) -> None:
        unknown = {incident.region for incident in incidents} - {region.name for region in regions}
        if unknown:
            message = f"an incident in a region that is not there: {', '.join(sorted(unknown))}"
            raise ValueError(message)
        self.seed = seed
        self.incidents = tuple(incidents)
        self._regions = tuple(regions)
        self._products = tuple(products)
        self._rate: Rate = cases_per_day if callable(cases_per_day) else lambda _: cases_per_day
        self._busy_from_ms = busy_from_ms
        self._prefix = prefix
        self._fleets = {
            (region.name, product.name): _Fleet(f"{product.name}-{region.name}")
            for region in regions
            for product in products
        }
        self._clocks = {region.name: _Clock(region.zone) for region in regions}
        self._days: dict[int, _Day] = {}
        self._draws = _rng(f"{seed}/openings")
        self._drawn_to_ms = start_ms
        self._patience = self._draws.expovariate(1.0)
        self._cases = 0
        self._repeats: list[tuple[int, str, int, _Site]] = []
        self._waiting: list[tuple[int, int, Delivery]] = []
        self._written = 0

    def events(self, until_ms: int) -> Iterator[Delivery]:
        """Yield what is delivered before `until_ms`, in order of delivery, going on where the last call stopped."""
        while True:
            opening = self._next_opening(until_ms)
            horizon_ms = until_ms if opening is None else opening[0]
            while self._waiting and self._waiting[0][0] < horizon_ms:
                yield heapq.heappop(self._waiting)[2]
            if opening is None:
                return
            if opening[1]:
                at_ms, first_case_id, generation, site = heapq.heappop(self._repeats)
                _Story(self, first_case_id, at_ms, site, generation).tell("break_fix")
            else:
                self._open_by_chance(opening[0])

    # What a story asks of its company.

    def deliver(self, delivered_ms: int, topic: Topic, event: Event) -> None:
        """Hand over an event that will be delivered then."""
        self._written += 1
        heapq.heappush(self._waiting, (delivered_ms, self._written, Delivery(delivered_ms, topic, event)))

    def open_again(self, at_ms: int, first_case_id: str, generation: int, site: _Site) -> None:
        """Let the asset fail again then, as a new case named after the first."""
        heapq.heappush(self._repeats, (at_ms, first_case_id, generation, site))

    def replace(self, site: _Site, at_ms: int) -> _Site:
        """Put a new asset in the place of the old one."""
        return site._replace(
            asset_id=self._fleets[site.region.name, site.product.name].replacement(site.asset_id, at_ms)
        )

    def incident(self, region: str, at_ms: int) -> Incident | None:
        """Return the incident felt there and then, None on a usual day."""
        return next((one for one in self.incidents if one.hits(region, at_ms)), None)

    def clock(self, region: Region) -> _Clock:
        """Return the wall clock of a region."""
        return self._clocks[region.name]

    def is_busy(self, at_ms: int) -> bool:
        """Tell whether cases opened then run in time lapse."""
        return self._busy_from_ms is not None and at_ms >= self._busy_from_ms

    def day(self, at_ms: int) -> _Day:
        """Return what kind of day it is; days in time lapse are all alike."""
        if self.is_busy(at_ms):
            return _USUAL_DAY
        number = at_ms // DAY
        day = self._days.get(number)
        if day is None:
            if len(self._days) >= CALENDAR_MAX:
                self._days.clear()
            day = self._days[number] = _Day.of(self.seed, number)
        return day

    # Openings.

    def _next_opening(self, until_ms: int) -> tuple[int, bool] | None:
        """Return the time of the next opening before `until_ms`, and whether it is a repeat failure."""
        chance_ms = self._next_by_chance(until_ms)
        if self._repeats and self._repeats[0][0] < chance_ms:
            return self._repeats[0][0], True
        return (chance_ms, False) if chance_ms < until_ms else None

    def _next_by_chance(self, until_ms: int) -> int:
        """Walk the rate slice by slice until the patience drawn for the next opening is used up, `until_ms` at most.

        Only whole slices are ever used up, so where a caller stops does not matter.
        """
        while self._drawn_to_ms < until_ms:
            slice_ends_ms = self._slice_end(self._drawn_to_ms)
            per_ms = self._openings_per_day(self._drawn_to_ms) / DAY
            used = per_ms * (slice_ends_ms - self._drawn_to_ms)
            if used > self._patience:
                return min(until_ms, self._drawn_to_ms + int(self._patience / per_ms))
            if slice_ends_ms >= until_ms:
                break
            self._patience -= used
            self._drawn_to_ms = slice_ends_ms
        return until_ms

    def _slice_end(self, at_ms: int) -> int:
        """Return until when the rate at an instant is taken to hold: ten minutes at most, one in time lapse."""
        if self.is_busy(at_ms):
            return (at_ms // MINUTE + 1) * MINUTE
        ends_ms = (at_ms // (10 * MINUTE) + 1) * 10 * MINUTE
        return ends_ms if self._busy_from_ms is None else min(ends_ms, self._busy_from_ms)

    def _openings_per_day(self, at_ms: int) -> float:
        mean = self._rate(at_ms)
        if self.is_busy(at_ms):
            return mean
        weekday = _WEEKDAY_FACTORS[(at_ms // DAY + _THURSDAY) % 7]
        return mean * weekday * self.day(at_ms).cases_factor * _HOUR_WEIGHTS[at_ms // HOUR % 24] / _HOUR_MEAN

    def _open_by_chance(self, at_ms: int) -> None:
        self._drawn_to_ms = at_ms
        self._patience = self._draws.expovariate(1.0)
        region = self._draws.choices(self._regions, [region.share for region in self._regions])[0]
        product = self._draws.choices(self._products, [product.share for product in self._products])[0]
        self._cases += 1
        site = _Site(region, product, self._fleets[region.name, product.name].fail(at_ms))
        kind = self._draws.random()
        story = _Story(self, f"{self._prefix}{self._cases:06d}", at_ms, site)
        story.tell("alert" if kind < 0.03 else "preventive" if kind < 0.07 else "break_fix")


def demo_rate(now_ms: int, *, history: float = 80.0, warm_up: float = 3_000.0, live: float = 86_400.0) -> Rate:
    """Return the cases a day of a demo that starts at `now_ms`: days of history, two hours of warm-up, then live.

    The live rate begins six minutes before, so that visits are under way when somebody starts to watch.
    """
    warm_ms, live_ms = now_ms - 2 * HOUR, now_ms - 6 * MINUTE

    def rate(at_ms: int) -> float:
        return live if at_ms >= live_ms else warm_up if at_ms >= warm_ms else history

    return rate


def demo_upstream(
    now_ms: int, *, seed: int = 1, days: int = 40, incident: Incident | None = None, prefix: str = "C"
) -> Upstream:
    """Return the company of the demo: `days` of thin history before `now_ms`, busy from two hours before it."""
    return Upstream(
        seed,
        now_ms - days * DAY,
        cases_per_day=demo_rate(now_ms),
        busy_from_ms=now_ms - 2 * HOUR,
        incidents=[incident] if incident else [],
        prefix=prefix,
    )


class _Site(NamedTuple):
    """Where a case happens: the asset in its place."""

    region: Region
    product: Product
    asset_id: str


class _Fleet:
    """The assets of one product in one region; the one that has been left in peace longest fails next."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._size = FLEET_START
        self._failed: deque[tuple[int, int]] = deque((-RESTING_MS, number) for number in range(1, FLEET_START + 1))

    def fail(self, at_ms: int) -> str:
        """Return the id of an asset that fails by chance; the company sells another one if none has rested."""
        last_ms, number = self._failed[0]
        if at_ms - last_ms < RESTING_MS and self._size < FLEET_MAX:
            self._size += 1
            number = self._size
        else:
            self._failed.popleft()
        self._failed.append((at_ms, number))
        return f"{self._name}-{number:05d}"

    def replacement(self, asset_id: str, at_ms: int) -> str:
        """Return the id of the asset put in the place of another."""
        return f"{asset_id}-{at_ms // DAY}"


class _Clock:
    """The wall clock of a zone, quick enough to write every timestamp."""

    def __init__(self, zone: str) -> None:
        self.zone = zone
        self._zone = ZoneInfo(zone)
        self._quarters: dict[int, tuple[str, int, str]] = {}

    def ahead_ms(self, at_ms: int) -> int:
        """Return what local time is ahead of UTC then."""
        local = datetime.fromtimestamp(at_ms // SECOND, tz=self._zone)
        return (local.utcoffset() or timedelta()) // timedelta(milliseconds=1)

    def write(self, at_ms: int) -> str:
        """Write an instant (cut to the second) as RFC 3339 in local time; quarters of an hour are remembered."""
        quarter, rest_ms = divmod(at_ms, 15 * MINUTE)
        known = self._quarters.get(quarter)
        if known is None:
            if len(self._quarters) >= CALENDAR_MAX:
                self._quarters.clear()
            text = datetime.fromtimestamp(quarter * 900, tz=self._zone).isoformat()
            known = self._quarters[quarter] = (text[:14], int(text[14:16]), text[19:])
        minutes, seconds = divmod(rest_ms // SECOND, 60)
        return f"{known[0]}{_TWO_DIGITS[known[1] + minutes]}:{_TWO_DIGITS[seconds]}{known[2]}"

    def working_slot(self, earliest_ms: int, rng: Random) -> tuple[int, int]:
        """Return a four-hour window of a working day that begins at or after `earliest_ms`; most take the very next."""
        ahead_ms = self.ahead_ms(earliest_ms)
        local_ms = earliest_ms + ahead_ms
        day = local_ms // DAY
        while True:
            if (day + _THURSDAY) % 7 != _SUNDAY:
                for hour in (8, 12, 16):
                    start_ms = day * DAY + hour * HOUR
                    if start_ms >= local_ms and rng.random() < 0.6:
                        start_ms -= self.ahead_ms(start_ms - ahead_ms)
                        return start_ms, start_ms + 4 * HOUR
            day += 1


_UTC = _Clock("UTC")


class _Day(NamedTuple):
    """What kind of day it is: how many more cases than usual, and how many more late arrivals."""

    cases_factor: float
    late_factor: float

    @classmethod
    def of(cls, seed: int, number: int) -> _Day:
        """Return the day's character: one storm in every twenty days, the others better or worse than usual."""
        storm = _rng(f"{seed}/storm/{number // STORM_EVERY_DAYS}").randrange(STORM_EVERY_DAYS)
        if number % STORM_EVERY_DAYS == storm:
            return cls(2.2, 5.0)
        own = _rng(f"{seed}/day/{number}")
        return cls(own.uniform(0.85, 1.15), own.lognormvariate(0.0, 0.4))


_USUAL_DAY = _Day(1.0, 1.0)


class _Visit(NamedTuple):
    """How a visit ended; `missed` if nobody came."""

    visit_id: str
    outcome: str
    ended_ms: int


class _Parts(NamedTuple):
    """The lines of a visit: when the planner expects them, and when they are really on hand (None: never)."""

    lines: tuple[str, ...]
    expected_ms: int
    on_hand_ms: int | None


class _Story:
    """One case from its opening to its end, written at once: each fact with the time of its delivery."""

    def __init__(self, company: Upstream, first_case_id: str, opened_ms: int, site: _Site, generation: int = 0) -> None:
        case_id = f"{first_case_id}R{generation}" if generation else first_case_id
        self.company = company
        self.first_case_id = first_case_id
        self.generation = generation
        self.case_id = case_id
        self.opened_ms = opened_ms
        self.site = site
        self.rng = _rng(f"{company.seed}/{case_id}")
        self.tempo = BUSY if company.is_busy(opened_ms) else CALM
        self.clock = company.clock(site.region)
        self.priority = self.rng.choices(PRIORITIES, (12, 33, 55))[0]
        self.facts = 0
        self.visits = 0
        self.promises = 0
        self.asset_is_known = self.rng.random() > 0.02

    # Chance.

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def about(self, typical_ms: float) -> int:
        """Draw a duration around a typical one: rarely below a fifth of it or above five times it."""
        return SECOND + int(typical_ms * self.rng.lognormvariate(0.0, 0.55))

    def between(self, least_ms: float, most_ms: float) -> int:
        return int(self.rng.uniform(least_ms, most_ms))

    # Facts.

    def say(self, topic: Topic, event_type: str, at_ms: int, delivered_ms: int, fields: Event) -> str:
        """Write a fact and return its event id; once in a while it is delivered twice."""
        self.facts += 1
        event_id = f"{self.case_id}-{self.facts}"
        clock = _UTC if topic == "parts" else self.clock
        event: Event = {
            "event_id": event_id,
            "topic": topic,
            "type": event_type,
            "case_id": self.case_id,
            "at": clock.write(at_ms),
            **fields,
        }
        self.company.deliver(delivered_ms, topic, event)
        if self.chance(0.012):
            self.company.deliver(delivered_ms + self.between(SECOND, 40 * SECOND), topic, event)
        return event_id

    def ticket(self, event_type: str, at_ms: int, **fields: object) -> str:
        """Write what the desk's system knows; it is delivered within seconds."""
        return self.say("ticket", event_type, at_ms, at_ms + self.between(150, 2_500), fields)

    def dispatch(self, event_type: str, at_ms: int, **fields: object) -> str:
        """Write what the planner's system knows; it is delivered within seconds."""
        return self.say("dispatch", event_type, at_ms, at_ms + self.between(200, 6_000), fields)

    def parts(self, event_type: str, at_ms: int, **fields: object) -> str:
        """Write what the parts system knows; it is delivered when that system is read next."""
        poll_ms = self.tempo.parts_poll_ms
        return self.say("parts", event_type, at_ms, (at_ms // poll_ms + 1) * poll_ms + self.between(0, 2_000), fields)

    # The story.

    def tell(self, kind: str) -> None:
        """Write the whole case."""
        self.open(kind)
        if kind == "alert":
            seen_ms = self.opened_ms + self.about(self.tempo.acknowledge_ms)
            self.ticket("acknowledged", seen_ms, auto=True)
            self.ticket("resolved", seen_ms + self.about(self.tempo.desk_ms), remote=True)
            return
        if kind == "preventive":
            visit = self.visit(
                self.opened_ms + self.about(self.tempo.schedule_ms), self.lead_ms(), purpose="preventive"
            )
            self.ticket("resolved", visit.ended_ms + self.about(self.tempo.desk_ms))
            return
        fate = self.rng.random()
        if fate < 0.008:
            reason = self.rng.choice(("test", "created_in_error", "duplicate"))
            self.ticket("cancelled", self.opened_ms + self.about(self.tempo.desk_ms), by="provider", reason=reason)
            return
        answered_ms = self.answer()
        if fate < 0.03:
            self.withdraw(answered_ms)
            return
        understood_ms = self.explain(answered_ms)
        self.hear_from_customer(understood_ms)
        if fate < 0.14:
            remote_ms = understood_ms + self.about(self.tempo.diagnose_ms)
            self.ticket("resolved", remote_ms, remote=True)
            self.live_on(remote_ms)
            return
        self.repair_and_live_on(understood_ms)

    def open(self, kind: str) -> None:
        """Write the opening; some desks do not know the asset, some write a placeholder."""
        region, product, asset_id = self.site
        fields: Event = {
            "asset_id": asset_id if self.asset_is_known else self.rng.choice((None, "N/A")),
            "channel": "iot" if kind == "alert" else self.rng.choice(CHANNELS),
            "priority": self.priority,
            "kind": kind,
            "tz": region.zone,
            "symptom": f"{product.name}-{self.rng.randrange(1, 9)}",
            "region": region.name,
            "product": product.name,
            "tier": self.rng.choices(TIERS, (2, 3, 5))[0],
            "provider": self.rng.choices(PROVIDERS, (6, 2, 2))[0],
            "account_ref": f"account-{asset_id[-4:]}",
        }
        if self.chance(0.2):
            fields["first_contact_at"] = self.clock.write(self.opened_ms - self.about(4 * MINUTE))
        self.ticket("opened", self.opened_ms, **fields)

    def answer(self) -> int:
        """Write the first response, by a robot first now and then; return when a human took the case."""
        if self.chance(0.1):
            self.ticket("acknowledged", self.opened_ms + 2 * SECOND, auto=True)
        at_ms = self.opened_ms + self.about(self.tempo.acknowledge_ms * _PRIORITY_PACE[self.priority])
        if self.chance(0.97):
            self.ticket("acknowledged", at_ms)
        return at_ms

    def explain(self, from_ms: int) -> int:
        """Write the diagnosis, mostly; return when the desk knows what to do (at times it has to ask the customer)."""
        at_ms = from_ms + self.about(self.tempo.diagnose_ms * _PRIORITY_PACE[self.priority])
        if self.chance(0.85):
            self.ticket("diagnosed", at_ms)
        if self.chance(0.06):
            at_ms += SECOND
            self.ticket("transferred", at_ms, to="second_line")
        if self.chance(0.04):
            waits_ms = at_ms + self.about(self.tempo.desk_ms)
            at_ms = waits_ms + self.about(self.tempo.lead_ms)
            self.ticket("waiting_on_customer", waits_ms)
            self.ticket("resumed", at_ms)
        return at_ms

    def hear_from_customer(self, at_ms: int) -> None:
        """Write contacts of the customer, a promise to call back, and a second report of the same fault."""
        if self.chance(0.13):
            contact_ms = at_ms + self.about(self.tempo.lead_ms / 2)
            reason = self.rng.choices(("status_chase", "repeat_info", "new_info", "thanks"), (5, 1, 3, 2))[0]
            self.ticket("customer_contacted", contact_ms, channel=self.rng.choice(CHANNELS[:3]), reason=reason)
        if self.chance(0.1):
            due_ms = at_ms + self.about(self.tempo.lead_ms / 2)
            promise = self.promise("callback", at_ms, due_ms)
            if self.chance(0.15):
                due_ms += self.about(self.tempo.lead_ms / 2)
                fields: Event = {
                    "commitment_id": promise,
                    "due": self.clock.write(due_ms),
                    "by": "customer",
                    "agreed": True,
                }
                self.ticket("commitment_changed", at_ms + 2 * SECOND, **fields)
            kept_ms = (
                due_ms - self.between(0, due_ms - at_ms)
                if self.chance(0.9)
                else due_ms + self.about(self.tempo.desk_ms)
            )
            self.ticket("customer_updated", kept_ms, channel="phone")
        if self.chance(0.025):
            self.report_twice()

    def report_twice(self) -> None:
        """Somebody else on the site reports the same fault; the desk merges that case into this one, or cancels it."""
        at_ms = self.opened_ms + self.about(self.tempo.acknowledge_ms)
        other = _Story(self.company, f"{self.case_id}D", at_ms, self.site)
        other.open("break_fix")
        found_ms = at_ms + other.about(self.tempo.desk_ms)
        if other.chance(0.7):
            other.ticket("merged", found_ms, into=self.case_id)
        else:
            other.ticket("cancelled", found_ms, by="provider", reason="duplicate")

    def withdraw(self, from_ms: int) -> None:
        """Write that the customer no longer wants it; some desks cancelled the wrong case, void that and repair."""
        at_ms = from_ms + self.about(self.tempo.schedule_ms)
        cancelled = self.ticket("cancelled", at_ms, by="customer", reason="customer_withdrew")
        if self.chance(0.15):
            voided_ms = at_ms + self.about(self.tempo.desk_ms)
            self.ticket("voided", voided_ms, target=cancelled)
            self.repair_and_live_on(voided_ms)

    def promise(self, kind: str, at_ms: int, due_ms: int) -> str:
        """Write a commitment and return its id."""
        self.promises += 1
        commitment_id = f"{self.case_id}-K{self.promises}"
        self.ticket("commitment_made", at_ms, commitment_id=commitment_id, kind=kind, due=self.clock.write(due_ms))
        return commitment_id

    def lead_ms(self) -> float:
        return self.tempo.lead_ms * _PRIORITY_PACE[self.priority]

    def repair_and_live_on(self, from_ms: int) -> None:
        """Write the visits, and what comes after them if the case is fixed."""
        fixed_ms = self.repair(from_ms + self.about(self.tempo.schedule_ms), self.lead_ms())
        if fixed_ms is not None:
            self.live_on(fixed_ms)

    def repair(self, call_ms: int, lead_ms: float) -> int | None:
        """Send technicians until it is fixed and say so; return when it was fixed, None if the case is left lying."""
        needs_parts = self.chance(self.site.product.parts_ratio)
        continues: str | None = None
        for attempt in range(VISITS_MAX):
            visit = self.visit(call_ms, lead_ms, needs_parts=needs_parts, attempt=attempt, continues=continues)
            if visit.outcome == "fixed":
                if self.chance(0.9):
                    self.ticket("resolved", visit.ended_ms + self.about(self.tempo.desk_ms))
                return visit.ended_ms
            call_ms = visit.ended_ms + self.about(self.tempo.desk_ms)
            if visit.outcome == "not_fixed" and self.chance(0.08):
                self.ticket("resolved", call_ms)  # by the desk, against its technician: a loophole to watch (rule 24)
                return call_ms
            continues = visit.visit_id if visit.outcome == "continued" else None
            needs_parts = self.chance(_NEEDS_PARTS_NEXT.get(visit.outcome, 0.0))
            lead_ms = self.lead_ms() if visit.outcome != "no_parts" else self.tempo.lead_ms
        return None

    def visit(
        self,
        call_ms: int,
        lead_ms: float,
        *,
        needs_parts: bool = False,
        attempt: int = 0,
        continues: str | None = None,
        purpose: str | None = None,
    ) -> _Visit:
        """Plan a visit and write it from the first window to the last outcome."""
        self.visits += 1
        visit_id = f"{self.case_id}-V{self.visits}"
        parts = self.order(visit_id, call_ms, attempt) if needs_parts else None
        earliest_ms = call_ms + int(lead_ms)
        if parts is not None:
            earliest_ms = max(earliest_ms, parts.expected_ms + 10 * SECOND)
        start_ms, end_ms = self.slot(earliest_ms)
        extra: Event = {}
        if continues is not None:
            extra["continues"] = continues
        if purpose is not None:
            extra["purpose"] = purpose
        self.make_window("scheduled", call_ms, visit_id, (start_ms, end_ms), extra)
        if purpose is None and self.chance(0.15):
            self.promise("arrive", call_ms + SECOND, end_ms)
        changed_ms, start_ms, end_ms = self.change_window(visit_id, call_ms, start_ms, end_ms, parts)
        self.keep_informed(changed_ms, start_ms)
        if self.chance(0.3):
            self.dispatch("assigned", changed_ms + 30 * SECOND, visit_id=visit_id, technician_id=self.technician())
        if self.chance(0.01):
            missed_ms = end_ms + _GRACE_MS + self.about(self.tempo.lateness_ms)
            self.dispatch("cancelled", missed_ms, visit_id=visit_id, by="provider")
            return _Visit(visit_id, "missed", missed_ms)
        arrival_ms = max(self.arrival(start_ms, end_ms), changed_ms + 2 * SECOND)
        outcome = self.outcome(parts, arrival_ms, attempt, continues) if purpose is None else "fixed"
        ended_ms = self.attend(
            visit_id, max(changed_ms + SECOND, arrival_ms - self.about(self.tempo.travel_ms)), arrival_ms, outcome
        )
        if parts is not None and outcome == "fixed":
            for line in parts.lines:
                if self.chance(0.4):
                    self.parts("consumed", ended_ms, line_id=line, visit_id=visit_id)
        return _Visit(visit_id, outcome, ended_ms)

    def slot(self, earliest_ms: int) -> tuple[int, int]:
        """Return a window that begins at or after `earliest_ms`; P1 does not wait for office hours."""
        if self.tempo.office_hours and self.priority != "P1":
            return self.clock.working_slot(earliest_ms, self.rng)
        start_ms = earliest_ms // SECOND * SECOND + SECOND
        return start_ms, start_ms + self.tempo.window_ms

    def make_window(self, event_type: str, at_ms: int, visit_id: str, slot: tuple[int, int], extra: Event) -> None:
        start_ms, end_ms = slot
        window: Event = {"window_start": self.clock.write(start_ms), "window_end": self.clock.write(end_ms)}
        self.dispatch(event_type, at_ms, visit_id=visit_id, **window, **extra)

    def change_window(
        self, visit_id: str, made_ms: int, start_ms: int, end_ms: int, parts: _Parts | None
    ) -> tuple[int, int, int]:
        """Let customer or provider move the window; return when it was made last, its start and its end.

        A provider whose parts do not come moves it at short notice, hoping.
        """
        for round_ in range(2):
            missing = parts is not None and (parts.on_hand_ms is None or parts.on_hand_ms > start_ms)
            stopped = missing and self.company.incident(self.site.region.name, start_ms) is not None
            draw = self.rng.random()
            notice_ms = int((start_ms - made_ms) * self.rng.random() * (0.3 if stopped else 0.9))
            at_ms = start_ms - notice_ms
            if stopped and draw < 0.45:
                extra: Event = {"by": "provider"}
            elif round_ == 0 and draw < 0.05:
                extra = {"by": "customer"}
            elif round_ == 0 and draw < 0.085:
                extra = {"by": "provider", "agreed": True} if self.chance(0.5) else {"by": "provider"}
            else:
                break
            made_ms = max(at_ms, made_ms + 2 * SECOND)
            start_ms, end_ms = self.slot(max(start_ms, made_ms) + self.about(self.tempo.postpone_ms) // 2)
            self.make_window("rescheduled", made_ms, visit_id, (start_ms, end_ms), extra)
        return made_ms, start_ms, end_ms

    def keep_informed(self, from_ms: int, to_ms: int) -> None:
        """Tell the customer before a day of silence has passed; usually."""
        step_ms = 3 * HOUR if self.priority == "P1" else 20 * HOUR
        at_ms = from_ms + step_ms
        while at_ms < to_ms and self.chance(0.95):
            self.ticket("customer_updated", at_ms, channel="sms")
            at_ms += step_ms

    def order(self, visit_id: str, call_ms: int, attempt: int) -> _Parts:
        """Write the parts a visit needs: from the van, else ordered; in an incident what is ordered does not come."""
        region = self.site.region.name
        stop = self.company.incident(region, call_ms)
        van_ratio = 0.4 * (exp((stop.starts_ms - call_ms) / self.tempo.van_stock_ms) if stop else 1.0)
        lines = []
        expected_ms = call_ms
        on_hand_ms: int | None = call_ms
        for number in range(1 if self.chance(0.8) else 2):
            line = f"{visit_id}-L{number + 1}"
            lines.append(line)
            names: Event = {"line_id": line, "visit_id": visit_id}
            self.parts("required", call_ms, **names, part_no=f"{self.site.product.name}-{self.rng.randrange(100, 140)}")
            if self.chance(van_ratio):
                self.parts("allocated", call_ms + SECOND, **names)
                continue
            lead_ms = self.about(self.tempo.parts_lead_ms)
            expected_ms = max(expected_ms, call_ms + lead_ms)
            comes_ms = self.supply(names, call_ms + SECOND, lead_ms, attempt)
            on_hand_ms = None if comes_ms is None or on_hand_ms is None else max(on_hand_ms, comes_ms)
        return _Parts(tuple(lines), expected_ms, on_hand_ms)

    def supply(self, names: Event, ordered_ms: int, lead_ms: int, attempt: int) -> int | None:
        """Write the order of a line and what comes of it; return when the part is on hand, None if it never is."""
        self.parts("ordered", ordered_ms, **names)
        late = self.chance(0.07)
        comes_ms = ordered_ms + (lead_ms * 3 + self.tempo.window_ms * 2 if late else lead_ms * 9 // 10)
        stop = self.company.incident(self.site.region.name, comes_ms)
        if stop is not None and stop.ends_ms is None:
            if not attempt or self.chance(0.5):
                return None
            self.parts("picked_up", comes_ms, **names)  # whoever comes again has found the part in another region
            return comes_ms
        if stop is not None and stop.ends_ms is not None:
            comes_ms = stop.ends_ms + lead_ms
        if self.chance(0.3):
            self.parts("shipped", ordered_ms + (comes_ms - ordered_ms) // 3, **names)
        to = self.rng.choices(("site", "van", "depot"), (5, 3, 2))[0]
        self.parts("delivered", comes_ms, **names, to=to)
        if to == "depot":
            comes_ms += self.tempo.desk_ms // 4
            self.parts("picked_up", comes_ms, **names)
        return comes_ms

    def arrival(self, start_ms: int, end_ms: int) -> int:
        """Draw when the technician arrives: in the window, or as late as region and day make likely."""
        if self.chance(min(0.8, self.site.region.late_ratio * self.company.day(start_ms).late_factor)):
            return end_ms + _GRACE_MS + self.about(self.tempo.lateness_ms)
        if self.chance(0.005):
            return start_ms - self.between(31 * MINUTE, 60 * MINUTE)
        return start_ms + self.between(-0.05 * (end_ms - start_ms), 0.95 * (end_ms - start_ms))

    def outcome(self, parts: _Parts | None, arrival_ms: int, attempt: int, continues: str | None) -> str:
        """Draw how a repair visit ends."""
        draw = self.rng.random()
        if self.chance(0.02):
            return "no_access"
        if parts is not None and (parts.on_hand_ms is None or parts.on_hand_ms > arrival_ms):
            return "no_parts" if draw < 0.9 else "temporary"
        if draw < (0.95 if attempt or continues else self.site.product.fixed_ratio):
            return "fixed"
        return self.rng.choices(_FAILURES, (4, 2, 3, 2, 2, 1))[0]

    def attend(self, visit_id: str, leaves_ms: int, arrival_ms: int, outcome: str) -> int:
        """Write what the technician's phone says from leaving to completion, and return when the work ended.

        A phone without network delivers it all hours later; a few phones' clocks are fast, by less than five minutes.
        """
        stays_ms = 8 * SECOND if outcome == "no_access" else self.about(self.tempo.on_site_ms)
        ended_ms = arrival_ms + 5 * SECOND + min(stays_ms, _ON_SITE_MAX_MS)
        offline = self.chance(0.05)
        synced_ms = ended_ms + self.between(*self.tempo.offline_ms)
        fast_ms = self.between(10 * SECOND, 4 * MINUTE) if self.chance(0.004) else 0
        technician = self.technician()

        def phone(event_type: str, at_ms: int, **fields: object) -> str:
            delivered_ms = synced_ms + self.between(0, 3_000) if offline else at_ms + self.between(1_000, 20_000)
            fields = {"visit_id": visit_id, **fields, "technician_id": technician}
            return self.say("dispatch", event_type, at_ms + fast_ms, delivered_ms, fields)

        if self.chance(0.85):
            phone("en_route", leaves_ms)
        arrived = phone("arrived", arrival_ms)
        if self.chance(0.004):
            early = phone("completed", ended_ms - 3 * SECOND, outcome="not_fixed")
            self.dispatch("voided", ended_ms, target=early)
        completion: Event = {"outcome": outcome}
        if outcome == "fixed" and self.chance(0.01):
            self.site = self.company.replace(self.site, ended_ms)
            completion["replaced_by"] = self.site.asset_id
        phone("completed", ended_ms, **completion)
        if self.chance(0.007):
            true_ms = arrival_ms - self.between(0, self.tempo.travel_ms)
            at_ms = max(ended_ms, synced_ms if offline else 0) + self.about(self.tempo.desk_ms)
            self.dispatch("corrected", at_ms, target=arrived, set={"at": self.clock.write(true_ms)})
        if outcome == "fixed" and self.chance(0.012):
            self.bring_mate(visit_id, arrival_ms, ended_ms)
        return ended_ms

    def bring_mate(self, visit_id: str, arrival_ms: int, ended_ms: int) -> None:
        """Write the visit of a second technician who works beside the first: one attempt, two visits (rule 11)."""
        mate = f"{visit_id}b"
        comes_ms = (arrival_ms + ended_ms) // 2
        self.dispatch("arrived", comes_ms, visit_id=mate, technician_id=self.technician())
        self.dispatch("completed", ended_ms, visit_id=mate, outcome="fixed")

    def technician(self) -> str:
        return f"{self.site.region.name}-t{self.rng.randrange(1, 40):02d}"

    def live_on(self, fixed_ms: int) -> None:
        """Write what comes after the fix: the same fault again, a new failure of the asset, thanks, the closing."""
        if self.chance(0.03):
            again_ms = fixed_ms + self.about(self.tempo.reopen_ms)
            reason: Event = {"reason": "same_fault"} if self.chance(0.5) else {}
            self.ticket("reopened", again_ms, **reason)
            refixed_ms = self.repair(again_ms + self.about(self.tempo.desk_ms), self.lead_ms())
            if refixed_ms is None:
                return
            fixed_ms = refixed_ms
            if self.chance(0.3):
                self.ticket("compensated", fixed_ms + self.about(self.tempo.lead_ms), amount="50 EUR")
        elif self.chance(0.008):
            self.ticket("reopened", fixed_ms + self.about(self.tempo.reopen_ms), reason="billing")
        if self.chance(0.02):
            give = self.dispatch if self.chance(0.5) else self.ticket
            give("value_added", fixed_ms + self.about(self.tempo.desk_ms), what="check-up")
        if self.chance(0.15):
            self.ticket("closed", fixed_ms + self.about(self.tempo.lead_ms))
        if self.asset_is_known and self.chance(self.site.product.repeat_ratio):
            again_ms = fixed_ms + self.between(*self.tempo.repeat_ms)
            self.company.open_again(again_ms, self.first_case_id, self.generation + 1, self.site)


def _rng(seed: str) -> Random:
    return Random(seed)  # noqa: S311  # nosec B311 # a simulation wants numbers that can be had again
