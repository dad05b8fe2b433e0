"""What an intake makes of single records: what waits and for how long, what is refused, what is remembered."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cxstream.domain.instant import DAY_MS, HOUR_MS
from cxstream.exposition.intake import INTAKE_FAMILIES, IntakeActivity, Standing
from cxstream.intake.intake import COUNTS, LEARNING, OUTCOMES, PARKED_ENDS, Intake, Work
from cxstream.intake.mapper import Raw
from cxstream.intake.mapping import Event, Learn, Limits, Source, Topic
from cxstream.intake.state import UnreadableStateError
from cxstream.intake.values import NOTES, REASONS
from parts.rows import (
    MAP,
    ORDERS,
    SOURCES,
    STATE,
    T0_MS,
    TICKETS,
    VISITS,
    intake,
    intake_map,
    order,
    raws,
    ticket,
    visit,
)

NOW_MS = T0_MS + DAY_MS


def limited(**limits: object) -> Intake:
    """Return an intake with these limits."""
    lines = "\n".join(f"{name} = {msgspec.json.encode(value).decode()}" for name, value in limits.items())
    return intake(intake_map(MAP.replace('name = "rows"', f'name = "rows"\n[limits]\n{lines}')))


def entries(*works: Work) -> list[tuple[bytes, bytes | None]]:
    """Return what was written of the state, in order."""
    sent = [one for work in works for one in (*work.sent, *work.after)]
    return [(one.key or b"", one.value) for one in sent if one.topic == STATE]


def letters(work: Work) -> list[tuple[str, str]]:
    """Return topic and reason of the dead letters."""
    found = [(one.topic, dict(one.headers).get("cxstream.error.reason")) for one in work.sent]
    return [(topic, reason.decode()) for topic, reason in found if reason]


def test_a_visit_waits_for_its_order_and_its_order_for_its_ticket() -> None:
    """What a record teaches lets go what waits for it at once, along the chain, in the order it was parked."""
    process = intake()
    records = raws([(VISITS, visit(1, 0)), (VISITS, visit(2, 0)), (ORDERS, order(0)), (TICKETS, ticket(0))])
    assert [len(process.take([one], NOW_MS).ends) for one in records[:3]] == [1, 1, 1]
    assert len(process.parking) == 3
    work = process.take(records[3:], NOW_MS)
    assert [(end.raw.topic, end.raw.offset, end.waited) for end in work.ends] == [
        (TICKETS, 0, False),
        (ORDERS, 0, True),
        (VISITS, 0, True),
        (VISITS, 1, True),
    ]
    assert [told.event["type"] for end in work.ends for told in end.told] == ["opened", *["scheduled", "arrived"] * 2]
    assert len(process.parking) == 0
    assert process.parking.size_bytes == 0


def test_what_waits_and_what_is_known_survive_a_restart() -> None:
    """The topic of the state is all a process has to begin with: what waits is still there, with its age."""
    first = intake()
    parked = raws([(TICKETS, ticket(1)), (VISITS, visit(1, 0)), (ORDERS, order(0))])
    state = entries(first.take(parked, NOW_MS))
    second = intake()
    second.restore(state)
    assert second.lookups.knows("ticket", "t1") == "C1"
    assert (len(second.parking), second.parking.oldest_ms) == (2, NOW_MS)
    work = second.take(raws([(TICKETS, ticket(0))]), NOW_MS + HOUR_MS)
    assert [told.case_id for end in work.ends for told in end.told] == ["C0", "C0", "C0"]


def test_what_became_known_just_before_a_kill_is_let_go_at_the_start() -> None:
    """A key that was written, and whose waiting records were not told yet, lets them go when the state is read."""
    first = intake()
    waiting = first.take(raws([(VISITS, visit(1, 0))]), NOW_MS)
    known = first.take(raws([(TICKETS, ticket(0)), (ORDERS, order(0))]), NOW_MS)
    second = intake()
    second.restore([(key, value) for key, value in entries(waiting, known) if value is not None])
    assert [len(end.told) for end in second.take([], NOW_MS).ends] == [2]


def test_a_record_that_waits_too_long_is_a_dead_letter() -> None:
    """After parked_for it goes to the dead letters of its topic as it was read, reason case_unknown, and is forgotten.

    Exactly parked_for is not too long; the age counts over a restart.
    """
    process = limited(parked_for="36h")
    (record,) = raws([(VISITS, visit(1, 0))])
    state = entries(process.take([record], NOW_MS))
    again = limited(parked_for="36h")
    again.restore(state)
    assert letters(again.take([], NOW_MS + 36 * HOUR_MS)) == []
    work = again.take([], NOW_MS + 36 * HOUR_MS + 1)
    assert letters(work) == [("visits.dead-letters", "case_unknown")]
    assert (work.sent[0].key, work.sent[0].value) == (record.key, record.value)
    assert work.tally["parked_ends", "case_unknown"] == 1
    assert [value for _key, value in entries(work)] == [None]
    assert len(again.parking) == 0


@pytest.mark.parametrize("limits", [{"parked_records": 2}, {"parked_bytes": 1024}], ids=["count", "bytes"])
def test_the_oldest_gives_way_when_too_much_waits(limits: dict[str, int]) -> None:
    """Beyond the limit of records or bytes the record that waits longest becomes a dead letter, parking_full."""
    process = limited(**limits)
    work = process.take(raws([(VISITS, visit(number, number)) for number in range(3)]), NOW_MS)
    assert letters(work) == [("visits.dead-letters", "parking_full")]
    assert [parked.offset for parked in process.parking.all()] == [1, 2]
    assert work.tally["parked_ends", "parking_full"] == 1
    assert process.parking.size_bytes == sum(one.size_bytes for one in process.parking.all())


def test_the_first_value_of_a_key_counts() -> None:
    """A key that is taught again as something else stays what it was, so that a replay maps alike; it is counted."""
    process = intake()
    changed = {**order(0), "ticket": "t1"}
    work = process.take(
        raws(
            [(TICKETS, ticket(0)), (TICKETS, ticket(1)), (ORDERS, order(0)), (ORDERS, changed), (VISITS, visit(1, 0))]
        ),
        NOW_MS,
    )
    assert process.lookups.knows("order", "o0") == "C0"
    assert work.tally["lookup", "contradicted"] == 1
    assert {told.case_id for end in work.ends[-1:] for told in end.told} == {"C0"}


def test_lookups_are_bounded_by_number_and_age() -> None:
    """Beyond lookup_keys, or lookup_kept after it was last taught, the key learned longest ago is forgotten."""
    process = limited(lookup_keys=2, lookup_kept="10d")
    work = process.take(raws([(TICKETS, ticket(number)) for number in range(3)]), NOW_MS)
    assert [process.lookups.knows("ticket", f"t{number}") for number in range(3)] == [None, "C1", "C2"]
    assert work.tally["lookup", "forgotten"] == 1
    process.take(raws([(TICKETS, ticket(1))]), NOW_MS + 9 * DAY_MS)
    later = process.take([], NOW_MS + 10 * DAY_MS + 1)
    assert [process.lookups.knows("ticket", f"t{number}") for number in (1, 2)] == ["C1", None]
    assert entries(later)[-1][1] is None


def test_a_record_tells_all_of_its_events_or_none() -> None:
    """One field that cannot be mapped refuses the record; what it teaches counts all the same."""
    process = intake()
    process.take(raws([(TICKETS, ticket(0)), (ORDERS, order(0))]), NOW_MS)
    wrong = {**visit(1, 0), "arrived": "yesterday"}
    work = process.take(raws([(VISITS, wrong), (TICKETS, {**ticket(1), "opened": "at noon"})]), NOW_MS)
    assert letters(work) == [("visits.dead-letters", "bad_time"), ("tickets.dead-letters", "bad_time")]
    assert not any(one.topic in SOURCES.values() for one in work.sent)
    assert process.lookups.knows("ticket", "t1") == "C1"


PERSONAL = "Mrs Miller, 12 Elm Street"
WRONG = {
    "not_json": b"\x00\x01Mrs Miller, 12 Elm Street",
    "missing": orjson.dumps({"id": PERSONAL, "number": PERSONAL}),
    "bad_time": orjson.dumps({**ticket(1), "opened": PERSONAL}),
    "future": orjson.dumps({**ticket(1), "number": PERSONAL, "opened": "2031-01-01 00:00:00"}),
    "bad_value": orjson.dumps({**ticket(1), "number": {"display": PERSONAL}}),
    "invalid": orjson.dumps({**ticket(1), "number": PERSONAL * 100}),
    "too_large": orjson.dumps({**ticket(1), "number": PERSONAL * 50_000}),
}


@pytest.mark.parametrize("reason", WRONG)
def test_a_refusal_names_the_field_and_the_mend_but_no_value(reason: str) -> None:
    """Dead letters say why, where and what to do, and nothing of what the record says; their bytes are the record's."""
    assert reason in REASONS
    work = intake().take([Raw(TICKETS, 3, 7, T0_MS, b"k", WRONG[reason])], NOW_MS)
    assert letters(work) == [("tickets.dead-letters", reason)]
    letter = next(one for one in work.sent if one.topic != STATE)
    assert letter.value == WRONG[reason]
    headers = {name: (value or b"").decode() for name, value in letter.headers}
    assert headers["cxstream.error.offset"] == "7"
    assert "expected" in headers["cxstream.error.detail"]
    assert ";" in headers["cxstream.error.detail"] or reason == "future"
    assert not any("Miller" in text for text in headers.values())


def test_only_trusted_topics_are_told_when_a_record_was_delivered() -> None:
    """The header is written where workers believe it, and nowhere else."""
    (record,) = raws([(TICKETS, ticket(0))])
    for trusted in ((), ("cx.ticket",)):
        sent = [one for one in intake(trusted=trusted).take([record], NOW_MS).sent if one.topic != STATE]
        assert dict(sent[0].headers).get("cxstream-delivered-at") == (
            str(record.timestamp_ms).encode() if trusted else None
        )


def test_every_record_that_is_read_has_one_outcome() -> None:
    """Told, taught, ignored, parked, refused: as many as were read, and each parked one ends once."""
    process = limited(parked_records=1)
    rows = [
        (VISITS, visit(1, 0)),
        (VISITS, visit(2, 1)),
        (ORDERS, {"id": "o9"}),
        (ORDERS, order(0)),
        (TICKETS, ticket(1)),
    ]
    records = [*raws(rows), Raw(TICKETS, 0, 9, T0_MS, b"k", None), Raw(TICKETS, 0, 10, T0_MS, b"k", b"[]")]
    tally = process.take(records, NOW_MS).tally
    outcomes: Counter[str] = Counter()
    for labels, count in tally.items():
        outcomes.update({labels[2]: count} if labels[0] == "records" else {})
    assert outcomes == {"parked": 3, "ignored": 2, "told": 1, "refused": 1}
    assert {labels[0] for labels in tally} <= set(COUNTS)
    ended = sum(count for labels, count in tally.items() if labels[0] == "parked_ends")
    assert outcomes["parked"] == ended + len(process.parking)


def test_a_state_that_nobody_wrote_is_refused() -> None:
    """What cannot be read of the state stops the intake: to go on without it would lose what waits."""
    for entry in (
        (b'["parked","t",0,1]', b"\xc1"),
        (b'["other"]', b"1"),
        (b"nonsense", b"1"),
        (b'["lookup","a"]', b"1"),
    ):
        with pytest.raises(UnreadableStateError):
            intake().restore([entry])


def test_the_docs_list_every_limit_reason_family_and_name_of_a_map() -> None:
    """docs/upstream/intake.md is whole: what a map may say, why a record is refused, what is counted, all limits."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "upstream" / "intake.md").read_text("utf-8")
    rows = "\n".join(line for line in text.splitlines() if line.startswith("| `"))
    names = [*Limits.model_fields, *Topic.model_fields, *Event.model_fields, *Learn.model_fields, *Source.model_fields]
    for name in (*names, *REASONS, *(family.name for family in INTAKE_FAMILIES)):
        assert f"`{name}`" in rows, name
    for family in INTAKE_FAMILIES:
        assert f"| `{family.name}` | {', '.join(f'`{label}`' for label in family.labels)} | {family.help} |" in rows


def test_what_an_intake_tells_prometheus_is_of_its_families() -> None:
    """Every family is on the page, in both formats, and nothing else; what is counted is under its labels."""
    activity = IntakeActivity(
        "g",
        ("tickets",),
        outcomes=OUTCOMES,
        reasons=REASONS,
        parked_ends=PARKED_ENDS,
        learning=LEARNING,
        notes=NOTES,
    )
    activity.count(
        {("records", "tickets", "told"): 2, ("refused", "tickets", "missing"): 1, ("times", "gap_shifted"): 3}
    )
    activity.standing = Standing(active=True, parked=4, parked_bytes=5, oldest_parked_seconds=6.5, lookup_keys=7)
    body, _kind = activity.page("")
    found = {
        sample.name: family for family in text_string_to_metric_families(body.decode()) for sample in family.samples
    }
    assert set(found) == {family.name for family in INTAKE_FAMILIES}
    text = body.decode()
    assert 'cxstream_intake_records_total{group="g",outcome="told",topic="tickets"} 2.0' in text
    assert 'cxstream_intake_parked_records{group="g"} 4.0' in text
    assert activity.page("application/openmetrics-text")[0].endswith(b"# EOF\n")


def test_a_repeat_that_was_delivered_earlier_is_sent() -> None:
    """Of copies the one delivered first counts (rule 1): a later one is left out, one delivered before is not."""
    process = intake(intake_map(MAP.replace('name = "tickets"', 'name = "tickets"\nsnapshots = true')))
    (record,) = raws([(TICKETS, ticket(0))])
    told = []
    for delay_ms in (0, 1, -1, 0, -1):
        work = process.take([record._replace(timestamp_ms=(record.timestamp_ms or 0) + delay_ms)], NOW_MS)
        told.append(sum(one.topic in SOURCES.values() for one in work.sent))
    assert told == [1, 0, 1, 0, 1]
    assert intake().take([record, record], NOW_MS).tally["events", "ticket"] == 2


def test_what_is_remembered_of_rows_is_bounded() -> None:
    """Beyond remembered_events the event told longest ago is forgotten, and told again if a row does."""
    text = MAP.replace('name = "rows"', 'name = "rows"\nlimits.remembered_events = 1')
    process = intake(intake_map(text.replace('name = "tickets"', 'name = "tickets"\nsnapshots = true')))
    rows = [(TICKETS, ticket(number)) for number in (0, 0, 1, 0)]
    assert [len(end.told) for end in process.take(raws(rows), NOW_MS).ends] == [1, 0, 1, 1]
