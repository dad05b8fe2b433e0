"""How an intake reads the values of a record: paths, enumerations, lists, and times of clocks that change."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from cxstream.domain.instant import format_instant
from cxstream.intake.mapper import Mapped, Mapper, Raw
from cxstream.intake.mapping import read
from cxstream.intake.values import at_path, holds
from parts.rows import SKEW_MS, T0_MS

LONG_AFTER_MS = T0_MS + 3650 * 86_400_000


def mapped(record: object, rule: str, *, more: str = "", at: str = '"at"', id: str = '"id"') -> Mapped:  # noqa: A002
    """Return what one record becomes by one rule; its case is the field `case`."""
    text = f"""
name = "one"
{more}
[[topics]]
name = "t"
[[topics.events]]
case = "case"
at = {at}
id = {id}
{rule}
"""
    value = record if isinstance(record, bytes) else orjson.dumps(record)
    raw = Raw("t", 0, 0, LONG_AFTER_MS, None, value)
    return Mapper(read(text), skew_ms=SKEW_MS).map(raw, lambda _lookup, _key: None)


def row(**fields: Any) -> dict[str, Any]:  # noqa: ANN401  # a row holds anything
    """Return a row with an id, a case and a time."""
    return {"id": "1", "case": "C1", "at": "2026-03-02T10:00:00Z", **fields}


def told(record: object, rule: str, **others: str) -> list[dict[str, object]]:
    """Return the events of a record that is mapped."""
    found = mapped(record, rule, **others)
    assert found.refused is None, found.refused
    return [one.event for one in found.events]


def at_of(text: str, times: str, **fields: str) -> str:
    """Return the instant a time is read as."""
    ((event),) = told(row(when=text, **fields), 'event = "ticket.diagnosed"', at=f'{{ path = "when", {times} }}')
    return format_instant(int(str(event["at"])))


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a.b", 1),
        ("a.b.c", None),
        ("dotted.name", "whole"),
        ("list.1.x", 2),
        ("list.7", None),
        ("empty", None),
        ("null", None),
        ("a.none.of.this", None),
        ("zero", 0),
        ("no", False),
    ],
)
def test_a_path_leads_to_what_is_there(path: str, found: object) -> None:
    """Names with dots are found before paths, numbers are places in lists; an empty text is nothing, 0 is something."""
    record = {"a": {"b": 1}, "dotted.name": "whole", "list": [{"x": 1}, {"x": 2}], "empty": "", "null": None}
    assert at_path({**record, "zero": 0, "no": False}, path) == found


def test_conditions_hold_of_texts_presence_and_absence() -> None:
    """All of when, none of unless; numbers and flags are compared as they are written."""
    record = {"state": 6, "active": True, "note": "", "ratio": 2.0}
    assert holds(record, {"state": ("6", "7"), "active": ("true",), "note": False, "ratio": ("2",)}, {"state": ("8",)})
    assert not holds(record, {"state": ("7",)}, {})
    assert not holds(record, {"note": True}, {})
    assert not holds(record, {}, {"active": True})


LOCAL = 'format = "%Y-%m-%d %H:%M:%S", zone = "Europe/Berlin"'


@pytest.mark.parametrize(
    ("text", "times", "instant"),
    [
        ("2026-03-02T10:00:00+01:00", 'zone = "UTC"', "2026-03-02T09:00:00Z"),
        ("2026-03-02t10:00:00z", 'zone = "UTC"', "2026-03-02T10:00:00Z"),
        ("2026-03-02T10:00:00", 'zone = "America/Chicago"', "2026-03-02T16:00:00Z"),
        ("2026-03-28 10:00:00", LOCAL, "2026-03-28T09:00:00Z"),
        ("2026-03-30 10:00:00", LOCAL, "2026-03-30T08:00:00Z"),
        ("2026-03-29 02:30:00", LOCAL + ', gap = "shift"', "2026-03-29T01:30:00Z"),
        ("2026-10-25 02:30:00", LOCAL, "2026-10-25T00:30:00Z"),
        ("2026-10-25 02:30:00", LOCAL + ', overlap = "first"', "2026-10-25T00:30:00Z"),
        ("2026-10-25 02:30:00", LOCAL + ', overlap = "second"', "2026-10-25T01:30:00Z"),
        ("2026-10-25 03:30:00", LOCAL, "2026-10-25T02:30:00Z"),
        ("1772445600", 'format = "epoch_s"', "2026-03-02T10:00:00Z"),
        ("1772445600123", 'format = "epoch_ms"', "2026-03-02T10:00:00.123Z"),
        ("02/03/26 10:00 +0530", 'format = "%d/%m/%y %H:%M %z"', "2026-03-02T04:30:00Z"),
    ],
)
def test_a_time_is_the_instant_the_clocks_of_its_zone_showed(text: str, times: str, instant: str) -> None:
    """Offsets count where there are any, else the zone, daylight saving included; what was twice is the first."""
    assert at_of(text, times) == instant


@pytest.mark.parametrize(
    ("text", "times", "said"),
    [
        (
            "2026-03-29 02:30:00",
            LOCAL,
            "a time that clocks in Europe/Berlin have shown; the clocks went forward over it",
        ),
        ("2026-10-25 02:30:00", LOCAL + ', overlap = "refuse"', "have shown once; the clocks went back over it"),
        ("2026-03-02T10:00:00", 'format = "iso"', "naive_time: when: expected a time with an offset"),
        ("2.3.2026", LOCAL, "bad_time: when: expected a time like %Y-%m-%d %H:%M:%S; mend the format"),
        ("soon", 'format = "epoch_s"', "bad_time: when: expected a number (epoch_s)"),
        ("1772445600000000", 'format = "epoch_ms"', "bad_time: when"),
    ],
)
def test_a_time_that_is_none_refuses_the_record(text: str, times: str, said: str) -> None:
    """The path and what to mend are named: the zone, the format, or what to do where clocks change."""
    found = mapped(row(when=text), 'event = "ticket.diagnosed"', at=f'{{ path = "when", {times} }}')
    assert said in str(found.refused)


def test_what_was_decided_about_a_time_is_noted() -> None:
    """A time in a gap or an overlap that is taken leaves a note, to be counted and said; others leave none."""
    rule = 'event = "ticket.diagnosed"'
    for text, times, notes in (
        ("2026-03-29 02:30:00", LOCAL + ', gap = "shift"', ("gap_shifted",)),
        ("2026-10-25 02:30:00", LOCAL, ("overlap_first",)),
        ("2026-10-25 02:30:00", LOCAL + ', overlap = "second"', ("overlap_second",)),
        ("2026-10-25 04:30:00", LOCAL, ()),
    ):
        assert mapped(row(when=text), rule, at=f'{{ path = "when", {times} }}').notes == notes


def test_a_record_may_state_its_own_zone() -> None:
    """zone_path counts before zone; a zone nobody knows refuses the record."""
    times = 'format = "%Y-%m-%d %H:%M:%S", zone = "UTC", zone_path = "tz"'
    assert at_of("2026-03-02 10:00:00", times, tz="Asia/Tokyo") == "2026-03-02T01:00:00Z"
    assert at_of("2026-03-02 10:00:00", times, tz="") == "2026-03-02T10:00:00Z"
    wrong = mapped(
        row(when="2026-03-02 10:00:00", tz="Bonn"), 'event = "ticket.diagnosed"', at=f'{{ path = "when", {times} }}'
    )
    assert "bad_value: tz: expected an IANA time zone" in str(wrong.refused)


def test_a_value_says_its_topic_or_the_map_how_times_are_written() -> None:
    """The nearest word counts, one by one: a value's format with the zone of the map."""
    more = '[time]\nzone = "Asia/Tokyo"\nformat = "iso"'
    ((event),) = told(
        row(when="2/3/2026 10:00"),
        'event = "ticket.diagnosed"',
        more=more,
        at='{ path = "when", format = "%d/%m/%Y %H:%M" }',
    )
    assert event["at"] == T0_MS - 7 * 3_600_000


def test_values_are_mapped_typed_and_refused() -> None:
    """An enumeration maps what it names, otherwise the rest; flags and counts are read from the texts systems write."""
    rule = """event = "parts.required"
fields.line_id = "id"
fields.qty = "n"
fields.to = { path = "where", values = { V = "van" }, otherwise = "site" }"""
    assert told(row(n="3.0", where="V"), rule)[0]["qty"] == 3
    assert [told(row(where=where), rule)[0].get("to") for where in ("V", "X", "")] == ["van", "site", None]
    assert "bad_value: n: expected a whole number" in str(mapped(row(n="-1"), rule).refused)
    strict = rule.replace(', otherwise = "site"', "")
    said = str(mapped(row(where="X"), strict).refused)
    assert "unknown_value: where: expected one of 'V'; add the value that is there to the values of where" in said
    flag = 'event = "ticket.acknowledged"\nfields.auto = "robot"'
    assert [told(row(robot=robot), flag)[0]["auto"] for robot in ("true", "0", True)] == [True, False, True]
    assert "bad_value: robot: expected true or false" in str(mapped(row(robot="maybe"), flag).refused)


def test_the_first_way_that_leads_to_anything_counts() -> None:
    """Of several paths, and then of several ways with a constant at the end."""
    rule = 'event = "ticket.opened"\nfields.region = [{ path = ["a", "b"] }, { constant = "home" }]'
    for fields, region in (({"a": "x", "b": "y"}, "x"), ({"b": "y"}, "y"), ({}, "home")):
        assert told(row(**fields), rule)[0]["region"] == region


def test_each_element_of_a_list_is_an_event() -> None:
    """Paths that begin with item read the element; a list that is not there tells nothing; equal ids are refused."""
    rule = """event = "parts.required"
each = "lines"
fields.line_id = "item.no"
fields.qty = "item.n"
unless = { "item.n" = "0" }"""
    record = row(lines=[{"no": "L1", "n": 2}, {"no": "L2", "n": 0}, {"no": "L3", "n": 1}])
    found = told(record, rule, id='["id", "item.no"]')
    assert [(one["line_id"], one["qty"], one["event_id"]) for one in found] == [
        ("L1", 2, "parts.required:1|L1"),
        ("L3", 1, "parts.required:1|L3"),
    ]
    assert told(row(), rule) == []
    assert "same_id: id of parts.required" in str(mapped(record, rule).refused)
    assert "bad_value: lines: expected a list" in str(mapped(row(lines="L1"), rule).refused)
    few = mapped(record, rule, id='["id", "item.no"]', more="[limits]\nevents_per_record = 1")
    assert "too_many_events: parts.required: expected at most 1 events of a record" in str(few.refused)


def test_ids_tell_events_apart_and_are_the_same_in_every_replay() -> None:
    """Values that only look alike when joined give different ids, no value is empty, and a long id is a digest."""
    rule = 'event = "ticket.diagnosed"'
    for one, other in (
        (("a|b", "c"), ("a", "b|c")),
        (("a\\", "|b"), ("a\\|", "b")),
        (("x" * 2000, "1"), ("x" * 2000, "2")),
    ):
        ids = [told(row(p=p, q=q), rule, id='["p", "q"]')[0]["event_id"] for p, q in (one, other, one)]
        assert ids[0] == ids[2] != ids[1]
        assert all(len(str(its_id)) <= 1024 for its_id in ids)
    assert "missing: q: expected a value, which the id" in str(mapped(row(p="1"), rule, id='["p", "q"]').refused)


def test_a_message_may_be_wrapped_or_framed() -> None:
    """The root says where the record is; five bytes of a schema registry's framing before JSON are passed over."""
    rule = 'event = "ticket.diagnosed"'
    framed = b"\x00\x00\x00\x00\x07" + orjson.dumps(row())
    assert len(mapped(framed, rule).events) == 1
    text = f'name = "one"\n[[topics]]\nname = "t"\nroot = "payload.after"\n[[topics.events]]\n{rule}\n'
    wrapped = Mapper(read(text + 'case = "case"\nat = "at"\nid = "id"'), skew_ms=SKEW_MS)
    for value, reason in (
        ({"payload": {"after": row()}}, None),
        ({"payload": {"after": None}}, "not_json"),
        ([1, 2], "not_json"),
    ):
        found = wrapped.map(Raw("t", 0, 0, LONG_AFTER_MS, None, orjson.dumps(value)), lambda _lookup, _key: None)
        assert (found.refused.reason if found.refused else None) == reason
    assert mapped(b"", rule) == Mapped()
