"""The world of a run: what happens to customers, at which times it is sent, and the settings workers judge it by.

A day of the world lasts a minute of the simulation, so that windows end, cases seal and are forgotten within a run,
while sessions, heartbeats and commits take the seconds they take in production.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from cxstream.config.settings import Settings
from cxstream.domain.instant import DAY_MS, HOUR_MS, MINUTE_MS
from cxstream.domain.policy import Policy
from oracle.evaluator import POLICY as WORLD_POLICY
from oracle.histories import FIRST_DAYS, Event, random_history, rfc3339, to_ms

SHRINK = 1440
"""A day becomes a minute."""
TIMES = ("at", "window_start", "window_end", "due")
REGIONS = ("north", "south")
PRODUCTS = ("boiler", "lift", "router", "chiller")
LISTED_PRODUCTS = ("boiler", "lift", "router")
"""The closed list of the settings; other products are shown together."""


LONGEST_WINDOW_MS = 40 * MINUTE_MS
REMEMBERED_MS = 20 * MINUTE_MS
STATED_EARLY_MS = 800
"""By so much, at most, a trusted topic states a delivery before the record stands in the log."""


class Plan(NamedTuple):
    """One event and when it is sent, in milliseconds since the epoch."""

    sent_ms: int
    event: Event


def shrunk(length_ms: int) -> int:
    """Return a length of the world in the time of the simulation."""
    return round(length_ms / SHRINK)


def oracle_policy(crowded_asset_cases: int) -> dict[str, Any]:
    """Return the policy for the oracle, every duration shrunk."""
    durations = {name: value for name, value in WORLD_POLICY.items() if name.endswith("_ms")}
    return {
        **WORLD_POLICY,
        **{
            name: {key: shrunk(one) for key, one in value.items()} if isinstance(value, dict) else shrunk(value)
            for name, value in durations.items()
        },
        "abandonment_ms": shrunk(20 * DAY_MS),
        "crowded_asset_cases": crowded_asset_cases,
    }


class SimSettings(Settings):
    """Settings whose policy is shrunk below what configuration would allow."""

    crowded: int = 50
    facts_per_case: int = 2000

    def policy(self) -> Policy:
        """Return the policy verdicts are judged by."""
        stated = Policy()
        durations: dict[str, Any] = {}
        for name in Policy.__struct_fields__:
            value = getattr(stated, name)
            if name.endswith("_ms"):
                durations[name] = (
                    {key: shrunk(one) for key, one in value.items()} if isinstance(value, dict) else shrunk(value)
                )
        return Policy(
            **{
                **durations,
                "abandonment_ms": shrunk(20 * DAY_MS),
                "crowded_asset_cases": self.crowded,
                "facts_per_case": self.facts_per_case,
                "placeholder_assets": frozenset(WORLD_POLICY["placeholder_assets"]),
                "longest_window_ms": LONGEST_WINDOW_MS,
                "remembered_ms": REMEMBERED_MS,
            }
        )


def settings_of(
    dice: random.Random,
    *,
    partitions: int,
    trusted: Collection[str],
    crowded: int,
    facts_per_case: int,
    silent_after: str,
    clock_margin_seconds: float,
) -> SimSettings:
    """Return the settings of all workers of a run."""
    return SimSettings.model_validate(
        {
            "linger_seconds": 30.0,
            "drain_seconds": 2.0,
            "crowded": crowded,
            "facts_per_case": facts_per_case,
            "kafka": {
                "partitions": partitions,
                "session_timeout_seconds": 10.0,
                "heartbeat_seconds": 2.0,
                "clock_margin_seconds": clock_margin_seconds,
                "commit_interval_seconds": dice.choice((0.5, 1.0, 4.0)),
                "trusted_topics": tuple(trusted),
                "source_silent_after": dict.fromkeys(("ticket", "dispatch", "parts"), silent_after),
            },
            "limits": {"max_batch_records": dice.choice((1, 3, 20)), "concurrent_batches": dice.choice((1, 2, 3))},
            "ledger": {
                "windows": ("5m", "15m", "40m"),
                "levels": {"job": ("all",), "region": ("15m",), "product": ("15m", "40m")},
                "label_values": {"product": LISTED_PRODUCTS},
            },
        }
    )


def history(dice: random.Random, size: int, *, erasures: bool) -> list[Plan]:
    """Return what happens in the world of a run, in order of sending; `size` is about how many events."""
    day = to_ms(dice.choice(FIRST_DAYS) + "T00:00:00Z")
    begin_ms = day + dice.choice((0, 5, 12, 22)) * HOUR_MS - dice.choice((0, 2, 10, 30)) * MINUTE_MS
    plans: list[Plan] = []
    tales = max(1, size // 22)
    for tale in range(tales):
        events = random_history(dice, size // tales, erasures=erasures and tale == 0, entangled=dice.random() < 0.5)
        plans += _retold(events, begin_ms, f"T{tale}", dice, shared_assets=dice.random() < 0.3)
    for number in range(dice.choice((0, 1, 1, 2))):
        plans += _repeat(dice, begin_ms + dice.randrange(600_000), f"R{number}")
    return sorted(plans, key=lambda plan: plan.sent_ms)


def _repeat(dice: random.Random, begin_ms: int, prefix: str) -> list[Plan]:
    """Return a fix, another case of the same asset within the repeat window, and what becomes of that at last."""
    first, second, asset = f"{prefix}F", f"{prefix}S", f"{prefix}A"
    day_ms = shrunk(DAY_MS)
    plans: list[Plan] = []
    first_late_ms = dice.choice((0, 0, 0, dice.randrange(20 * day_ms)))

    def tell(case_id: str, topic: str, type_: str, days: float, **fields: Any) -> None:  # noqa: ANN401 - JSON values
        at_ms = begin_ms + int(days * day_ms)
        event = {"event_id": f"{type_}-{len(plans)}", "topic": topic, "type": type_, "case_id": case_id}
        late_ms = first_late_ms if case_id == first else dice.choice((0, 0, 0, 40, dice.randrange(3 * day_ms)))
        plans.append(Plan(at_ms + late_ms, {**event, "at": rfc3339(at_ms), **fields}))

    tell(first, "ticket", "opened", 0, asset_id=asset, region=dice.choice(REGIONS), product=dice.choice(PRODUCTS))
    tell(first, "dispatch", "arrived", 0.2, visit_id="V1")
    tell(first, "dispatch", "completed", 0.3, visit_id="V1", outcome="fixed")
    opened = 0.3 + dice.choice((0.01, 1, 15, 29.9, 31))
    tell(second, "ticket", "opened", opened, asset_id=asset, region=dice.choice(REGIONS))
    opening = plans[-1].event["event_id"]
    then = opened + dice.choice((0.01, 0.5, 2, 2.5, 20))
    match dice.choice(("cancelled", "merged", "moved", "voided", "other kind", "nothing")):
        case "cancelled":
            tell(second, "ticket", "cancelled", then, reason="customer_withdrew")
        case "merged":
            tell(second, "ticket", "merged", then, into=dice.choice((first, f"{prefix}X")))
        case "moved":
            tell(second, "ticket", "corrected", then, target=opening, set={"asset_id": f"{asset}2"})
        case "other kind":
            tell(second, "ticket", "corrected", then, target=opening, set={"kind": "preventive"})
        case "voided":
            tell(second, "ticket", "voided", then, target=opening)
    return plans


def _retold(
    events: Iterable[Event], begin_ms: int, prefix: str, dice: random.Random, *, shared_assets: bool
) -> list[Plan]:
    """Return a history shrunk to the simulation's time, its cases and assets renamed, segments added."""
    events = [event for event in events if len(event["at"]) > 19]  # without an offset Avro cannot state it
    origin_ms = min((to_ms(event["at"]) for event in events), default=0)

    def retime(holder: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: rfc3339(begin_ms + shrunk(to_ms(value) - origin_ms))
            if name in TIMES and isinstance(value, str)
            else value
            for name, value in holder.items()
        }

    plans = []
    segment = {"region": dice.choice(REGIONS), "product": dice.choice(PRODUCTS), "provider": "P"}
    for event in events:
        told = retime(event)
        told.pop("seen", None)
        sent_ms = begin_ms + shrunk(to_ms(str(event.get("seen", event["at"]))) - origin_ms)
        told["case_id"] = prefix + event["case_id"]
        if isinstance(told.get("set"), dict):
            told["set"] = retime(told["set"])
            if isinstance(told["set"].get("set"), dict):
                told["set"]["set"] = retime(told["set"]["set"])
        for holder in (told, told.get("set")):
            if isinstance(holder, dict):
                if isinstance(holder.get("into"), str):
                    holder["into"] = prefix + holder["into"]
                if not shared_assets:
                    for name in ("asset_id", "replaced_by"):
                        if isinstance(holder.get(name), str) and holder[name] not in ("?", "N/A"):
                            holder[name] = prefix + holder[name]
        if told["type"] == "opened":
            told |= segment
        plans.append(Plan(sent_ms, told))
    return plans
