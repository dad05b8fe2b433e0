"""Every setting there is: its name, its type, its default and what it is about; and what they must be together."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

from annotated_types import MaxLen
from pydantic import (
    BaseModel,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from cxstream.config import types as t
from cxstream.domain import vocabulary
from cxstream.domain.cases import Segment
from cxstream.domain.instant import DAY_MS, HOUR_MS
from cxstream.domain.policy import Override, Policy
from cxstream.domain.vital_sign import Signs
from cxstream.engine.ledger import OTHER, RISK_HORIZON_MS, Level, Windows
from cxstream.vital_signs import of_tiers

DEFAULT_SOURCE = "default"
"""The source of events whose sender carries `ingress.token`."""
MAX_SOURCES = 100
"""Of events over HTTP: each is a label value."""

_ALL = "all"
_DEFAULT = Policy()


class Group(BaseModel, frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True):
    """Settings that belong together."""

    @field_validator("*", mode="before")
    @classmethod
    def _any_case(cls, given: object, info: ValidationInfo) -> object:
        kind = cls.model_fields[str(info.field_name)].annotation
        words = get_args(kind) if isinstance(given, str) and get_origin(kind) is Literal else ()
        return next((word for word in words if word.casefold() == str(given).casefold()), given)


class Topics(Group):
    """The source topics. All have the same number of partitions and are keyed by case id."""

    ticket: t.Topic = "cxstream.tickets"
    """Topic of the ticket events."""
    dispatch: t.Topic = "cxstream.dispatch"
    """Topic of the dispatch events."""
    parts: t.Topic = "cxstream.parts"
    """Topic of the parts events."""

    def by_kind(self) -> dict[str, str]:
        """Return the name of each topic by its kind: ticket, dispatch, parts."""
        return {kind: getattr(self, kind) for kind in vocabulary.TOPICS}


class Kafka(Group):
    """Where the events are, and how the workers share them."""

    bootstrap: t.Addresses = "localhost:9092"
    """Brokers to ask first."""
    group: t.Name = "cxstream"
    """Consumer group of the workers; the names of the service's own topics begin with it."""
    topics: Topics = Topics()
    verdicts_topic: t.TopicOrNone = "cxstream.verdicts"
    """Topic every change of a published verdict is produced to (docs/verdict-stream.md), of this group alone; `none`
    switches that off."""
    trusted_topics: t.Different[t.Topic] = ()
    """Source topics whose `cxstream-delivered-at` header is believed (adapters, intake, replay of dead letters)."""
    partitions: t.Whole = Field(12, ge=1, le=1000)
    """Partitions of every topic that takes part; the most workers there can be."""
    replication_factor: t.Whole = Field(3, ge=1, le=15)
    """Copies of every topic the service creates."""
    declare_topics: t.Flag = False
    """Create topics that are missing at start; otherwise only check. Existing ones are never altered."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How to speak to the brokers."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = "PLAIN"
    """How to log in, with a SASL protocol."""
    username: t.User | None = None
    """User name, with a SASL protocol but for OAUTHBEARER."""
    password: t.Secret | None = None
    """Password, with a SASL protocol but for OAUTHBEARER."""
    oauth_token_file: t.File | None = None
    """File with the token, for OAUTHBEARER; read again at every login, so it may be renewed (a projected token)."""
    oauth_token_url: t.HttpsUrl | None = None
    """Token endpoint to get the token from instead, by the client credentials grant (RFC 6749, section 4.4)."""
    oauth_client_id: t.User | None = None
    """Client id at the token endpoint."""
    oauth_client_secret: t.Secret | None = None
    """Client secret at the token endpoint."""
    oauth_scope: t.Scope | None = None
    """Scope to ask the token endpoint for; default: what it gives by itself."""
    oauth_ca_file: t.File | None = None
    """Authorities (PEM) the token endpoint's certificate must be of; default: the system's."""
    oauth_extensions: t.Table[t.Extension, t.ExtensionValue] = {}
    """SASL extensions the brokers want beside the token."""
    ca_file: t.File | None = None
    """Authorities (PEM) the brokers' certificates must be of; default: the system's."""
    cert_file: t.File | None = None
    """Client certificate (PEM) for mutual TLS."""
    key_file: t.File | None = None
    """Private key (PEM) of the client certificate."""
    key_password: t.Secret | None = None
    """What the private key is encrypted with."""
    session_timeout_seconds: t.Seconds = Field(20.0, ge=1, le=1800)
    """A worker not heard for so long loses its partitions, and neither writes nor speaks."""
    heartbeat_seconds: t.Seconds = Field(3.0, ge=0.1, le=600)
    """Time between signs of life; at most a third of the session timeout."""
    commit_interval_seconds: t.Seconds = Field(1.0, ge=0.05, le=60)
    """Time between commits of source offsets."""
    source_silent_after: t.Table[t.Kind, t.Delay] = {"ticket": HOUR_MS, "dispatch": HOUR_MS, "parts": DAY_MS}
    """A source topic that brought nothing for so long is taken for dead: that nothing was heard proves no miss. A topic
    that is not named, or has 0s, is never."""
    clock_margin_seconds: t.Seconds = Field(5.0, ge=0, le=3600)
    """By how much the clocks of brokers and workers may differ: a verdict is final so much later."""
    instance_id: t.Name | None = None
    """Static membership: the stable name of this worker (the pod's name), so that a quick restart moves nothing."""
    standby_replicas: t.Whole = Field(0, ge=0, le=10)
    """Workers beside the owner that keep a copy of a partition's state, for a quicker takeover."""

    @property
    def verdicts(self) -> str | None:
        """The topic of verdicts, None if they are not announced."""
        return None if self.verdicts_topic == "none" else self.verdicts_topic


class Schema(Group):
    """Which Avro schema a message was written with."""

    registry_url: t.Url | None = None
    """Registry with the Confluent API to ask for unknown schema ids; default: none."""
    registry_username: t.User | None = None
    """User name at the registry."""
    registry_password: t.Secret | None = None
    """Password at the registry."""
    registry_ca_file: t.File | None = None
    """Authorities (PEM) the registry's certificate must be of; default: the system's."""
    ids: t.Table[t.SchemaId, t.SchemaName] = {}
    """Schema ids that stand for packaged schemas, known without a registry."""


class Limits(Group):
    """What the service will hold or take at most."""

    max_batch_records: t.Whole = Field(4000, ge=1, le=100_000)
    """Records of each topic of one partition number handled as one batch, at most."""
    max_queued_records: t.Whole = Field(100_000, ge=1, le=100_000_000)
    """Records read ahead over all partitions; the read that fills it may bring as many again. Each takes some 700 bytes
    of memory."""
    max_message_bytes: t.Whole = Field(1024 * 1024, ge=1024, le=64 * 1024 * 1024)
    """A longer message becomes a dead letter unread."""
    max_facts_per_case: t.Whole = Field(2000, ge=10, le=1_000_000)
    """A case with more facts is excluded as a whole (overflow)."""
    concurrent_batches: t.Whole = Field(2, ge=1, le=64)
    """Batches of different partitions in hand at the same time."""


class Http(Group):
    """Where metrics, probes and pages are served."""

    host: t.Host = "127.0.0.1"
    """Address to listen on."""
    port: t.Whole = Field(9109, ge=0, le=65_535)
    """Port to listen on; 0 is one that is free."""
    cert_file: t.File | None = None
    """Certificate (PEM) to serve https with; default: http is served."""
    key_file: t.File | None = None
    """Private key (PEM) of the certificate."""
    key_password: t.Secret | None = None
    """What the private key is encrypted with."""
    max_connections: t.Whole = Field(128, ge=4, le=10_000)
    """Connections open at the same time; more are refused."""
    case_data_token: t.Secret | None = None
    """Bearer token that pages and answers with case data need; default: none is asked for."""
    advertised_url: t.Url | None = None
    """Where the other workers of the group reach this one's pages; default: `host` and `port`, and where it listens on
    all addresses, the one its host name stands for."""


class Pages(Group):
    """What the pages of a worker show, and what they may cost."""

    rows: t.Whole = Field(50, ge=1, le=500)
    """Units on one page of a list."""
    most_listed: t.Whole = Field(10_000, ge=1, le=20_000)
    """Units of a list that can be paged through, misses and the newest first; how many there are is always said."""
    workers_at_once: t.Whole = Field(8, ge=1, le=64)
    """Other workers asked at the same time."""
    answer_seconds: t.Seconds = Field(3.0, ge=0.1, le=8)
    """How long another worker may take to answer; a page says which did not."""
    answer_max_bytes: t.Whole = Field(8 * 1024 * 1024, ge=64 * 1024, le=256 * 1024 * 1024)
    """A longer answer of another worker is not read."""
    owner_expires_seconds: t.Seconds = Field(15.0, ge=2, le=600)
    """A worker that has not said for so long where it answers is not asked."""
    search_seconds: t.Seconds = Field(2.0, ge=0, le=8)
    """How long an answer waits for the case records to be looked through; then it shows what was found so far."""


class Sources(Group):
    """What is told of the systems that send events (docs/upstream/sources.md)."""

    names: t.SourceNames = ()
    """Names of systems, as the header `cxstream-source` states them, that are counted apart; others become
    `__other__`. Each adds about 120 series to a worker."""
    rejections_shown: t.Whole = Field(50, ge=0, le=1000)
    """Rejections of a system and topic that `/sources` lists, the last ones."""


class Ingress(Group):
    """Where events are taken over HTTP (`cxstream ingress`, docs/upstream/http.md), from whom, and how much at most."""

    host: t.Host = "127.0.0.1"
    """Address to listen on; another than the machine's own needs a token."""
    port: t.Whole = Field(9110, ge=0, le=65_535)
    """Port to listen on; 0 is one that is free."""
    token: t.Secret | None = None
    """Bearer token of the source `default`."""
    tokens: t.Secret | None = None
    """Bearer tokens of several sources: entries `source=token`, separated by commas or new lines. A source is counted
    and limited under its name. With neither `token` nor `tokens` nobody is asked for one."""
    cert_file: t.File | None = None
    """Certificate (PEM) to serve HTTPS with; default: HTTP."""
    key_file: t.File | None = None
    """Private key (PEM) of the certificate."""
    framing: Literal["single-object", "registry"] = "single-object"
    """How events are framed on the topics; `registry` needs an id for each source topic in `schema.ids`."""
    max_request_bytes: t.Whole = Field(1024 * 1024, ge=1024, le=64 * 1024 * 1024)
    """A longer body is refused (413)."""
    max_request_events: t.Whole = Field(1000, ge=1, le=100_000)
    """A body of more events is refused (413)."""
    max_requests_at_once: t.Whole = Field(64, ge=1, le=10_000)
    """Further requests are asked to come again (503)."""
    max_in_flight_bytes: t.Whole = Field(64 * 1024 * 1024, ge=1024, le=8 * 1024**3)
    """Bytes of bodies that are read or wait for the brokers; beyond, requests are asked to come again (503)."""
    requests_per_second: t.Whole = Field(50, ge=1, le=100_000)
    """Requests one client may send a second in the long run, by source, and without tokens by address; others are
    asked to come again (429)."""
    request_burst: t.Whole = Field(100, ge=1, le=1_000_000)
    """Requests a client that was quiet may send at once."""
    request_seconds: t.Seconds = Field(10.0, ge=0.1, le=600)
    """A body that is not there within this time is not waited for (408)."""
    delivery_seconds: t.Seconds = Field(20.0, ge=0.1, le=600)
    """Events the brokers have not acknowledged within this time are answered with an unknown outcome (503)."""

    @property
    def sources(self) -> dict[str, str]:
        """The bearer tokens by the name of their source. Raises ValueError, which shows none, if one is wrong."""
        tokens = {} if self.token is None else {DEFAULT_SOURCE: self.token.get_secret_value()}
        text = "" if self.tokens is None else self.tokens.get_secret_value()
        for number, entry in enumerate(filter(None, map(str.strip, re.split(r"[,\n]", text))), 1):
            source, _, token = (part.strip() for part in entry.partition("="))
            if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", source) or not re.fullmatch(r"[!-~]+", token):
                raise ValueError(f"entry {number} is not source=token")
            if source in tokens:
                raise ValueError(f"entry {number} names a source that has a token already")
            if token in tokens.values():
                raise ValueError(f"entry {number} has the token of another source")
            tokens[source] = token
        if len(tokens) > MAX_SOURCES:
            raise ValueError(f"{len(tokens)} sources")
        return tokens


class DeadLetters(Group):
    """How dead letters are sent again (`cxstream dead-letters`, docs/upstream/dead-letters.md)."""

    max_replays: t.Whole = Field(3, ge=1, le=1000)
    """A letter that was sent again so often and came back is parked instead."""
    replays_per_second: t.Whole = Field(1000, ge=1, le=1_000_000)
    """Letters that are sent again in a second, at most."""


class LabelValues(Group):
    """Closed lists of label values by dimension; others become `__other__`. None given: any, up to the limit."""

    priority: t.Different[t.Label] = ()
    """Values of priority that are published."""
    region: t.Different[t.Label] = ()
    """Values of region that are published."""
    product: t.Different[t.Label] = ()
    """Values of product that are published."""
    tier: t.Different[t.Label] = ()
    """Values of tier that are published."""
    provider: t.Different[t.Label] = ()
    """Values of provider that are published."""


class Ledger(Group):
    """Over which windows units are counted, and at which levels the counts are published."""

    windows: t.Windows = ("1h", "24h", "7d", "30d")
    """Windows that units are counted over; each is a length and, as written, the label of its figures."""
    levels: t.Levels = {"job": (_ALL,), "region": ("24h", "30d"), "product": ("24h", "30d")}
    """Levels that are published and their windows (in a variable separated by spaces; `all`: every one). `job` is
    the whole; others are segment dimensions (priority, region, product, tier, provider), joined by `_` for a cross
    product."""
    risk_horizon: t.Horizon = RISK_HORIZON_MS
    """A unit that will be a miss within this time, unless something happens, is at risk now."""
    live_levels: t.Different[t.LevelName] = ("job", "region")
    """Those of the levels above at which it is counted what is live (units at risk, open cases, silences), and how
    measured times are distributed."""
    time_windows: t.Different[t.Window] = ("7d", "30d")
    """Those of the windows above over which measured times are shown."""
    label_limit: t.Whole = Field(50, ge=1, le=10_000)
    """Different values a dimension without a closed list may have; more become `__other__`."""
    label_values: LabelValues = LabelValues()


class Log(Group):
    """What the service writes to standard error."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The least important messages that are written."""
    format: Literal["json", "console"] = "json"
    """One JSON object per line, or text for people."""


class Judging(Group):
    """The constants verdicts are judged by (vital-signs page, section 3)."""

    repeat_window: t.Span = _DEFAULT.repeat_window_ms
    """A fix holds if nothing breaks again for so long, end inclusive."""
    late_horizon: t.Delay = _DEFAULT.late_horizon_ms
    """How long after its last limit a unit still listens to late facts."""
    late_grace: t.Delay = _DEFAULT.late_grace_ms
    """Arrival so long after the window's end is on time, inclusive."""
    early_tolerance: t.Delay = _DEFAULT.early_tolerance_ms
    """Arrival so long before the window's start is on time, inclusive."""
    provider_notice: t.Delay = _DEFAULT.provider_notice_ms
    """Notice a provider owes before a window it changes; this much is enough."""
    watched_notice: t.Delay = _DEFAULT.watched_notice_ms
    """A provider's change with less than this beyond the notice it owes is counted among the watched loopholes."""
    on_site_limit: t.Span = _DEFAULT.on_site_limit_ms
    """A visit without completion counts as on site for at most so long."""
    clock_skew: t.Delay = _DEFAULT.clock_skew_ms
    """An event further ahead of its own delivery is rejected."""
    first_response: t.ByPriority = _DEFAULT.first_response_ms
    """Target of first_response for every priority, inclusive."""
    explanation: t.Span = _DEFAULT.explanation_ms
    """Target of explained, inclusive."""
    silence_limit: t.Span = _DEFAULT.silence_limit_ms
    """A longer gap between contacts is a silence."""
    silence_limit_by_priority: t.ByPriority = _DEFAULT.silence_limit_by_priority_ms
    """Silence limits of single priorities instead."""
    longest_pause: t.Delay = _DEFAULT.longest_pause_ms
    """A pause stops the silence clock for at most so long."""
    abandonment: t.Span = _DEFAULT.abandonment_ms
    """A case nobody ends is sealed so long after its last delivery."""
    easy_opening: t.Delay = _DEFAULT.easy_opening_ms
    """A case opened within so long of the customer's first contact was easy to open, inclusive."""
    easy_opening_transfers: t.Whole = Field(_DEFAULT.easy_opening_transfers, ge=0, le=100)
    """More hand-overs before the opening are no easy way in."""
    most_transfers: t.Whole = Field(_DEFAULT.most_transfers, ge=0, le=100)
    """More reassignments of a case are too many."""
    compensation_window: t.Span = _DEFAULT.compensation_window_ms
    """A broken promise is made good within so long after it was broken, inclusive."""
    placeholder_assets: t.AssetIds = _DEFAULT.placeholder_assets
    """Asset ids that mean that the asset is not known."""
    merge_hops: t.Whole = Field(_DEFAULT.merge_hops, ge=0, le=100)
    """Merges are followed this many hops."""
    crowded_asset_cases: t.Whole = Field(_DEFAULT.crowded_asset_cases, ge=1, le=100_000)
    """With more openings on one asset, its repeats are not knowable."""
    history_since: t.Instant = _DEFAULT.history_since_ms
    """Since when the source topics carry everything. Cases that began earlier are known in part, and left out with the
    reason `before_start` instead of showing false misses."""
    remembered: t.Span = _DEFAULT.remembered_ms
    """How long a case whose facts were forgotten is still known to be final."""


class Where(Group):
    """A segment, as openings state it: values by dimension, of which a case has all."""

    priority: t.Priority = ""
    region: t.Label = ""
    product: t.Label = ""
    tier: t.Label = ""
    provider: t.Label = ""

    @model_validator(mode="after")
    def _is_a_segment(self) -> Where:
        if not self.values:
            raise ValueError("found no dimension")
        return self

    @property
    def values(self) -> dict[str, str]:
        """The values by dimension."""
        return {name: value for name, value in self if name in self.model_fields_set}

    @model_serializer
    def _as_written(self) -> dict[str, str]:
        return self.values


NOT_OF_A_CASE = {
    "clock_skew": "it is read before it is known of which case an event is",
    "placeholder_assets": "cases of several segments may name one asset",
    "merge_hops": "a chain of merges may lead through several segments",
    "crowded_asset_cases": "cases of several segments may name one asset",
    "history_since": "it is about the source topics, which are the same for all",
    "remembered": "of a forgotten case nothing is left that is judged",
}
"""Constants that are the same in all segments, and why."""


_DIMENSIONS = ", ".join(Segment.__struct_fields__)


class Entry(Group):
    """One table of a list of them: a segment, and what holds there."""

    where: Annotated[Where, t.Says(f"a table of one or more of {_DIMENSIONS}, each with a value openings state")]

    @model_serializer(mode="wrap")
    def _as_written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in write(self).items() if name in self.model_fields_set}


class PolicyFor(Judging, Entry):
    """What verdicts on the cases of one segment are judged by instead."""

    @field_validator(*NOT_OF_A_CASE, mode="before")
    @classmethod
    def _of_no_case(cls, given: object, info: ValidationInfo) -> object:
        raise ValueError(f"found {t.shown(given)}, but {NOT_OF_A_CASE[str(info.field_name)]}")

    @model_validator(mode="after")
    def _says_something(self) -> PolicyFor:
        if not self.names:
            raise ValueError("found no constant")
        return self

    @property
    def names(self) -> list[str]:
        """The constants given."""
        return [name for name in type(self).model_fields if name in self.model_fields_set - {"where"}]


class ObjectivesFor(Entry):
    """The objectives of one segment."""

    where: Annotated[Where, t.Says(f"a table of one of {_DIMENSIONS}, with a value openings state")]
    objectives: t.Table[t.SignName, t.Ratio]

    @model_validator(mode="before")
    @classmethod
    def _by_sign(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        objectives = {name: value for name, value in given.items() if name != "where"}
        return {**({"where": given["where"]} if "where" in given else {}), "objectives": objectives}

    @model_validator(mode="after")
    def _says_something(self) -> ObjectivesFor:
        if not self.objectives:
            raise ValueError("found no vital sign")
        return self

    @field_validator("where", mode="after")
    @classmethod
    def _is_of_a_level(cls, where: Where) -> Where:
        if len(where.values) > 1:
            raise ValueError(f"found {len(where.values)} dimensions")
        return where

    @model_serializer(mode="wrap")
    def _as_written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written = write(self)
        return {"where": written["where"], **written["objectives"]}


class ObjectiveOf(NamedTuple):
    """The objective of a vital sign in one segment of a level."""

    sign: str
    level: str
    segment: str
    ratio: float


class Settings(Group, BaseSettings, case_sensitive=True, validate_default=False):
    """The service as a whole."""

    data_folder: t.Folder = Path("cxstream-data")
    """Folder of the worker's own, made if missing."""
    linger_seconds: t.Seconds = Field(90.0, ge=0, le=3600)
    """How long the last figures of a lost partition are still shown, with their generation."""
    drain_seconds: t.Seconds = Field(20.0, ge=0, le=600)
    """How long a rebalance or a stop waits for what is in flight, at most; and how long a worker that has left in order
    goes on showing its last figures, until others have taken over."""
    erasure_key: t.Secret | None = None
    """Key of the hash under which an erased case is remembered; without one, who knows a case id can find it."""
    sign_tiers: t.SignTiers = ("A",)
    """Tiers of vital signs that are judged and published (docs/rules.md, section 9): A is the product; B and C each add
    their signs' series to every partition, and the time to judge them. The same for all workers of a group."""
    objectives: t.Table[t.SignName, t.Ratio] = {}
    """Objectives of vital signs; one that is not named keeps the objective of the catalogue."""
    objectives_for: Annotated[
        tuple[ObjectivesFor, ...],
        MaxLen(1000),
        t.Says("a list of at most 1000 tables [[objectives_for]], each with where and vital signs with a ratio"),
    ] = ()
    """Objectives of single segments, shown at the level of the dimension that `where` names: `ledger.levels` must have
    it. Of several for one sign and segment the last counts. In a variable: as JSON."""
    policy_for: Annotated[
        tuple[PolicyFor, ...],
        MaxLen(100),
        t.Says("a list of at most 100 tables [[policy_for]], each with where and constants of [policy]"),
    ] = ()
    """Constants of the policy that are different for the cases of single segments. Of several entries that fit a case
    and name a constant the last counts. In a variable: as JSON."""
    kafka: Kafka = Kafka()
    schema_: Schema = Field(Schema(), alias="schema")
    limits: Limits = Limits()
    http: Http = Http()
    pages: Pages = Pages()
    sources: Sources = Sources()
    ingress: Ingress = Ingress()
    dead_letters: DeadLetters = DeadLetters()
    ledger: Ledger = Ledger()
    log: Log = Log()
    judged_by: Judging = Field(Judging(), alias="policy")
    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(cls, *_: Any, **sources: Any) -> tuple[PydanticBaseSettingsSource, ...]:  # noqa: ANN401
        """Read nothing by itself: `load` says what there is to read."""
        return (sources["init_settings"],)

    @property
    def schema(self) -> Schema:  # type: ignore[override]  # a field may not have the name of a method of pydantic
        """Which Avro schema a message was written with."""
        return self.schema_

    @property
    def origins(self) -> dict[str, str]:
        """Where settings came from, `file` or `env VARIABLE`, by dotted name; others are defaults."""
        return self._origins

    def windows(self) -> Windows:
        """Return the windows, levels and closed label lists the ledgers count by."""
        windows, lists = self.ledger.windows, self.ledger.label_values.model_dump()
        levels = tuple(
            Level(name=name, dimensions=_dimensions(name), windows=windows if _ALL in labels else labels)
            for name, labels in self.ledger.levels.items()
        )
        closed = {dimension: frozenset(values) for dimension, values in lists.items() if values}
        return Windows(
            lengths_ms={label: t.duration_ms(label) for label in windows},
            levels=levels,
            label_values=closed,
            risk_horizon_ms=self.ledger.risk_horizon,
            live_levels=self.ledger.live_levels,
            time_windows=self.ledger.time_windows,
            signs=frozenset(self.catalogue()),
        )

    def catalogue(self) -> Signs:
        """Return the vital signs that are judged and published, by name."""
        return of_tiers(self.sign_tiers)

    def policy(self) -> Policy:
        """Return the policy verdicts are judged by."""
        constants: dict[str, Any] = {_FIELDS[name]: getattr(self.judged_by, name) for name in Judging.model_fields}
        return Policy(
            facts_per_case=self.limits.max_facts_per_case,
            longest_window_ms=max(map(t.duration_ms, self.ledger.windows)),
            overrides=tuple(
                Override(entry.where.values, {_FIELDS[name]: getattr(entry, name) for name in entry.names})
                for entry in self.policy_for
            ),
            **constants,
        )

    def objective_ratios(self) -> dict[str, float]:
        """Return the objective of every vital sign that is judged and has one."""
        default = {name: sign.objective for name, sign in self.catalogue().items() if sign.objective is not None}
        return {name: self.objectives.get(name, objective) for name, objective in default.items()}

    def objectives_of_segments(self) -> list[ObjectiveOf]:
        """Return the objectives of single segments of the vital signs that are judged and have one, each once."""
        known = self.objective_ratios()
        stated: dict[tuple[str, str, str], float] = {}
        for entry in self.objectives_for:
            ((level, segment),) = entry.where.values.items()
            stated |= {(sign, level, segment): ratio for sign, ratio in entry.objectives.items() if sign in known}
        return [ObjectiveOf(*of, ratio) for of, ratio in stated.items()]


_FIELDS = {name.removesuffix("_ms"): name for name in Policy.__struct_fields__}
"""Constants of the policy as the domain calls them."""

Clash = tuple[tuple[str, ...], str, str]
"""The settings that clash (the first is blamed), what was found, what is expected."""


def clashes(settings: Settings) -> Iterator[Clash]:
    """Yield what is wrong with settings that are right each for itself."""
    yield from _topics(settings.kafka)
    yield from _security(settings)
    yield from _ingress(settings)
    kafka, session = settings.kafka, "kafka.session_timeout_seconds"
    if kafka.heartbeat_seconds * 3 > kafka.session_timeout_seconds:
        expected = f"at most a third of session_timeout_seconds, which is {kafka.session_timeout_seconds:g}"
        yield ("kafka.heartbeat_seconds", session), f"found {kafka.heartbeat_seconds:g}", expected
    yield from _levels(settings.ledger)
    missing = [priority for priority in vocabulary.PRIORITIES if priority not in settings.judged_by.first_response]
    if missing:
        yield ("policy.first_response",), f"{', '.join(missing)} not there", "a target for every priority"
    pages = settings.pages
    if pages.search_seconds >= pages.answer_seconds:
        names, found = ("pages.search_seconds", "pages.answer_seconds"), f"found {pages.search_seconds:g}"
        yield names, found, f"less than answer_seconds, which is {pages.answer_seconds:g}"
    yield from _without_effect(settings)
    yield from _objectives(settings)


def _without_effect(settings: Settings) -> Iterator[Clash]:
    here, limited = "policy_for", set(settings.judged_by.silence_limit_by_priority)
    for number, entry in enumerate(settings.policy_for, 1):
        priority = entry.where.values.get("priority")
        for name in ("first_response", "silence_limit_by_priority"):
            others = ", ".join(sorted(getattr(entry, name).keys() - {priority}))
            if priority and name in entry.names and others:
                found = f"entry {number}, {name}: found {others} where priority is {priority}"
                yield (here,), found, f"a table of {priority} alone"
        limited |= entry.silence_limit_by_priority.keys() if "silence_limit_by_priority" in entry.names else set()
        if priority in limited and "silence_limit" in entry.names:
            found = f"entry {number}, silence_limit: {priority} has a limit of its own, which counts before it"
            yield (here, "policy.silence_limit_by_priority"), found, f"silence_limit_by_priority.{priority}"


def _objectives(settings: Settings) -> Iterator[Clash]:
    ledger, lists = settings.ledger, settings.ledger.label_values.model_dump()
    for number, entry in enumerate(settings.objectives_for, 1):
        for dimension, value in entry.where.values.items():
            found = f"entry {number}, where: "
            if dimension not in ledger.levels:
                levels = ", ".join(sorted(ledger.levels.keys() & set(Segment.__struct_fields__))) or "none"
                found += f"{dimension} is no level that is published"
                yield ("objectives_for", "ledger.levels"), found, f"a dimension of ledger.levels ({levels})"
            elif lists[dimension] and value not in lists[dimension]:
                found += f"{t.shown(value)} is published as {OTHER}"
                names = ("objectives_for", f"ledger.label_values.{dimension}")
                yield names, found, f"a value of {names[1]}{t.nearest(value, lists[dimension], ', perhaps {}')}"


def _topics(kafka: Kafka) -> Iterator[Clash]:
    sources = kafka.topics.by_kind().values()
    names = tuple(f"kafka.topics.{kind}" for kind in kafka.topics.by_kind())
    for source, count in Counter(sources).items():
        if count > 1:
            yield names, f"{t.shown(source)} is the name of {count} source topics", "a topic of its own for each"
    if kafka.verdicts in sources:
        yield ("kafka.verdicts_topic", *names), f"{t.shown(kafka.verdicts)} is a source topic", "a topic of its own"
    for topic in kafka.trusted_topics:
        if topic not in sources:
            found = f"{t.shown(topic)} is no source topic{t.nearest(topic, sources, ', did you mean {}?')}"
            yield ("kafka.trusted_topics", *names), found, f"some of {', '.join(sources)}"


def _security(settings: Settings) -> Iterator[Clash]:
    kafka, schema = settings.kafka, settings.schema
    yield from _login(kafka)
    if not kafka.security_protocol.endswith("SSL"):
        because = f"security_protocol is {kafka.security_protocol}, which is not TLS"
        for key in ("ca_file", "cert_file", "key_file", "key_password"):
            if getattr(kafka, key) is not None:
                expected = "SSL or SASL_SSL there, or nothing here"
                yield (f"kafka.{key}", _PROTOCOL), f"set, and {because}", expected
    for group, one, other in (
        ("kafka", "cert_file", "key_file"),
        ("http", "cert_file", "key_file"),
        ("ingress", "cert_file", "key_file"),
        ("schema", "registry_username", "registry_password"),
    ):
        of = getattr(settings, group)
        for key, partner in ((one, other), (other, one)):
            if getattr(of, key) is None and getattr(of, partner) is not None:
                names = (f"{group}.{key}", f"{group}.{partner}")
                yield names, f"not set, and {names[1]} is", "both or neither"
    for group in ("kafka", "http"):
        if getattr(settings, group).key_password is not None and getattr(settings, group).key_file is None:
            yield (f"{group}.key_file", f"{group}.key_password"), "not set, and key_password is", "both or neither"
    if schema.registry_username is not None and schema.registry_url is None:
        names = ("schema.registry_url", "schema.registry_username")
        yield names, "not set, and registry_username is", "the registry's URL"


_OWN_HOSTS = re.compile(r"127(\.[0-9]{1,3}){3}|::1|localhost")


def _ingress(settings: Settings) -> Iterator[Clash]:
    ingress, names = settings.ingress, ("ingress.tokens", "ingress.token")
    try:
        sources = ingress.sources
    except ValueError as error:
        expected = f"at most {MAX_SOURCES} entries source=token, each with a source and a token of its own"
        yield names, f"found something else: {error}", expected
        return
    if not sources and not _OWN_HOSTS.fullmatch(ingress.host):
        found = f"not set, and ingress.host is {t.shown(ingress.host)}"
        yield ("ingress.token", "ingress.host"), found, "a token, or 127.0.0.1 there"
    missing = {
        kind for kind in vocabulary.TOPICS if not any(n.startswith(f"{kind}/") for n in settings.schema.ids.values())
    }
    if ingress.framing == "registry" and missing:
        found = f"found registry, and schema.ids names no schema of {', '.join(sorted(missing))}"
        yield ("ingress.framing", "schema.ids"), found, "an id for each of them there, or single-object here"


_PROTOCOL = "kafka.security_protocol"


def _login(kafka: Kafka) -> Iterator[Clash]:
    """Yield what is wrong with user and password, or with the token."""
    by_token = kafka.sasl_mechanism == "OAUTHBEARER"
    logs_in = kafka.security_protocol.startswith("SASL_")
    because = f"security_protocol is {kafka.security_protocol}"
    if logs_in and by_token:
        yield from _token(kafka)
    else:
        for key in _OF_TOKEN:
            if getattr(kafka, key):
                expected = "a SASL protocol and OAUTHBEARER there, or nothing here"
                yield (f"kafka.{key}", "kafka.sasl_mechanism"), "set, and there is no login by token", expected
    for name, value in (("kafka.username", kafka.username), ("kafka.password", kafka.password)):
        if logs_in and not by_token and value is None:
            yield (name, _PROTOCOL), f"not set, and {because}", "one to log in with"
        if logs_in and by_token and value is not None:
            found = "set, and sasl_mechanism is OAUTHBEARER"
            yield (name, "kafka.sasl_mechanism"), found, "nothing here: a token is what logs in"
        if not logs_in and value is not None:
            expected = "SASL_SSL or SASL_PLAINTEXT there, or nothing here"
            yield (name, _PROTOCOL), f"set, and {because}, which does not log in", expected


_OF_TOKEN = tuple(name for name in Kafka.model_fields if name.startswith("oauth_"))


def _token(kafka: Kafka) -> Iterator[Clash]:
    """Yield what is wrong with where the token is from: a file, or an endpoint with what it asks for."""
    names = ("kafka.oauth_token_file", "kafka.oauth_token_url")
    from_file, from_url = kafka.oauth_token_file is not None, kafka.oauth_token_url is not None
    if from_file == from_url:
        found = "set, and oauth_token_url is" if from_file else "not set, and oauth_token_url is not"
        yield names, found, "one of them, with sasl_mechanism OAUTHBEARER"
        return
    for key in ("oauth_client_id", "oauth_client_secret"):
        if from_url and getattr(kafka, key) is None:
            yield (
                (f"kafka.{key}", names[1]),
                "not set, and oauth_token_url is",
                "what the endpoint knows this client by",
            )
    for key in ("oauth_client_id", "oauth_client_secret", "oauth_scope", "oauth_ca_file"):
        if from_file and getattr(kafka, key) is not None:
            yield (f"kafka.{key}", names[0]), "set, and oauth_token_file is", "an oauth_token_url, or nothing here"


def _levels(ledger: Ledger) -> Iterator[Clash]:
    here, windows = ("ledger.levels",), ledger.windows
    by_length: dict[int, str] = {}
    for label in windows:
        same = by_length.setdefault(t.duration_ms(label), label)
        if same != label:
            yield ("ledger.windows",), f"{same} and {label} are the same length", "different lengths"
    if "job" not in ledger.levels:
        yield here, "job is not there", "the level job, for the whole"
    for level, labels in ledger.levels.items():
        dimensions = _dimensions(level)
        if len(set(dimensions)) < len(dimensions) or not set(dimensions) <= set(Segment.__struct_fields__):
            expected = f"job, or different ones of {', '.join(Segment.__struct_fields__)} joined by '_'"
            yield here, f"found the level {level}", expected
        if _ALL in labels and len(labels) > 1:
            yield here, f"{level} names {_ALL} and others", f"{_ALL} alone, or the windows"
        for label in labels:
            if label not in (*windows, _ALL):
                expected = f"{_ALL} or some of ledger.windows ({', '.join(windows)})"
                yield (*here, "ledger.windows"), f"{level} names the window {t.shown(label)}", expected


def _dimensions(level: str) -> tuple[str, ...]:
    return () if level == "job" else tuple(level.split("_"))
