"""What a record changes of what was published, and how that is announced from it."""

from __future__ import annotations

import msgspec
import pytest

from cases import (
    POLICY,
    Event,
    arrived,
    cancelled,
    completed,
    corrected,
    erased,
    event,
    facts,
    ms,
    opened,
    reopened,
    scheduled,
    voided,
)
from cxstream.domain.cases import Case
from cxstream.engine.assess import Catalogue, Clock, anonymous, assess, close, receive
from cxstream.engine.transitions import MOST_EVIDENCE, Announcement, announcements, to_write
from cxstream.kafka.records import read_case, write
from cxstream.vital_signs import CATALOGUE, TIER_A

FIXED = [
    opened(account_ref="K-7", region="north"),
    scheduled("0h", "1h", "2h"),
    arrived("90m"),
    completed("3h", "fixed"),
]


class Published:
    """One case as it is judged and written, and what every write announces."""

    def __init__(self, catalogue: Catalogue = CATALOGUE) -> None:
        self.case: Case | None = None
        self.catalogue = catalogue

    def judge(self, at: str, *events: Event, settled: str | None = None) -> list[Announcement]:
        """Take events, judge at a clock reading, write; return what that announces."""
        case = self.case or Case("C1")
        for fact in facts(*events):
            case, _ = receive(case, fact, self.catalogue, POLICY)
        case = assess(case, self.catalogue, POLICY, Clock(ms(at), ms(settled or at))).case
        self.case = read_case(write(to_write(self.case, case, self.catalogue)))
        return list(announcements(self.case, self.catalogue, POLICY))

    def of(self, sign: str, announced: list[Announcement]) -> Announcement:
        """Return the only announcement of a sign."""
        (one,) = (one for one in announced if one.sign == sign)
        return one


def test_the_first_verdicts_replace_nothing() -> None:
    """Every unit and sign is announced at first with number 0, with what it rests on and whose case it is."""
    published = Published(TIER_A)
    announced = published.judge("3h", *FIXED)
    assert len({(one.sign, one.unit) for one in announced}) == len(announced) == len(published.case.verdicts)  # type: ignore[union-attr]
    assert {(one.sequence, one.old) for one in announced} == {(0, None)}
    on_time = published.of("on_time_arrival", announced)
    assert (on_time.case_id, on_time.kind, on_time.unit, on_time.announced) == ("C1", "visit", "V1", "provisional_hit")
    assert on_time.evidence == ("scheduled-V1-0h", "arrived-V1-90m")
    assert (on_time.account_ref, on_time.segment.region, on_time.judged_ms) == ("K-7", "north", ms("3h"))


def test_a_record_announces_what_it_changed_and_nothing_else() -> None:
    """A fact that changes no verdict clears what the record said before it; one that does is a change from it."""
    published = Published(TIER_A)
    published.judge("3h", *FIXED)
    assert published.judge("4h", event("ticket.assigned", "4h")) == []
    changed = published.judge("5h", reopened("5h"))
    fixed = published.of("first_time_fix", changed)
    assert (fixed.sequence, fixed.old, fixed.announced) == (1, ("provisional_hit", "fixed_first_time"), "miss")
    assert published.judge("5h") == changed, "written once more, unchanged, it says the same"


def test_a_case_judged_twice_before_it_is_written_skips_no_number() -> None:
    """An erasure judges what is final by its delivery, and closes: between them nothing was published (rule 10)."""
    published = Published()
    published.judge("3h", *FIXED)
    before = {(one.sign, one.unit): one for one in published.case.verdicts}  # type: ignore[union-attr]
    announced = published.judge("76h", erased("76h"))
    assert {(one.sign, one.unit) for one in announced} == before.keys()
    for one in announced:
        was = before[one.sign, one.unit]
        assert (one.sequence, one.old) == (was.sequence + 1, (was.verdict, was.reason))
        assert (one.evidence, one.account_ref) == ((), None)
    assert published.of("first_time_fix", announced).reason == "erased"
    assert published.of("on_time_arrival", announced).announced == "final_hit"


def test_what_was_taken_back_is_remembered_of_a_sign_that_is_not_judged_for_a_while() -> None:
    """It comes back under the number it had and with the same content."""
    published = Published()
    published.judge("3h", *FIXED)
    missed = published.of("first_time_fix", published.judge("5h", reopened("5h"))).verdict
    assert missed.retracted
    published.catalogue = {name: sign for name, sign in CATALOGUE.items() if name != "first_time_fix"}
    published.judge("6h", event("ticket.assigned", "6h"))
    published.catalogue = CATALOGUE
    published.judge("7h", event("ticket.assigned", "7h"))
    assert published.case is not None
    assert [one for one in published.case.verdicts if one.sign == "first_time_fix"] == [missed]


def test_a_decided_unit_that_was_none_for_a_while_was_taken_back() -> None:
    """A verdict withdrawn with its unit counts as taken back once the unit is there again."""
    published = Published()
    published.judge("59d", opened(), completed("58d", "not_fixed"), settled="0h")
    gone = published.judge("59d", cancelled("2d", named="K"), settled="0h")
    assert published.of("visit_productive", gone).announced == "withdrawn"
    back = published.of("visit_productive", published.judge("59d", voided("3d", "K"), settled="0h"))
    assert (back.announced, back.verdict.retracted) == ("miss", True)


def test_what_is_left_of_an_erased_case_announces_nothing() -> None:
    """Under its anonymous name nothing of it is said (rule 10)."""
    published = Published()
    published.judge("3h", *FIXED)
    published.judge("5h", erased("5h"))
    assert published.case is not None
    assert list(announcements(anonymous(published.case, "erased:x"), CATALOGUE, POLICY)) == []


def test_a_judgement_that_changes_a_verdict_forgets_nothing() -> None:
    """What is sealed long after its windows is announced from its record, which goes with the next judgement."""
    published = Published()
    published.judge("3h", *FIXED)
    announced = published.judge("200d")
    assert {one.verdict.sealed for one in announced} == {True}
    assert published.judge("200d") == []
    assert published.case is not None
    assert published.case.is_forgotten


def test_a_case_closed_long_after_is_announced_before_it_is_forgotten() -> None:
    """A case closed when its windows are long over says so first (rule 10)."""
    published = Published()
    published.judge("3h", *FIXED)
    assert published.judge("300d", erased("300d"))
    assert published.judge("300d") == []
    assert published.case is not None
    assert published.case.is_forgotten


def test_what_begins_anew_after_it_was_forgotten_has_numbers_of_its_own() -> None:
    """A visit whose verdicts were forgotten, and of which a fact comes, is announced under no number it had before."""
    published = Published()
    published.judge("3h", *FIXED)
    published.judge("200d")
    published.judge("200d")
    again = published.of("visit_productive", published.judge("201d", arrived("201d", "V1")))
    assert (again.old, again.sequence) == (None, ms("201d"))
    following = published.of("visit_productive", published.judge("202d", completed("201d1h", "fixed", "V1")))
    assert following.sequence == again.sequence + 1


def test_a_unit_that_turns_out_to_be_none_is_withdrawn_and_may_come_back() -> None:
    """A copy delivered earlier names another visit: the one announced is withdrawn, and its numbers go on (rule 1)."""
    published = Published()
    published.judge("2h", opened(), event("dispatch.arrived", "1h", visit_id="V1", named="x", seen="2h"))
    moved = published.judge("3h", event("dispatch.arrived", "1h", visit_id="V2", named="x", seen="1h"))
    gone = [one for one in moved if one.unit == "V1"]
    assert {one.sign for one in gone} == {name for name, sign in CATALOGUE.items() if sign.unit.kind == "visit"}
    assert {(one.announced, one.reason, one.sequence) for one in gone} == {("withdrawn", "no_unit", 1)}
    assert published.judge("4h", event("ticket.assigned", "4h")) == [], "and not again"
    back = published.of("on_time_arrival", published.judge("5h", scheduled("5h", "6h", "7h", "V1")))
    assert (back.sequence, back.old) == (2, ("withdrawn", "no_unit"))


def test_a_sign_that_is_judged_again_goes_on_where_it_stopped() -> None:
    """Where its tier was not judged for a while, nothing was said of it; what is the same then is not said again."""
    published = Published()
    published.judge("3h", *FIXED)
    before = len(published.case.verdicts)  # type: ignore[union-attr]
    published.catalogue = TIER_A
    assert published.judge("3h", event("ticket.assigned", "3h")) == []
    published.catalogue = CATALOGUE
    assert published.judge("3h", event("ticket.assigned", "3h", named="y")) == []
    assert published.case is not None
    assert (len(published.case.verdicts), published.case.withdrawn) == (before, [])
    later = published.of("reopened", published.judge("5h", reopened("5h")))
    assert later.sequence == 1


def test_evidence_is_bounded() -> None:
    """Of more event ids than that the first are named."""
    contacts = [event("ticket.customer_contacted", f"{hour}h", named=f"c{hour}") for hour in range(1, 200)]
    announced = Published().judge("300h", opened(), *contacts)
    assert max(len(one.evidence) for one in announced) <= MOST_EVIDENCE


@pytest.mark.parametrize("corrected_to", ["K-8", None])
def test_the_account_is_that_of_the_opening_in_force(corrected_to: str | None) -> None:
    """A corrected opening states another account (rule 5)."""
    published = Published()
    events = [*FIXED] if corrected_to is None else [*FIXED, corrected("2h", "opened-0h", {"account_ref": corrected_to})]
    assert {one.account_ref for one in published.judge("3h", *events)} == {corrected_to or "K-7"}


def test_a_case_too_large_is_closed_from_what_was_published() -> None:
    """Numbers follow what was written last, however often it was judged since."""
    case = assess(Case("C1", facts=facts(*FIXED)), CATALOGUE, POLICY, Clock.at(ms("3h"))).case
    first = to_write(None, case, CATALOGUE)
    later = assess(
        msgspec.structs.replace(first, facts=facts(*FIXED, reopened("5h"))), CATALOGUE, POLICY, Clock.at(ms("5h"))
    )
    closed = to_write(first, close(later.case, "overflow", first), CATALOGUE)
    assert {one.sequence for one in closed.verdicts} == {1}
