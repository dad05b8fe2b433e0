"""The live page of real workers on Apache Kafka: they find each other, answer for each other, and say who is silent."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from cxstream.demo.upstream import DAY, Upstream
from parts.broker import require_apache_kafka, test_broker
from parts.figures import wall_ms
from parts.pages import partition_of
from parts.producer import Job
from parts.worker import WorkerProcess

pytestmark = pytest.mark.slow

TOKEN = "of-the-operations-team"  # noqa: S105 - it opens nothing


def ask(worker: WorkerProcess, path: str, **query: str) -> Any:  # noqa: ANN401 - of any shape
    """Return what the JSON API of a worker answers, a problem too."""
    url = f"http://{worker.address}/api/v1/{path}?{urlencode(query)}"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as refusal:
        return json.loads(refusal.read())


def test_two_workers_answer_for_each_other_and_one_for_a_silent_other(kafka: str, tmp_path: Path) -> None:
    """Each shows the whole job and any case; a frozen one is named; its partitions come back with the rebalance."""
    if test_broker().kind == "embedded":
        require_apache_kafka()
    job = Job(kafka, "pages")
    job.declare()
    now_ms = wall_ms()
    deliveries = list(Upstream(3, now_ms - 12 * DAY, cases_per_day=8).events(now_ms))
    job.deliver(deliveries)
    settings = {
        "CXSTREAM_HTTP_CASE_DATA_TOKEN": TOKEN,
        "CXSTREAM_PAGES_ANSWER_SECONDS": "1",
        "CXSTREAM_PAGES_SEARCH_SECONDS": "0.5",
    }
    first, second = (
        WorkerProcess({**job.settings(tmp_path / name), **settings}, tmp_path / f"{name}.log") for name in ("a", "b")
    )
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with first, second:
        for one in (first, second):
            one.wait_for(lambda one=one: _covers(one, workers=2), "both speak for the whole job", seconds=90)  # type: ignore[misc]
        told = [ask(one, "overview", window="30d") for one in (first, second)]
        decided = [[(one["sign"], one["good"], one["bad"]) for one in page["figures"]] for page in told]
        assert decided[0] == decided[1]
        assert all(len(word["partitions"]) == 2 for word in told[0]["trust"]["workers"])
        for sign, _good, bad in decided[0]:
            listed = [ask(one, "units", sign=sign, standing="bad", window="30d") for one in (first, second)]
            assert {page["total"] for page in listed} == {bad}, sign
            assert all(page["complete"] for page in listed)
        ids = sorted({str(one.event["case_id"]) for one in deliveries})
        assert {partition_of(case_id, 4) for case_id in ids[:20]} == {0, 1, 2, 3}
        for case_id in ids[:20]:
            found = [ask(one, "case", id=case_id) for one in (first, second)]
            assert {page["case"] for page in found} == {case_id}
        second.pause()
        lost = ask(first, "overview", window="30d")["trust"]
        deadline = time.monotonic() + 30
        while not any("did not answer within 1 s" in problem for problem in lost["problems"]):
            assert time.monotonic() < deadline, lost
            lost = ask(first, "overview", window="30d")["trust"]
        assert not lost["trusted"]
        second.kill()
        first.wait_for(lambda: _covers(first, workers=1), "one speaks for the whole job", seconds=90)
        assert [(one["sign"], one["good"], one["bad"]) for one in ask(first, "overview", window="30d")["figures"]] == (
            decided[0]
        )
        assert "cxstream_page_limits_total" in first.metrics().text
    logs = "".join((tmp_path / f"{name}.log").read_text() for name in ("a", "b"))
    assert not any(case_id in logs for case_id in ids)


def _covers(worker: WorkerProcess, *, workers: int) -> bool:
    trust = ask(worker, "overview", window="30d")["trust"]
    speaking = [word for word in trust["workers"] if word["answered"] and word["partitions"]]
    return bool(trust["trusted"]) and not trust["problems"] and len(speaking) == workers
