"""Waiting for an answer that is due a fixed time after the opening: first_response and explained (rule 19)."""

from __future__ import annotations

from collections.abc import Sequence

from cxstream.domain.evidence import Evidence
from cxstream.domain.facts import Fact
from cxstream.domain.reasons import Reason
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


def reasons(answer: str, target: str) -> dict[str, Reason]:
    """Return the reasons of such a sign in plain words: what is waited for, and for how long after the opening."""
    late = f"{answer} before it was due, told late; or a corrected time of the opening or of the answer"
    subject = answer[0].upper() + answer[1:]
    return {
        "in_time": Reason(
            f"{subject} came within {target} after the opening.", (19,), "a correction or void of it or of the opening"
        ),
        "cancelled": Reason(
            f"The case was cancelled before {answer} was due, and until then there was none.",
            (19,),
            f"a void of the cancellation, or {answer} in time, told late",
        ),
        "late": Reason(f"{subject} came, but later than {target} after the opening.", (19,), late),
        "no_answer": Reason(
            f"{subject} did not come within {target} after the opening.", (6, 19), late, "when it was due"
        ),
        "awaited": Reason(
            f"{subject} has not come yet, and is not due yet.",
            (19,),
            "its coming by the due time (good), the due time passing without it (bad), a cancellation (left out)",
        ),
    }
