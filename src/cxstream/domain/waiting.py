"""Waiting for an answer that is due a fixed time after the opening: first_response and explained (rule 19)."""

from __future__ import annotations

from collections.abc import Sequence

from cxstream.domain.evidence import Evidence
from cxstream.domain.facts import Fact
from cxstream.domain.verdict import Judgement


def answered_in_time(evidence: Evidence, answers: Sequence[Fact], target_ms: int, clock_ms: int) -> Judgement:
    """Judge whether the first of `answers` came at or before the opening plus a target (rule 19)."""
    opened = evidence.opened
    if opened is None:
        return Judgement("pending", "not_opened")
    due_ms = opened.at_ms + target_ms
    answer = answers[0] if answers else None
    if answer is not None and answer.at_ms <= due_ms:
        return Judgement("hit", "in_time", answer.at_ms, (opened.event_id, answer.event_id))
    for cancellation in evidence.cancellations[:1]:
        if cancellation.at_ms <= due_ms:
            return Judgement("excluded", "cancelled", cancellation.at_ms, (cancellation.event_id,))
    if answer is not None and clock_ms > due_ms:
        return Judgement("miss", "late", answer.at_ms, (opened.event_id, answer.event_id))
    if clock_ms > due_ms:
        return Judgement("miss", "no_answer", due_ms, (opened.event_id,), silent_topics=("ticket",))
    return Judgement("pending", "awaited", None, (opened.event_id,), due_ms + 1, due_ms)
