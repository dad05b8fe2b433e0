"""Every way a request or an event can be refused, as data: what is answered, what is documented and what is counted."""

from __future__ import annotations

from typing import NamedTuple

CONTENT_TYPE = "application/problem+json"


class Kind(NamedTuple):
    """One type of problem (RFC 9457), served under `/problems/<name>`."""

    name: str
    status: int
    title: str
    mend: str
    """What the sender can do about it."""

    @property
    def uri(self) -> str:
        """The URI reference of the type, relative to where events are sent."""
        return f"/problems/{self.name}"


class Problem(NamedTuple):
    """One problem: of a request, or of one event of it. No text holds anything the event says."""

    kind: Kind
    detail: str
    field: str | None = None
    """The field of the event that is wrong, where it is one."""

    def document(self) -> dict[str, object]:
        """Return the problem document."""
        kind = self.kind
        told: dict[str, object] = {"type": kind.uri, "title": kind.title, "status": kind.status, "detail": self.detail}
        return told if self.field is None else {**told, "field": self.field}


_REPEAT = "Send the same events again, with the same event ids: what is there already is not counted twice."
_LATER = "Come again after the seconds that Retry-After says."

INVALID = Kind("invalid", 422, "A field is missing or ill-formed", "Mend the field and send the event again.")
NAIVE_TIME = Kind(
    "naive_time", 422, "A time without an offset", "Write times as RFC 3339 with an offset, or in milliseconds."
)
FUTURE = Kind("future", 422, "An event ahead of its delivery", "Send what has happened; check the clock of the sender.")
EVENT_TOO_LARGE = Kind("event_too_large", 413, "An event is too large", "Shorten its texts.")
CONFLICT = Kind(
    "conflict",
    409,
    "The event id stands for another event of this request",
    "Give every event of a case an id of its own; correct an event with `corrected`.",
)
OF_EVENTS: dict[str, Kind] = {
    "invalid": INVALID,
    "naive_time": NAIVE_TIME,
    "future": FUTURE,
    "too_large": EVENT_TOO_LARGE,
    "conflict": CONFLICT,
}
"""Why an event can be refused, by the reason it is counted under."""

NOT_SENT = Kind("unavailable", 503, "The brokers do not take events", f"{_LATER} Nothing of this was sent.")
UNKNOWN_OUTCOME = Kind(
    "unknown_outcome",
    503,
    "The brokers did not acknowledge in time",
    f"The event may have reached the topic, or may yet. {_REPEAT}",
)

MALFORMED = Kind("malformed", 400, "The body cannot be read", "Send JSON in UTF-8, with at least one event.")
UNAUTHORISED = Kind("unauthorised", 401, "A bearer token is needed", "Send the header Authorization: Bearer <token>.")
NOT_FOUND = Kind("not_found", 404, "There is nothing here", "Events go to POST /v1/events.")
METHOD_NOT_ALLOWED = Kind("method_not_allowed", 405, "Another method is expected", "See the header Allow.")
SLOW_BODY = Kind("slow_body", 408, "The body did not come in time", "Send fewer events at a time.")
TOO_LARGE = Kind("too_large", 413, "The request is too large", "Send fewer events at a time.")
MEDIA_TYPE = Kind(
    "unsupported_media_type",
    415,
    "The body is of another type than expected",
    "Send application/json or application/x-ndjson, in UTF-8 and not compressed.",
)
NONE_ACCEPTED = Kind("none_accepted", 422, "No event was accepted", "See the problem of each item.")
RATE = Kind("rate_limited", 429, "Too many requests of this client", _LATER)
BUSY = Kind("busy", 503, "Too much is under way", f"{_LATER} Nothing of this was sent.")

KINDS: dict[str, Kind] = {value.name: value for value in list(globals().values()) if isinstance(value, Kind)}
"""All of them by name."""
