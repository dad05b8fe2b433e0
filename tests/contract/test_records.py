"""Records of cases, boards and relays as earlier versions wrote them: read to the same meaning, judged alike."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from contract.regenerate_records import FOLDER, LATER_MS, UNFORGETTING, catalogue_of, meaning
from cxstream.domain.cases import Case
from cxstream.domain.facts import Fact
from cxstream.domain.verdict import Verdict
from cxstream.engine.assess import Clock, assess
from cxstream.engine.boards import Board
from cxstream.kafka.records import (
    VERSION,
    PublishedCase,
    Relay,
    UnreadableRecordError,
    read_board,
    read_case,
    read_published,
    read_relay,
    write,
)
from cxstream.vital_signs import TIER_A
from parts.agent import Broker, Life, residue_key

READERS: dict[str, Callable[[bytes], Case | Board | Relay]] = {
    "case": read_case,
    "board": read_board,
    "relay": read_relay,
}
KEPT: list[dict[str, Any]] = [entry for file in sorted(FOLDER.glob("*.json")) for entry in json.loads(file.read_text())]
JUDGED = [entry for entry in KEPT if entry["kind"] == "case"]


def _name(entry: dict[str, Any]) -> str:
    return f"{entry['bytes'][:2]}-{entry['name']}"


def _bytes(kept: dict[str, Any]) -> bytes:
    return bytes.fromhex(kept["bytes"])


every_record = pytest.mark.parametrize("kept", KEPT, ids=_name)
every_case = pytest.mark.parametrize("kept", JUDGED, ids=_name)


def _key(kept: dict[str, Any]) -> bytes:
    """Return the key a case record stands under."""
    key: bytes = kept["name"].encode()
    return residue_key(key) if kept["means"]["closed"] == "erased" else key


def _read(kept: dict[str, Any], data: bytes | None = None) -> Case | Board | Relay:
    return READERS[kept["kind"]](_bytes(kept) if data is None else data)


def _default(field: msgspec.structs.FieldInfo) -> object:
    return field.default if field.default is not msgspec.NODEFAULT else field.default_factory()


def _differences(kept: Any, read: object, where: str = "") -> Iterator[str]:  # noqa: ANN401  # any JSON
    """Say where a record means something else than it did; a field appended since must be at its default."""
    if isinstance(read, msgspec.Struct):
        fields = {field.name: field for field in msgspec.structs.fields(type(read))}
        yield from (f"{where}.{name}: gone" for name in kept.keys() - fields.keys())
        for name, field in fields.items():
            value = getattr(read, name)
            if name in kept:
                yield from _differences(kept[name], value, f"{where}.{name}")
            elif value != _default(field):
                yield f"{where}.{name}: {value!r} out of nothing"
    elif isinstance(read, dict) and kept.keys() == read.keys():
        for key, inner in read.items():
            yield from _differences(kept[key], inner, f"{where}[{key!r}]")
    elif isinstance(read, list) and isinstance(kept, list) and len(kept) == len(read):
        for number, (old, new) in enumerate(zip(kept, read, strict=True)):
            yield from _differences(old, new, f"{where}[{number}]")
    elif kept != read or type(kept) is not type(read):
        yield f"{where}: {read!r}, was {kept!r}"


def _published(verdicts: list[Verdict], told: dict[str, Any]) -> list[dict[str, Any]]:
    """Return verdicts as they are kept, of the signs and with the fields there were then."""
    signs, names = catalogue_of(told["verdicts"]), {name for verdict in told["verdicts"] for name in verdict}
    return [{name: getattr(one, name) for name in names} for one in verdicts if one.sign in signs]


def test_something_of_everything_is_kept() -> None:
    """The current version is among the kept ones; every verdict, way of closing and kind of relay is there."""
    assert (FOLDER / f"{VERSION.hex()}.json").exists(), "raised VERSION? keep its records: regenerate_records.py"
    for file in FOLDER.glob("*.json"):
        kept = json.loads(file.read_text())
        assert {entry["bytes"][:2] for entry in kept} == {file.stem}
        assert len({entry["name"] for entry in kept}) == len(kept)
        means = {kind: [one["means"] for one in kept if one["kind"] == kind] for kind in READERS}
        verdicts = [verdict for case in means["case"] for verdict in case["verdicts"]]
        assert {one["verdict"] for one in verdicts} == {"pending", "provisional_hit", "final_hit", "miss", "excluded"}
        assert {one["retracted"] for one in verdicts} == {one["sealed"] for one in verdicts} == {False, True}
        assert {case["closed"] for case in means["case"]} == {None, "erased", "overflow"}
        for kind in READERS:
            assert {one["crowded_since_ms"] is None for one in means[kind]} == {False, True}
        assert any(case["relayed"] and not case["facts"] for case in means["case"])


@every_record
def test_kept_bytes_mean_what_they_meant(kept: dict[str, Any]) -> None:
    """Every field of an old record is read as it was written; a field it has not is at its default."""
    assert list(_differences(kept["means"], _read(kept))) == []


@every_record
def test_what_was_read_is_written_with_the_same_meaning(kept: dict[str, Any]) -> None:
    """A record that is read and written by this version is of this version, and means the same again."""
    read = _read(kept)
    written = write(read)
    assert written[:1] == VERSION
    assert _read(kept, written) == read


@every_case
def test_kept_cases_are_judged_as_then(kept: dict[str, Any]) -> None:
    """At the clock reading of then nothing is published anew, and when all is sealed the verdicts are those of then."""
    case = _read(kept)
    assert isinstance(case, Case)
    for told in kept["judged"]:
        assessment = assess(case, catalogue_of(told["verdicts"]), UNFORGETTING, Clock.at(told["clock_ms"]))
        assert _published(assessment.case.verdicts, told) == told["verdicts"]
    then = kept["judged"][0]
    assert assess(case, catalogue_of(then["verdicts"]), UNFORGETTING, Clock.at(then["clock_ms"])).changes == []


@every_case
def test_a_worker_goes_on_from_kept_cases(kept: dict[str, Any]) -> None:
    """A worker that starts on an old record publishes nothing of it again, and seals it when its time has come."""
    then, later = kept["judged"]

    async def run() -> None:
        broker, now_ms = Broker(), then["clock_ms"]
        broker.tables["cases"][_key(kept)] = _bytes(kept)
        signs = catalogue_of(then["verdicts"])
        life = Life(broker, wall_ms=lambda: now_ms, catalogue=signs, policy=UNFORGETTING)
        await life.recover()
        await life.agent.judge_due(life.partition)
        assert not life.scrape().sum("cxstream_vital_sign_verdict_changes_total")
        now_ms = LATER_MS
        await life.agent.judge_due(life.partition)
        case = read_case(broker.tables["cases"][_key(kept)])
        assert _published(case.verdicts, later) == later["verdicts"]

    asyncio.run(run())


@every_case
def test_a_sign_that_came_later_judges_kept_cases_too(kept: dict[str, Any]) -> None:
    """A worker that takes over judges cases that hold facts by signs their writer did not know; the rest stays."""
    then = kept["judged"][0]
    key = _key(kept)

    async def run() -> None:
        broker = Broker()
        broker.tables["cases"][key] = _bytes(kept)
        life = Life(broker, wall_ms=lambda: then["clock_ms"], policy=UNFORGETTING)
        await life.recover()
        await life.agent.judge_due(life.partition)
        case = read_case(broker.tables["cases"][key])
        assert _published(case.verdicts, then) == then["verdicts"]
        of_cases = {name for name, sign in TIER_A.items() if sign.unit.kind == "case"}
        later = of_cases - catalogue_of(then["verdicts"]).keys()
        assert later
        assert later & {one.sign for one in case.verdicts} == (later if case.facts else set())

    asyncio.run(run())


@pytest.mark.parametrize("newer", [VERSION[0] + 1, 0x7F, 0xFF])
@every_record
def test_a_newer_version_is_refused(kept: dict[str, Any], newer: int) -> None:
    """A record of a version this one does not know is refused, and the message names both versions."""
    with pytest.raises(UnreadableRecordError, match=rf"version {newer:02x}\b.*reads.*{VERSION.hex()}"):
        _read(kept, bytes([newer]) + _bytes(kept)[1:])


@pytest.mark.parametrize("nothing", [b"", b"\x00"])
def test_what_is_no_record_is_refused(nothing: bytes) -> None:
    """Nothing at all, and bytes of no version, are refused with the version that is read here."""
    for reader in READERS.values():
        with pytest.raises(UnreadableRecordError, match=VERSION.hex()):
            reader(nothing)


@pytest.mark.parametrize("kept", [one for one in KEPT if _bytes(one)[:1] == VERSION], ids=_name)
def test_fields_of_a_later_minor_version_are_passed_over(kept: dict[str, Any]) -> None:
    """Fields a later release appends within the version are passed over: a release can be rolled back."""
    appended = _appended(msgspec.msgpack.decode(_bytes(kept)[1:]), _read(kept))
    later = VERSION + msgspec.msgpack.encode(appended)
    assert later != _bytes(kept)
    assert list(_differences(kept["means"], _read(kept, later))) == []


def _appended(raw: Any, read: object) -> object:  # noqa: ANN401  # any MessagePack
    """Return a decoded record with three unknown fields at the end of each of its structures."""
    if isinstance(read, msgspec.Struct):
        fields = read.__struct_fields__
        known = [_appended(one, getattr(read, name)) for name, one in zip(fields, raw, strict=False)]
        known += [meaning(getattr(read, name)) for name in fields[len(known) :]]
        return [*known, "later", {"more": [1, None]}, 7]
    if isinstance(read, list):
        return [_appended(one, inner) for one, inner in zip(raw, read, strict=True)]
    if isinstance(read, dict):
        return {key: _appended(raw[key], inner) for key, inner in read.items()}
    return raw


def test_kept_bytes_are_whole() -> None:
    """A record cut short is refused, not read as a smaller one: every prefix of every kept record."""
    for kept in KEPT:
        data = _bytes(kept)
        for length in range(1, len(data), max(1, len(data) // 50)):
            with pytest.raises(UnreadableRecordError):
                _read(kept, data[:length])


def test_what_a_new_owner_reads_first_stands_where_it_is_written() -> None:
    """A case read without its facts has the same fields in the same places, and says what the whole record says."""
    assert PublishedCase.__struct_fields__ == Case.__struct_fields__
    verdict = Verdict("stayed_fixed", "C1", "provisional_hit", "stayed_fixed", 1, 2)
    fact = Fact("e1", "ticket", "opened", 1, 2, {"priority": "P1"})
    read = PublishedCase.__struct_fields__[3:12]
    for case in (
        Case("C1", facts=[fact], verdicts=[verdict], judged_ms=3, judged_under=4),
        Case("C2", closed="erased"),
    ):
        published = read_published(write(case))
        assert [getattr(published, name) for name in read] == [getattr(case, name) for name in read]
        assert (published.has_facts, published.judged_under) == (bool(case.facts), case.judged_under)
