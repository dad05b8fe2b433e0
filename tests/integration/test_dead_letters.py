"""Dead letters on a real broker: listed, shown, sent again without a gap through a kill, parked as they are."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cxstream.config import load
from cxstream.dead_letters.letters import PARKED_SUFFIX, REPLAYS
from cxstream.dead_letters.replaying import CHUNK_LETTERS, Options
from cxstream.dead_letters.running import DeadLetters, Selection
from cxstream.domain.instant import DAY_MS, format_instant
from cxstream.kafka.codec import DELIVERED_AT
from cxstream.kafka.dead_letters import SUFFIX
from parts.letters import Spoilt, bad, command, command_line, environment, good, run, spoil, told
from parts.messages import CODEC
from parts.producer import Job

LETTERS = 2_000


def now_ms() -> int:
    """Return the time."""
    return time.time_ns() // 1_000_000


def settings_of(job: Job, folder: Path) -> dict[str, str]:
    """Return the settings of the command for a job."""
    return {**job.settings(folder), "CXSTREAM_KAFKA_DECLARE_TOPICS": "true", "CXSTREAM_LOG_LEVEL": "ERROR"}


@pytest.fixture(scope="module")
def job(kafka: str) -> Job:
    """A job whose topics are trusted, with dead letters of three kinds: to mend, beyond mending, sent too often."""
    made = Job(kafka, "letters")
    made.declare()
    at_ms = now_ms() - DAY_MS
    often = good(3, at_ms, "wrong_partition")._replace(headers=((REPLAYS, b"3"),))
    stated = good(4, at_ms)._replace(headers=((DELIVERED_AT, str(at_ms + 7).encode()), ("trace", b"abc")))
    spoil(made, [good(1, at_ms), bad(2, at_ms), often, stated])
    return made


def placed(job: Job, reason: str, offset: int) -> Any:  # noqa: ANN401 - aiokafka's record
    """Return the dead letter with a reason whose record was at an offset."""
    found = [dict(record.headers) | {"": record} for record in job.read(job.topics["ticket"] + SUFFIX)]
    return next(
        one[""]
        for one in found
        if (one["cxstream.error.reason"], one["cxstream.error.offset"]) == (reason.encode(), b"%d" % offset)
    )


def test_letters_are_listed_shown_parked_and_sent_again(job: Job, tmp_path: Path) -> None:
    """One life of dead letters: counted, looked into without and with case data, one sent, one parked, one kept."""
    settings, topic = settings_of(job, tmp_path), job.topics["ticket"]
    listed = told(settings, "list")
    assert listed["by_reason"] == {"unknown_schema": 2, "undecodable": 1, "wrong_partition": 1}
    assert (listed["total"], listed["by_source"], listed["by_age"]) == (4, {topic: 4}, {"under 1 h": 4})
    assert sum(listed["by_partition"][topic + SUFFIX].values()) == 4
    assert {one["topic"] for one in listed["letters"]} == {topic + SUFFIX}
    assert "C-1" not in json.dumps(listed)
    some = told(settings, "list", "--reason", "undecodable", "--topic", "ticket", "--limit", "0")
    assert (some["total"], some["letters"]) == (1, [])
    assert told(settings, "list", "--until", "2020-01-01T00:00:00Z")["total"] == 0
    assert "1 dead letters, rejected from" in command(settings, "list", "--reason", "undecodable")

    record = placed(job, "unknown_schema", 0)
    where = (topic, str(record.partition), str(record.offset))
    closed, opened = command(settings, "show", *where), command(settings, "show", *where, "--payload")
    shown = json.loads(closed)
    assert shown["now"] == {"would_be": "accepted"}
    assert shown["error"]["reason"] == "unknown_schema"
    assert (shown["event_type"], shown["framing"]) == ("ticket.opened", "single-object, ticket/v1")
    assert "C-1" not in closed
    assert json.loads(opened)["event"]["case_id"] == "C-1"
    beyond = command(settings, "show", topic + SUFFIX, str(record.partition), "999", status=1)
    assert "there is no record" in beyond
    assert "has no dead letters" in command(settings, "list", "--topic", "nonsense", status=1)

    dry = told(settings, "replay")
    assert (dry["dry_run"], dry["replayed"], dry["kept"], dry["parked"]) == (True, 2, 1, 1)
    assert not job.read(topic)
    done = told(settings, "replay", "--yes")
    assert done["replayed_by_reason"] == {"unknown_schema": 2}
    assert done["kept_by_reason"] == {"undecodable": 1}
    assert done["parked_by_reason"] == {"replayed_too_often": 1}
    assert done["untrusted"] == []
    check_sent_again(job, topic)
    again = told(settings, "replay", "--yes")
    assert (again["seen"], again["replayed"], again["behind"]) == (0, 0, 4)

    (parked,) = job.read(topic + PARKED_SUFFIX)
    original = placed(job, "wrong_partition", 2)
    assert (parked.key, parked.value) == (original.key, original.value)
    assert parked.headers[: len(original.headers)] == original.headers
    assert dict(parked.headers)["cxstream.parked.why"] == b"replayed_too_often"
    left = told(settings, "list")
    assert (left["total"], left["parked"]) == (3, 1)
    assert told(settings, "list", "--parked")["by_reason"] == {"wrong_partition": 1}

    assert told(settings, "park", "--reason", "undecodable")["parked"] == 1
    assert told(settings, "park", "--reason", "undecodable", "--yes")["parked"] == 1
    assert told(settings, "park", "--reason", "undecodable", "--yes")["parked"] == 0
    assert told(settings, "list")["by_reason"] == {"unknown_schema": 2}
    mended = told(settings, "replay", "--parked", "--max-replays", "9", "--yes")
    assert (mended["replayed_by_reason"], mended["kept"]) == ({"wrong_partition": 1}, 1)


def check_sent_again(job: Job, topic: str) -> None:
    """Hold what was sent again to what it was: same bytes, its own headers, its first delivery, and one replay."""
    records = {CODEC.decode("ticket", one.key, one.value, one.timestamp)[1].event_id: one for one in job.read(topic)}
    assert records.keys() == {"e-1", "e-4"}
    without, stated = dict(records["e-1"].headers), dict(records["e-4"].headers)
    letter = placed(job, "unknown_schema", 0)
    assert records["e-1"].value == letter.value
    first_ms = dict(letter.headers)["cxstream.error.timestamp"]
    assert without == {DELIVERED_AT: first_ms, REPLAYS: b"1"}
    assert stated.keys() == {DELIVERED_AT, "trace", REPLAYS}
    fact = CODEC.decode("ticket", records["e-4"].key, records["e-4"].value, 0, stated, trusted=True)[1]
    assert fact.delivered_ms == fact.at_ms + 7
    assert all(not name.startswith(("cxstream.error.", "__streams")) for name in (*without, *stated))


def test_a_killed_replay_goes_on_and_skips_nothing(kafka: str, tmp_path: Path) -> None:
    """Killed in the middle, the same command sends the rest: every letter is there, at most one chunk of them twice."""
    job = Job(kafka, "resume", trusted=False)
    job.declare()
    at_ms = now_ms() - 60_000
    spoilt: list[Spoilt] = [good(number, at_ms) if number % 10 else bad(number, at_ms) for number in range(LETTERS)]
    spoil(job, spoilt)
    settings, topic = settings_of(job, tmp_path), job.topics["ticket"]
    expected = {one.event_id for one in spoilt if one.reason != "undecodable"}
    killed = subprocess.Popen(
        command_line("replay", "--yes", "--rate", "1000"), env=environment(settings), stdout=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while job.records() < CHUNK_LETTERS:
            assert killed.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        killed.kill()
        killed.wait()
    before = sent_again(job, topic)
    assert before.total() < len(expected), "it was to be killed before its end"
    interrupted = DeadLetters(load(None, settings)).replay(
        Selection(), Options(is_dry=False, per_second=200), lambda _done, _of: os.kill(os.getpid(), signal.SIGINT)
    )
    assert interrupted.is_interrupted
    assert 0 < interrupted.seen <= 400, "the letters in hand, and not one more chunk"
    rest = told(settings, "replay", "--yes", "--rate", "100000")
    assert rest["seen"] + rest["behind"] == LETTERS
    assert rest["behind"] >= interrupted.seen
    assert rest["untrusted"] == [topic]
    found = sent_again(job, topic)
    assert found.keys() == expected
    assert sum(count - 1 for count in found.values()) <= CHUNK_LETTERS
    assert max(found.values()) <= 2
    dry = run(settings, "replay", "--again", "--max", "3")
    assert "3 letters would be replayed" in dry.out
    assert "counts as delivered now" in dry.err


def sent_again(job: Job, topic: str) -> Counter[str]:
    """Return the event ids that are on the topic."""
    return Counter(CODEC.decode("ticket", one.key, one.value, one.timestamp)[1].event_id for one in job.read(topic))


def test_times_are_when_letters_were_rejected() -> None:
    """Ages and filters are about the rejection; a letter's first delivery is another time."""
    from cxstream.dead_letters.letters import Filters, Letter, Place

    letter = Letter(
        Place("t.dead-letters", 0, 0), 5_000, None, None, (("cxstream.error.timestamp", b"1970-01-01T00:00:01Z"),)
    )
    assert (letter.rejected_ms, letter.delivered_ms) == (5_000, 1_000)
    assert Filters(("t",), since_ms=5_000, until_ms=5_001).take(letter)
    assert not Filters(("t",), until_ms=5_000).take(letter)
    assert not Filters(("t",), since_ms=5_001).take(letter)
    assert dict(letter.headers_again())[DELIVERED_AT] == format_instant(1_000).encode()
