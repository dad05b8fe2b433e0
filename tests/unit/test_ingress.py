"""Events over HTTP: what is accepted and what refused, what is answered, and which limits hold."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from typing import Any

import pytest
import trustme
from click.testing import CliRunner

from cxstream.cli import main as command
from cxstream.config import Settings, load
from cxstream.ingress import limits as limit_module
from cxstream.ingress.intake import Intake
from cxstream.ingress.limits import Rates
from cxstream.ingress.problems import KINDS
from cxstream.ingress.running import limits_of, schema_ids
from parts.ingress import FOLDER, LIMITS, NOW_MS, Answer, Ingress, an_event, lines, serving
from parts.messages import CODEC, EXAMPLES, SKEW_MS

PROBLEM = "application/problem+json"


def problems_in(answer: Answer) -> list[str | None]:
    """Return the type of every item's problem, None for those that were accepted."""
    return [item.get("problem", {}).get("type") for item in answer.document["items"]]


def test_one_event_is_accepted_once_the_brokers_have_it() -> None:
    """202 comes after the acknowledgement, and what was produced is keyed by the case, as a worker reads it."""
    with serving() as ingress:
        ingress.brokers.gate.clear()
        answers: list[Answer] = []
        thread = threading.Thread(target=lambda: answers.append(ingress.send(an_event())))
        thread.start()
        time.sleep(0.2)
        assert not answers, "answered before the brokers had it"
        ingress.brokers.gate.set()
        thread.join(10)
    assert answers[0].status == 202
    items = [{"index": 0, "event_id": "e-1", "status": 202}]
    assert answers[0].document == {"accepted": 1, "not_accepted": 0, "items": items}
    ((source, record),) = ingress.brokers.records
    assert (source, record.topic, record.key) == ("anonymous", "ticket", b"C-1")
    case_id, fact = CODEC.decode("ticket", record.key, record.value, NOW_MS)
    assert (case_id, fact.event_id, fact.type, fact.fields["region"]) == ("C-1", "e-1", "opened", "north")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (json.dumps([an_event(1), an_event(2)]).encode(), "application/json"),
        (json.dumps([an_event(1), an_event(2)]).encode(), "application/json; charset=UTF-8"),
        (lines(an_event(1), b"", an_event(2), b""), "application/x-ndjson"),
        (lines(an_event(1), an_event(2)).replace(b"\n", b"\r\n"), "application/ndjson"),
        (lines(an_event(1), an_event(2)), "application/jsonl"),
    ],
)
def test_events_come_as_an_array_or_as_lines(body: bytes, content_type: str) -> None:
    """An array and NDJSON (empty lines left out) say the same."""
    with serving() as ingress:
        answer = ingress.send(body, Content_Type=content_type)
    assert (answer.status, answer.document["accepted"]) == (202, 2)
    assert [CODEC.decode("ticket", one.key, one.value, NOW_MS)[1].event_id for _, one in ingress.brokers.records] == [
        "e-1",
        "e-2",
    ]


def test_every_example_of_the_schemas_is_accepted_and_read_as_the_worker_reads_it() -> None:
    """All event types, types of the future included, arrive as what was sent."""
    with serving(LIMITS._replace(request_events=len(EXAMPLES))) as ingress:
        answer = ingress.send(EXAMPLES)
    assert answer.status == 202, answer.document
    sent = {(event["case_id"], event["event_id"]) for event in EXAMPLES}
    read = [CODEC.decode(one.topic, one.key, one.value, NOW_MS) for _, one in ingress.brokers.records]
    assert {(case_id, fact.event_id) for case_id, fact in read} == sent


WRONG = {
    "no field": (an_event(2, case_id=""), "/problems/invalid", "case_id"),
    "wrong choice": (an_event(2, priority="P9"), "/problems/invalid", "priority"),
    "no offset": (an_event(2, first_contact_at="2026-03-02T10:00:00"), "/problems/naive_time", "first_contact_at"),
    "ahead": (an_event(2, at_ms=NOW_MS + SKEW_MS + 1), "/problems/future", "at"),
    "no object": (["e-2"], "/problems/invalid", None),
    "nothing": (None, "/problems/invalid", None),
    "a huge number": (an_event(2, transfers=10**30), "/problems/invalid", "transfers"),
    "asset": (an_event(2, type="closed", asset_id=7), "/problems/invalid", "asset_id"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_event_does_not_keep_the_others_back(wrong: str) -> None:
    """207 says of each event whether it was accepted, with a problem document for the one that was not."""
    event, kind, field = WRONG[wrong]
    with serving() as ingress:
        answer = ingress.send([an_event(1), event, an_event(3)])
        alone = ingress.send([event])
    assert answer.status == 207
    assert (answer.document["accepted"], answer.document["not_accepted"]) == (2, 1)
    assert problems_in(answer) == [None, kind, None]
    problem = answer.document["items"][1]["problem"]
    assert (problem.get("field"), problem["status"]) == (field, answer.document["items"][1]["status"])
    assert len(ingress.brokers.records) == 2
    assert (alone.status, alone.headers["Content-Type"]) == (422, PROBLEM)
    assert alone.document["type"] == "/problems/none_accepted"
    assert problems_in(alone) == [kind]
    assert ingress.count("events_total", source="anonymous", topic="ticket", outcome="accepted") == 2
    reason = kind.rpartition("/")[2]
    assert ingress.count("rejected_events_total", source="anonymous", reason=reason) == 2


def test_a_single_wrong_event_is_answered_with_its_own_problem() -> None:
    """One JSON object that is no event: its problem document is the answer, without a list."""
    with serving() as ingress:
        answer = ingress.send(an_event(type="opened", priority="P9"))
    assert (answer.status, answer.headers["Content-Type"]) == (422, PROBLEM)
    assert answer.document == {
        "type": "/problems/invalid",
        "title": "A field is missing or ill-formed",
        "status": 422,
        "detail": "expected one of P1, P2, P3",
        "field": "priority",
        "event_id": "e-1",
    }
    assert not ingress.brokers.records


def test_no_answer_shows_what_an_event_says() -> None:
    """Case data is in no problem: only names of fields, what was expected, and the event id, which is the sender's."""
    private = "Mrs-Miller-Main-Street"
    wrong = [an_event(2, case_id=f"C-{private}", priority=private), an_event(3, type=private, at_ms=private)]
    with serving() as ingress:
        answers = [
            ingress.send(wrong),
            ingress.send(lines(b'{"a": "' + private.encode()), Content_Type="application/jsonl"),
        ]
        answers.append(ingress.send(b'["' + private.encode()))
        metrics = ingress.ask("GET", "/metrics").body.decode()
    assert [answer.status for answer in answers] == [422, 422, 400]
    assert all(private not in answer.body.decode() for answer in answers)
    assert private not in metrics


def test_an_event_sent_twice_in_a_request_is_produced_once() -> None:
    """The event id is the key of idempotency: the same event again is accepted as the first is."""
    with serving() as ingress:
        ingress.brokers.outcomes = ["unknown"]
        answer = ingress.send([an_event(1), an_event(2), an_event(1)])
        again = ingress.send([an_event(1), an_event(2), an_event(1)])
    assert len(ingress.brokers.records) == 4
    assert problems_in(answer) == ["/problems/unknown_outcome", None, "/problems/unknown_outcome"]
    assert again.status == 202


def test_an_id_that_stands_for_two_events_of_a_request_is_a_conflict() -> None:
    """The first one is taken, the other is answered 409; the same id in another case is another event."""
    other = an_event(1, region="south")
    with serving() as ingress:
        answer = ingress.send([an_event(1), other, an_event(1, case_id="C-2", region="south")])
    assert [item["status"] for item in answer.document["items"]] == [202, 409, 202]
    assert answer.document["items"][1]["problem"]["field"] == "event_id"
    assert len(ingress.brokers.records) == 2


def test_what_the_brokers_have_not_acknowledged_is_said_honestly() -> None:
    """503 tells what was not sent from what may have arrived; 207 if the brokers have some of it."""
    with serving() as ingress:
        ingress.brokers.outcomes = ["acknowledged", "unknown", "not_sent"]
        some = ingress.send([an_event(1), an_event(2), an_event(3)])
        ingress.brokers.outcomes = ["unknown", "not_sent"]
        none = ingress.send([an_event(1), an_event(2)])
        ingress.brokers.outcomes = ["not_sent"]
        one = ingress.send(an_event(1))
    assert (some.status, some.headers["Retry-After"]) == (207, "2")
    assert problems_in(some) == [None, "/problems/unknown_outcome", "/problems/unavailable"]
    assert (none.status, none.headers["Retry-After"], none.document["type"]) == (503, "2", "/problems/unknown_outcome")
    assert (one.status, one.document["type"]) == (503, "/problems/unavailable")
    assert ingress.count("limits_hit_total", source="anonymous", limit="delivery_time") == 2
    assert ingress.count("events_total", source="anonymous", topic="ticket", outcome="unknown_outcome") == 2


def test_without_brokers_nothing_is_taken_and_nobody_is_routed_here() -> None:
    """503 with Retry-After while the brokers are away; live, but not ready, with the reason."""
    with serving() as ingress:
        ingress.brokers.missing = "no broker could be asked"
        answer = ingress.send(an_event())
        ready, live = ingress.ask("GET", "/readyz"), ingress.ask("GET", "/livez")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert answer.document["detail"] == "no broker could be asked"
    assert (ready.status, ready.document["reason"], live.status) == (503, "no broker could be asked", 200)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'"text"',
        b"7",
        b"NaN",
        b"null",
        b'[{"at": NaN}]',
        b'[{"at": 1e999}]',
        b"\xff\xfe[]",
        b'{"event_id": "\xff"}',
        b'{"event_id": "\\ud800"}',
        b"[" * 60_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b"\x00",
        b"[{},]",
    ],
)
def test_a_body_that_is_no_json_is_malformed(body: bytes) -> None:
    """Broken, empty, endlessly nested or no UTF-8: 400, and nothing is taken."""
    with serving() as ingress:
        answer = ingress.send(body)
    assert (answer.status, answer.headers["Content-Type"]) == (400, PROBLEM)
    assert answer.document["type"] == "/problems/malformed"


def test_a_line_that_is_no_json_is_a_problem_of_its_own() -> None:
    """In NDJSON one broken line costs that line."""
    with serving() as ingress:
        answer = ingress.send(lines(b"{", an_event(1), b"\xff", b"7"), Content_Type="application/x-ndjson")
    assert answer.status == 207
    assert [item["status"] for item in answer.document["items"]] == [422, 202, 422, 422]


def test_deep_nesting_in_a_field_is_a_problem_not_an_error() -> None:
    """Fields of unknown types are kept as they are; nested too deep they are refused."""
    deep = json.loads("[" * 900 + "]" * 900)
    with serving(LIMITS._replace(request_bytes=10**6)) as ingress:
        answers = [
            ingress.send([an_event(1), an_event(2, type="of_the_future", what=deep)]),
            ingress.send([an_event(1), an_event(2, symptom=deep)]),
            ingress.send([an_event(1), {**an_event(2), "type": "corrected", "target": "e", "set": {"symptom": deep}}]),
        ]
    assert [answer.status for answer in answers[1:]] == [207, 207]
    assert answers[0].status in (202, 207)


def test_other_kinds_of_bodies_are_refused_unread() -> None:
    """415 for another type, another charset, and anything compressed: no body is ever unpacked."""
    with serving() as ingress:
        statuses = [
            ingress.send(an_event(), Content_Type=content_type).status
            for content_type in ("text/plain", "application/avro", "application/json; charset=utf-16", "", "json/")
        ]
        statuses.append(ingress.send(an_event(), Content_Encoding="gzip").status)
        answer = ingress.send(b"\x1f\x8b" + bytes(100), Content_Encoding="gzip")
    assert {*statuses, answer.status} == {415}
    assert answer.document["type"] == "/problems/unsupported_media_type"


def test_limits_of_a_request_are_kept_and_counted() -> None:
    """Too long by its head, too long without one, too many events: 413, each counted."""
    long = json.dumps([an_event(1, symptom="x" * 1000)] * 200).encode()
    with serving() as ingress:
        by_head = ingress.send(long)
        chunked = raw(ingress, _HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(chunks(long)))
        many = ingress.send([an_event(number) for number in range(51)])
        in_lines = ingress.send(lines(*[an_event(number) for number in range(51)]), Content_Type="application/jsonl")
        assert ingress.count("limits_hit_total", source="anonymous", limit="request_bytes") == 2
        assert ingress.count("limits_hit_total", source="anonymous", limit="request_events") == 2
        assert ingress.send(an_event()).status == 202
    assert (by_head.status, many.status, in_lines.status) == (413, 413, 413)
    assert chunked.startswith(b"HTTP/1.1 413")
    assert by_head.document["detail"] == "expected at most 65536 bytes"
    assert many.document["detail"] == "expected at most 50 events"


_HEAD = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def chunks(body: bytes) -> list[bytes]:
    """Return a body in chunks of 4 KiB as they are sent without a length."""
    parts = [body[start : start + 4096] for start in range(0, len(body), 4096)]
    return [*(b"%x\r\n%s\r\n" % (len(part), part) for part in parts), b"0\r\n\r\n"]


def raw(ingress: Ingress, sent: bytes, *, then: bytes = b"", pause_seconds: float = 0.0) -> bytes:
    """Send bytes as they are and return what comes back until the connection is closed, or nothing comes for 5 s."""
    with socket.create_connection(("127.0.0.1", ingress.port), timeout=5) as connection:
        received = b""
        try:
            connection.sendall(sent)
            if then:
                time.sleep(pause_seconds)
                connection.sendall(then)
            while b"\r\n\r\n" not in received or b"HTTP/1.1 100" in received.split(b"\r\n\r\n")[-2]:
                part = connection.recv(65_536)
                if not part:
                    break
                received += part
        except (ConnectionError, TimeoutError):
            pass
        return received


def test_chunks_without_a_length_are_read(caplog: pytest.LogCaptureFixture) -> None:
    """A chunked body is taken like any other; one whose chunks are broken gets 400, and is not quoted in the log."""
    body = json.dumps(an_event()).encode()
    with serving() as ingress:
        right = raw(ingress, _HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(chunks(body)))
        broken = raw(ingress, _HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + body + b"\r\n")
        assert ingress.in_flight.held_bytes == 0
    assert right.startswith(b"HTTP/1.1 202")
    assert broken.split()[1] == b"400"
    assert "a request was refused that is no HTTP (BadHttpMessage)" in caplog.text
    assert "event_id" not in caplog.text


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    """A client that sends part of a body and stops gets 408, and holds nothing."""
    with serving(LIMITS._replace(request_seconds=0.3)) as ingress:
        answer = raw(ingress, _HEAD + b'Content-Length: 100\r\n\r\n{"event_id"')
        assert ingress.count("limits_hit_total", source="anonymous", limit="body_time") == 1
        assert ingress.in_flight.held_bytes == 0
    assert answer.startswith(b"HTTP/1.1 408")


def test_a_client_that_asks_first_is_told_before_it_sends() -> None:
    """With Expect: 100-continue a body that would be refused is never asked for."""
    body = json.dumps(an_event()).encode()
    expect = b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    with serving() as ingress:
        right = raw(ingress, _HEAD + expect % len(body), then=body, pause_seconds=0.1)
        wrong = raw(ingress, _HEAD.replace(b"application/json", b"text/plain") + expect % len(body))
    assert right.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202")
    assert wrong.startswith(b"HTTP/1.1 415")


def test_tokens_say_who_sends() -> None:
    """Each source has its token; without one, or with another, 401 and the challenge, and nothing is read."""
    tokens = {"crm": "of-crm", "fsm": "of-fsm"}
    with serving(tokens=tokens) as ingress:
        answers = [
            ingress.send(an_event(), Authorization=f"Bearer {token}") for token in ("of-crm", "of-fsm", "of-", "")
        ]
        answers.append(ingress.send(an_event()))
        answers.append(ingress.send(an_event(), Authorization="Bearer \xe9"))
        assert ingress.count("requests_total", source="unknown", status="401") == 4
        assert ingress.count("events_total", source="crm", topic="ticket", outcome="accepted") == 1
        open_pages = [ingress.ask("GET", path).status for path in ("/metrics", "/livez", "/readyz", "/v1/openapi.json")]
    assert [answer.status for answer in answers] == [202, 202, 401, 401, 401, 401]
    assert answers[-1].headers["WWW-Authenticate"] == "Bearer"
    assert answers[-1].document["type"] == "/problems/unauthorised"
    assert [source for source, _ in ingress.brokers.records] == ["crm", "fsm"]
    assert open_pages == [200] * 4


def test_a_client_that_sends_too_fast_is_asked_to_wait() -> None:
    """429 with the seconds to wait, by source; who guesses tokens is limited by address, at no source's cost."""
    limits = LIMITS._replace(requests_per_second=0.1, request_burst=2)
    with serving(limits, tokens={"crm": "of-crm", "fsm": "of-fsm"}) as ingress:
        crm = [ingress.send(an_event(), Authorization="Bearer of-crm") for _ in range(3)]
        fsm = ingress.send(an_event(), Authorization="Bearer of-fsm")
        guesses = [ingress.send(an_event(), Authorization="Bearer x").status for _ in range(3)]
        assert ingress.count("limits_hit_total", source="crm", limit="rate") == 1
    assert [answer.status for answer in crm] == [202, 202, 429]
    assert crm[2].document["type"] == "/problems/rate_limited"
    assert 1 <= int(crm[2].headers["Retry-After"]) <= 10
    assert fsm.status == 202
    assert guesses == [401, 401, 429]


def test_a_bucket_fills_again() -> None:
    """After a burst a client has its rate: the wait that is said is enough, and less is not."""
    rates = Rates(2.0, 3)
    assert [rates.take("a", 10.0) for _ in range(4)] == [0, 0, 0, 1]
    assert rates.take("a", 10.4) == 1
    assert rates.take("a", 10.5) == 0
    assert rates.take("b", 10.5) == 0
    assert [rates.take("a", 100.0) for _ in range(4)] == [0, 0, 0, 1], "no more than a burst is saved up"
    slow = Rates(0.1, 1)
    assert (slow.take("a", 0.0), slow.take("a", 0.0), slow.take("a", 10.0)) == (0, 10, 0)


def test_so_many_clients_are_remembered() -> None:
    """The buckets of clients that were not heard for longest give way: their number has a limit."""
    rates = Rates(0.001, 1, max_clients=3)
    for client in "abcd":
        assert rates.take(client, 0.0) == 0
    assert rates.take("d", 0.0) > 0
    assert rates.take("a", 0.0) == 0
    assert limit_module.MAX_CLIENTS == 10_000


def test_too_many_requests_at_once_are_asked_to_come_again() -> None:
    """Beyond the limit 503 with Retry-After, at once; those under way are answered."""
    with serving(LIMITS._replace(requests_at_once=2)) as ingress:
        ingress.brokers.gate.clear()
        answers: list[Answer] = []
        threads = [threading.Thread(target=lambda: answers.append(ingress.send(an_event()))) for _ in range(2)]
        for thread in threads:
            thread.start()
        wait_until(lambda: ingress.in_flight.held_bytes >= 2 * len(json.dumps(an_event())))
        refused = ingress.send(an_event())
        ingress.brokers.gate.set()
        for thread in threads:
            thread.join(10)
        assert ingress.count("limits_hit_total", source="anonymous", limit="requests_at_once") == 1
        assert ingress.send(an_event()).status == 202
    assert (refused.status, refused.headers["Retry-After"]) == (503, "2")
    assert refused.document["type"] == "/problems/busy"
    assert [answer.status for answer in answers] == [202, 202]


def test_bytes_under_way_are_bounded() -> None:
    """While the brokers hold what was sent before, a body beyond the limit gets 503; after that all is let go."""
    size = len(json.dumps(an_event()))
    with serving(in_flight_bytes=size + 10) as ingress:
        ingress.brokers.gate.clear()
        answers: list[Answer] = []
        thread = threading.Thread(target=lambda: answers.append(ingress.send(an_event())))
        thread.start()
        wait_until(lambda: ingress.in_flight.held_bytes == size)
        refused = ingress.send(an_event())
        ingress.brokers.gate.set()
        thread.join(10)
        assert ingress.count("limits_hit_total", source="anonymous", limit="in_flight_bytes") == 1
        assert ingress.in_flight.held_bytes == 0
        assert ingress.send(an_event()).status == 202
    assert (refused.status, refused.document["type"]) == (503, "/problems/busy")
    assert answers[0].status == 202


def wait_until(condition: Any) -> None:  # noqa: ANN401 - a callable
    """Wait until a condition holds, 10 s at most."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_is_not_there_is_a_problem_too() -> None:
    """404 and 405 are problem documents; the types of problems are pages that say how to mend them."""
    with serving() as ingress:
        nowhere, wrong = ingress.ask("GET", "/v2/events"), ingress.ask("DELETE", "/v1/events")
        pages = {name: ingress.ask("GET", f"/problems/{name}") for name in KINDS}
        unknown = ingress.ask("GET", "/problems/nonsense")
    assert (nowhere.status, nowhere.document["type"]) == (404, "/problems/not_found")
    assert (wrong.status, wrong.headers["Allow"]) == (405, "POST")
    assert unknown.status == 404
    for name, page in pages.items():
        assert page.status == 200
        assert page.document["type"] == f"/problems/{name}"
        assert page.document["mend"]


def test_https_is_served_with_a_certificate(tmp_path: Any) -> None:  # noqa: ANN401 - a path
    """With certificate and key events go over TLS; plain HTTP gets nowhere."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    served, trusting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    certificate.configure_cert(served)
    authority.configure_trust(trusting)
    with serving(tls=served) as ingress:
        plain = socket.create_connection(("127.0.0.1", ingress.port), timeout=5)
        with trusting.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
            body = json.dumps(an_event()).encode()
            connection.sendall(_HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            assert connection.recv(65_536).startswith(b"HTTP/1.1 202")
        assert not raw(ingress, _HEAD + b"Content-Length: 2\r\n\r\n[]").startswith(b"HTTP/1.1 2")


def test_events_are_framed_for_a_registry_where_that_is_set() -> None:
    """With ids the Confluent framing is written, by the newest schema that has one."""
    assert schema_ids({1: "ticket/v1", 7: "dispatch/v2", 5: "dispatch/v1", 9: "parts/v10", 8: "parts/v9"}) == {
        "ticket": 1,
        "dispatch": 7,
        "parts": 9,
    }
    (item,) = Intake(CODEC, {"ticket": 1}, skew_ms=SKEW_MS).items([an_event()], NOW_MS)
    assert item.record is not None
    assert item.record.value[:5] == b"\x00\x00\x00\x00\x01"
    assert CODEC.decode("ticket", b"C-1", item.record.value, NOW_MS)[0] == "C-1"


def test_both_forms_of_metrics_are_served() -> None:
    """OpenMetrics for who asks for it, text for others; every family is there before anything happened."""
    from cxstream.ingress.metrics import FAMILIES

    with serving() as ingress:
        text = ingress.ask("GET", "/metrics")
        openmetrics = ingress.ask("GET", "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert openmetrics.body.endswith(b"# EOF\n")
    for family in FAMILIES:
        name = f"{family.name}_bucket" if family.type == "histogram" else family.name
        assert f"\n{name}{{" in text.body.decode(), family.name
        assert f'{name}{{group="cx"' in text.body.decode()
        assert family.help in text.body.decode()


def test_the_settings_become_the_limits() -> None:
    """Every limit of a request is a setting."""
    settings = load(None, {"CXSTREAM_INGRESS_MAX_REQUEST_EVENTS": "3", "CXSTREAM_INGRESS_REQUEST_SECONDS": "2.5"})
    assert limits_of(settings) == limits_of(Settings())._replace(request_events=3, request_seconds=2.5)


@pytest.mark.parametrize(
    ("variables", "name", "said"),
    [
        ({"TOKENS": "crm"}, "ingress.tokens", "entry 1 is not source=token"),
        ({"TOKENS": "crm=a,crm=b"}, "ingress.tokens", "entry 2 names a source that has a token already"),
        ({"TOKENS": "crm=a\nfsm=a"}, "ingress.tokens", "entry 2 has the token of another source"),
        ({"TOKENS": "a b=hush"}, "ingress.tokens", "entry 1 is not source=token"),
        ({"TOKENS": "crm=hush hush"}, "ingress.tokens", "entry 1 is not source=token"),
        ({"TOKENS": "default=hush", "TOKEN": "x"}, "ingress.tokens", "names a source that has a token already"),
        ({"HOST": "0.0.0.0"}, "ingress.token", "not set, and ingress.host is '0.0.0.0'"),  # noqa: S104 - nothing listens
        ({"FRAMING": "registry"}, "ingress.framing", "schema.ids names no schema of dispatch, parts, ticket"),
        ({"CERT_FILE": __file__}, "ingress.key_file", "not set, and ingress.cert_file is"),
    ],
)
def test_settings_that_cannot_be_used_are_told(variables: dict[str, str], name: str, said: str) -> None:
    """Tokens that clash, another host without a token, a framing without ids: told, and never with a token."""
    from cxstream.config import ConfigError

    with pytest.raises(ConfigError) as raised:
        load(None, {f"CXSTREAM_INGRESS_{key}": text for key, text in variables.items()})
    assert {problem.setting for problem in raised.value.problems} == {name}
    assert said in str(raised.value)
    assert "hush" not in str(raised.value)


def test_a_certificate_that_cannot_be_used_names_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """`cxstream ingress` with files that hold no certificate says which setting it is, not that a port is taken."""
    for name in ("CERT_FILE", "KEY_FILE"):
        monkeypatch.setenv(f"CXSTREAM_INGRESS_{name}", __file__)
    refused = CliRunner().invoke(command, ["ingress"])
    assert refused.exit_code == 1
    assert "ingress.key_file: certificate and key cannot be used together" in refused.output


def test_tokens_are_read_from_entries_and_lines() -> None:
    """Entries are separated by commas or new lines, and a token may hold the sign that ends its source's name."""
    settings = load(None, {"CXSTREAM_INGRESS_TOKENS": "crm=a==, fsm = b\n\nerp=c\n", "CXSTREAM_INGRESS_TOKEN": "d"})
    assert settings.ingress.sources == {"default": "d", "crm": "a==", "fsm": "b", "erp": "c"}
    with_token = {"CXSTREAM_INGRESS_HOST": "::", "CXSTREAM_INGRESS_TOKEN": "d"}
    assert load(None, with_token).ingress.host == "::"


def test_the_example_sends_events() -> None:
    """examples/upstream/send-events.sh, which needs curl alone, sends a batch and is answered 202."""
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    with serving(tokens={"crm": "of-crm"}) as ingress:
        done = subprocess.run(
            [FOLDER / "examples" / "upstream" / "send-events.sh", f"http://127.0.0.1:{ingress.port}"],
            env={**os.environ, "CXSTREAM_INGRESS_TOKEN": "of-crm"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["accepted"] == len(ingress.brokers.records) == 3
