"""Security on a real Apache Kafka: logins and certificates, secrets that are never shown, people who are named nowhere.

One broker and one job serve all tests: three workers in one group, each logged in in another way, all writing all they
have to say, read what names people wherever that can be done.
"""

from __future__ import annotations

import asyncio
import json
import logging.config
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiokafka.partitioner import murmur2
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization

from cxstream.cli import main
from cxstream.demo.upstream import Delivery
from cxstream.domain import vocabulary
from cxstream.kafka.connection import ConnectError, Connection, client_tls, connection
from cxstream.kafka.oauth import TokenEndpoint, TokenFile, TokenUnavailableError
from cxstream.kafka.reaching import reach
from cxstream.kafka.records import read_board, read_case
from parts.apache_kafka import ApacheKafka
from parts.broker import require_apache_kafka
from parts.messages import write as written_unchecked
from parts.poison import an_opening, poison_of
from parts.producer import Job, Message
from parts.secured import (
    CLIENT_ID,
    CLIENT_SECRET,
    PASSWORD,
    REAUTHENTICATE_MS,
    USER,
    Certificates,
    TokenServer,
    a_token,
    secured_kafka,
)
from parts.worker import PREFIX, WorkerProcess

NAME, MAIL, PHONE = "Zebediah Quarles", "zeb.quarles@example.org", "+1-202-555-0173"
PERSON = (NAME, MAIL, PHONE)
WORDS = f"{NAME} <{MAIL}> {PHONE}"
ERASED, NEIGHBOUR, ABSORBED, SURVIVOR = "case-7781", "case-7782", "case-7783", "case-7784"
SECRETS = {
    "ERASURE_KEY": "ek-9fQz2LmT",
    "HTTP_CASE_DATA_TOKEN": "ht-3vBn8KpR",
    "SCHEMA_REGISTRY_PASSWORD": "rp-6xWc1JdS",
    "KAFKA_PASSWORD": PASSWORD,
    "KAFKA_OAUTH_CLIENT_SECRET": CLIENT_SECRET,
    "KAFKA_KEY_PASSWORD": "kp-5tHg4MzV",
}
TOKEN_SECONDS = 10.0


@dataclass
class Secured:
    """The broker, what there is to log in with, and who gives tokens."""

    kafka: ApacheKafka
    certificates: Certificates
    tokens: TokenServer
    folder: Path

    @property
    def tls(self) -> Any:  # noqa: ANN401 - ssl.SSLContext, made anew
        """TLS of a client that trusts the broker."""
        return client_tls(self.certificates.ca_file)


@dataclass
class Told:
    """All that workers and commands said while the job ran, and what the brokers hold at its end."""

    job: Job
    output: dict[str, str] = field(default_factory=dict)
    """What each process printed."""
    scrapes: dict[str, str] = field(default_factory=dict)
    consumed: list[dict[str, float]] = field(default_factory=list)
    """Records each worker had taken, at the ends of the parts of the job."""
    keys_before: float = 0
    keys_after: float = 0
    """Case records in the workers' memory before one left, and after others took over."""

    @property
    def texts(self) -> dict[str, str]:
        """Everything that was said, by who said it."""
        return {**self.output, **{f"metrics of {name}": text for name, text in self.scrapes.items()}}


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A broker that wants certificates, passwords and tokens, each on a listener of its own."""
    require_apache_kafka()
    folder = tmp_path_factory.mktemp("secured")
    certificates = Certificates(folder / "certificates")
    with TokenServer(certificates, TOKEN_SECONDS) as tokens, secured_kafka(certificates) as kafka:
        yield Secured(kafka, certificates, tokens, folder)


# --- logins ---------------------------------------------------------------------------------------------------------

Login = Callable[[Secured, Path], tuple[str, Connection]]


def by_password(mechanism: str, password: str = PASSWORD) -> Login:
    """Log in with a password over TLS."""
    return lambda at, _folder: (
        at.kafka.bootstrap_of("LOGIN"),
        connection("SASL_SSL", mechanism=mechanism, username=USER, password=password, tls=at.tls),
    )


def by_certificate(name: str) -> Login:
    """Show a certificate, or none."""

    def login(at: Secured, _folder: Path) -> tuple[str, Connection]:
        certificates = at.certificates
        own = {
            "own": (certificates.cert_file, certificates.key_file),
            "other": (certificates.other_cert_file, certificates.other_key_file),
            "none": (),
        }[name]
        return at.kafka.bootstrap_of("MTLS"), connection("SSL", tls=client_tls(certificates.ca_file, *own))

    return login


def by_token(content: str, **other: Any) -> Login:  # noqa: ANN401 - of TokenFile
    """Log in with what stands in a file."""

    def login(at: Secured, folder: Path) -> tuple[str, Connection]:
        path = folder / "token"
        path.write_text(content)
        return at.kafka.bootstrap_of("TOKEN"), connection("SASL_PLAINTEXT", tokens=TokenFile(path, **other))

    return login


def by_endpoint(secret: str = CLIENT_SECRET, *, trusting: str = "ca_file") -> Login:
    """Log in with what the token endpoint gives."""

    def login(at: Secured, _folder: Path) -> tuple[str, Connection]:
        tls = client_tls(getattr(at.certificates, trusting), group="kafka.oauth_")
        tokens = TokenEndpoint(at.tokens.url, CLIENT_ID, secret, tls=tls, scope="kafka")
        return at.kafka.bootstrap_of("TOKEN"), connection("SASL_PLAINTEXT", tokens=tokens)

    return login


def at_listener(listener: str, login: Login, *, host: str = "localhost") -> Login:
    """Log in elsewhere, or under another name of the broker."""

    def at_other(at: Secured, folder: Path) -> tuple[str, Connection]:
        other = at.kafka.bootstrap if listener == "CLIENT" else at.kafka.bootstrap_of(listener)
        return other.replace("localhost", host), login(at, folder)[1]

    return at_other


def in_the_clear(_at: Secured, _folder: Path) -> tuple[str, Connection]:
    """Speak without TLS and login."""
    return "", connection("PLAINTEXT")


def password_in_the_clear(_at: Secured, _folder: Path) -> tuple[str, Connection]:
    """Log in with a password, without TLS."""
    return "", connection("SASL_PLAINTEXT", mechanism="PLAIN", username=USER, password=PASSWORD)


def over_tls(at: Secured, _folder: Path) -> tuple[str, Connection]:
    """Speak TLS without a login."""
    return "", connection("SSL", tls=at.tls)


def trusting_another(at: Secured, _folder: Path) -> tuple[str, Connection]:
    """Trust an authority that is not the broker's."""
    return "", connection("SSL", tls=client_tls(at.certificates.other_ca_file))


@pytest.mark.parametrize(
    "login",
    [
        by_password("PLAIN"),
        by_password("SCRAM-SHA-256"),
        by_password("SCRAM-SHA-512"),
        by_certificate("own"),
        by_token(a_token()),
        by_endpoint(),
    ],
    ids=["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "mutual TLS", "token file", "token endpoint"],
)
def test_the_broker_takes_each_login(secured: Secured, tmp_path: Path, login: Login) -> None:
    """PLAIN, SCRAM and tokens log in, and a certificate of the right authority is let in."""
    bootstrap, made = login(secured, tmp_path)
    asyncio.run(reach(bootstrap, made.client))


REFUSED: dict[str, tuple[Login, str]] = {
    "PLAIN": (by_password("PLAIN", "wrong-guess"), "kafka.password: .* refused the login of the user .* by PLAIN"),
    "SCRAM": (by_password("SCRAM-SHA-512", "wrong-guess"), "kafka.password: .* by SCRAM-SHA-512"),
    "mechanism": (at_listener("TOKEN", password_in_the_clear), "kafka.sasl_mechanism: .* does not offer PLAIN"),
    "no certificate": (by_certificate("none"), "kafka.cert_file: .* refuses this client's certificate"),
    "wrong certificate": (by_certificate("other"), "kafka.cert_file: .* refuses this client's certificate"),
    "untrusted": (at_listener("LOGIN", trusting_another), "kafka.ca_file: the certificate of .* is not trusted"),
    "wrong host": (
        at_listener("LOGIN", by_password("PLAIN"), host="127.0.0.1"),
        "kafka.bootstrap: the certificate of 127.0.0.1:[0-9]+ is for another name",
    ),
    "no TLS": (at_listener("MTLS", in_the_clear), "kafka.security_protocol: .* speaks TLS"),
    "no login": (at_listener("CLIENT", by_token(a_token())), "kafka.security_protocol: .* takes no login"),
    "expired token": (by_token(a_token(-1)), "kafka.oauth_token_file: the token in the file has expired"),
    "token expired for the broker": (
        by_token(a_token(-1), wall_seconds=lambda: 0.0),
        "kafka.oauth_token_file or kafka.oauth_token_url: .* refused the login by token .invalid_token.",
    ),
    "no token": (by_token("no token at all"), "kafka.oauth_token_file: the file holds no token"),
    "wrong client secret": (
        by_endpoint("wrong-guess"),
        "kafka.oauth_client_secret: the token endpoint localhost refused with status 401 .invalid_client.",
    ),
    "untrusted token endpoint": (
        by_endpoint(trusting="other_ca_file"),
        "kafka.oauth_ca_file: the certificate of the token endpoint localhost is not trusted",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_refusal_names_the_setting_and_no_secret(secured: Secured, tmp_path: Path, what: str) -> None:
    """What will not work however often it is tried is told at once, by the setting to mend."""
    login, message = REFUSED[what]
    bootstrap, made = login(secured, tmp_path)
    with pytest.raises(ConnectError, match=message) as refused:
        asyncio.run(reach(bootstrap, made.client))
    said = str(refused.value)
    assert "wrong-guess" not in said
    assert all(secret not in said for secret in SECRETS.values())
    assert "eyJ" not in said


@pytest.mark.parametrize(
    ("listener", "login", "hint"),
    [
        ("CLIENT", over_tls, "does kafka.security_protocol fit its listener"),
        ("LOGIN", over_tls, "does its listener want a login"),
        ("TOKEN", in_the_clear, "does its listener want a login"),
    ],
)
def test_what_may_be_a_broker_on_its_way_up_is_hinted_at(
    secured: Secured, tmp_path: Path, listener: str, login: Login, hint: str
) -> None:
    """A connection that is closed without a word may also be a broker that starts: it is tried again, with a hint."""
    bootstrap, made = at_listener(listener, login)(secured, tmp_path)
    with pytest.raises(OSError, match=hint):
        asyncio.run(reach(bootstrap, made.client))


def test_a_token_endpoint_that_is_away_is_asked_again(secured: Secured) -> None:
    """A token in use is handed out while it is valid; then there is none, and that may change."""
    now = [0.0]
    tls = client_tls(secured.certificates.ca_file)
    login = (secured.tokens.url, CLIENT_ID, CLIENT_SECRET)
    tokens = TokenEndpoint(*login, tls=tls, scope="kafka read", clock_seconds=lambda: now[0])
    first = tokens.fetch()
    assert tokens.fetch() == first
    now[0] = 0.9 * TOKEN_SECONDS
    secured.tokens.status = 503
    try:
        assert tokens.fetch() == first
        now[0] = TOKEN_SECONDS
        with pytest.raises(TokenUnavailableError, match=r"^kafka.oauth_token_url: .* localhost answered 503$"):
            tokens.fetch()
    finally:
        secured.tokens.status = 200
    assert tokens.fetch() == secured.tokens.given[-1]
    assert secured.tokens.asked[-1] == {"grant_type": ["client_credentials"], "scope": ["kafka read"]}


# --- the job --------------------------------------------------------------------------------------------------------


def settings_of(secured: Secured, job: Job, name: str) -> dict[str, str]:
    """Return the settings of a worker that logs in in one of three ways; its secrets are in files, where it has any."""
    folder = secured.folder / name
    folder.mkdir()
    certificates = secured.certificates
    secrets = {"ERASURE_KEY", "HTTP_CASE_DATA_TOKEN", "SCHEMA_REGISTRY_PASSWORD"}
    kafka: dict[str, object] = {}
    if name == "password":
        kafka |= {"BOOTSTRAP": secured.kafka.bootstrap_of("LOGIN"), "SECURITY_PROTOCOL": "SASL_SSL"}
        kafka |= {"SASL_MECHANISM": "SCRAM-SHA-512", "USERNAME": USER, "CA_FILE": certificates.ca_file}
        secrets |= {"KAFKA_PASSWORD"}
    elif name == "certificate":
        key = folder / "worker.key"
        key.write_bytes(encrypted(certificates.key_file.read_bytes(), SECRETS["KAFKA_KEY_PASSWORD"]))
        kafka |= {"BOOTSTRAP": secured.kafka.bootstrap_of("MTLS"), "SECURITY_PROTOCOL": "SSL"}
        kafka |= {"CA_FILE": certificates.ca_file, "CERT_FILE": certificates.cert_file, "KEY_FILE": key}
        secrets |= {"KAFKA_KEY_PASSWORD"}
    else:
        kafka |= {"BOOTSTRAP": secured.kafka.bootstrap_of("TOKEN"), "SECURITY_PROTOCOL": "SASL_PLAINTEXT"}
        kafka |= {"SASL_MECHANISM": "OAUTHBEARER", "OAUTH_TOKEN_URL": secured.tokens.url}
        kafka |= {"OAUTH_CLIENT_ID": CLIENT_ID, "OAUTH_CA_FILE": certificates.ca_file, "OAUTH_SCOPE": "kafka"}
        secrets |= {"KAFKA_OAUTH_CLIENT_SECRET"}
    for one in secrets:
        (folder / one).write_text(SECRETS[one] + "\n")
    return {
        **job.settings(folder / "data"),
        **{f"{PREFIX}KAFKA_{setting}": str(value) for setting, value in kafka.items()},
        **{f"{PREFIX}{one}_FILE": str(folder / one) for one in secrets},
        f"{PREFIX}KAFKA_DECLARE_TOPICS": "true",
        f"{PREFIX}SCHEMA_REGISTRY_URL": "https://localhost:1",
        f"{PREFIX}SCHEMA_REGISTRY_USERNAME": "reader",
        f"{PREFIX}LOG_LEVEL": "DEBUG",
        f"{PREFIX}LOG_FORMAT": "json" if name == "password" else "console",
        f"{PREFIX}LEDGER_LABEL_VALUES_REGION": "north",
        f"{PREFIX}LEDGER_LABEL_VALUES_PRODUCT": "pump",
        f"{PREFIX}LIMITS_MAX_MESSAGE_BYTES": "20000",
    }


def encrypted(key: bytes, password: str) -> bytes:
    """Return a private key that needs a password."""
    encryption = serialization.BestAvailableEncryption(password.encode())
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    return serialization.load_pem_private_key(key, None).private_bytes(*form)


def naming_people(now_ms: int) -> list[dict[str, object]]:
    """Return one event of every type with the words in every field that takes text, ids included; all are facts."""
    events: list[dict[str, object]] = []
    for number, (topic, name) in enumerate(vocabulary.EVENT_TYPES):
        if name == "erased":
            continue
        event: dict[str, object] = {"event_id": f"{WORDS} e{number}", "topic": topic, "type": name, "at": now_ms}
        event |= {"case_id": f"{WORDS} c{number % 5}"}
        for field_name, about in (vocabulary.fields_of(topic, name) or {}).items():
            if about.kind == "text":
                event[field_name] = f"{WORDS} {field_name}"
        events.append(event)
        corrected = {"event_id": f"{WORDS} f{number}", "topic": topic, "type": "corrected", "at": now_ms}
        change = {"symptom": WORDS, "region": WORDS, "asset_id": f"{WORDS} asset"}
        events.append({**corrected, "case_id": event["case_id"], "target": event["event_id"], "set": change})
    other = {"event_id": f"{WORDS} other", "topic": "ticket", "type": f"met {WORDS}", "at": now_ms}
    events.append({**other, "case_id": f"{WORDS} c1", NAME: MAIL, "phone": PHONE})
    return events


def of_every_partition(job: Job, now_ms: int, part: str) -> list[dict[str, object]]:
    """Return an opening for each partition, so that every worker has something to read."""
    found: dict[int, str] = {}
    for number in range(1_000):
        case_id = f"{part}-{number}"
        found.setdefault((murmur2(case_id.encode()) & 0x7FFFFFFF) % job.partitions, case_id)
    return [an_opening(case_id, now_ms) for case_id in found.values()]


def naming_people_wrongly(job: Job, now_ms: int) -> list[Message]:
    """Return records that are no facts, and name people in what is wrong with them."""
    ticket, key = job.topics["ticket"], f"{WORDS} c1".encode()
    good = job.codec.encode(
        {"event_id": WORDS, "topic": "ticket", "type": "opened", "case_id": key.decode(), "at": now_ms}
    )
    filled = dict.fromkeys(vocabulary.EVENT_TYPES["ticket", "opened"]) | {"kind": "break_fix"}
    base = {"event_id": WORDS, "topic": "ticket", "type": "opened", "case_id": key.decode(), "at": now_ms, **filled}
    wrong = [
        {**base, "kind": NAME},
        {**base, "priority": WORDS},
        {**base, "tz": MAIL},
        {**base, "symptom": WORDS * 40},
        {**base, "at": now_ms + 10**9},
        {**base, "event_id": ""},
    ]
    headers = [("cxstream-delivered-at", WORDS.encode()), (NAME, MAIL.encode())]
    return [
        *(Message(ticket, key, written_unchecked(event), [(NAME, PHONE.encode())]) for event in wrong),
        *(Message(ticket, *poison) for poison in poison_of(job.codec, now_ms).values()),
        Message(ticket, MAIL.encode(), good),
        Message(ticket, key, good, headers),
        Message(ticket, key, good[:-3] + WORDS.encode()),
        Message(ticket, key, json.dumps(base).encode()),
        Message(ticket, key, WORDS.encode()),
        Message(ticket, key, good * 100),
        Message(ticket, None, b"\x00\x00\x00\x00\x07" + WORDS.encode()),
    ]


def to_be_erased(now_ms: int) -> list[dict[str, object]]:
    """Return a case that names people, its neighbour on the asset, and one that was merged into a survivor."""

    def event(case_id: str, number: int, topic: str, name: str, **fields: object) -> dict[str, object]:
        head = {"event_id": f"{case_id}-{number}", "topic": topic, "type": name, "case_id": case_id}
        return {**head, "at": now_ms - 1_000 + number, **fields}

    opening = {"asset_id": "asset-42", "kind": "break_fix", "symptom": WORDS, "account_ref": MAIL, "channel": PHONE}
    visit = {"visit_id": "visit-9", "technician_id": WORDS}
    return [
        *(event(case_id, 1, "ticket", "opened", **opening) for case_id in (ERASED, NEIGHBOUR, ABSORBED, SURVIVOR)),
        event(ERASED, 2, "ticket", "corrected", target=f"{ERASED}-1", set={"symptom": f"{WORDS}!", "channel": MAIL}),
        event(ERASED, 3, "ticket", "cancelled", by=WORDS),
        *(event(case_id, 4, "dispatch", "arrived", **visit) for case_id in (ERASED, ABSORBED)),
        event(ABSORBED, 5, "ticket", "merged", into=SURVIVOR),
        event(ABSORBED, 6, "ticket", "value_added", what=WORDS),
        event(ABSORBED, 7, "parts", "required", line_id="line-1", part_no=WORDS),
    ]


def deliveries(events: list[dict[str, object]], now_ms: int) -> list[Delivery]:
    """Return events as they are delivered: now."""
    return [Delivery(now_ms, event["topic"], event) for event in events]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def told(secured: Secured) -> Told:
    """Run the job: three workers read what names people, one of them leaves, a case is erased; then they stop."""
    job = Job(secured.kafka.bootstrap, "secure")
    told = Told(job)
    every = {name: settings_of(secured, job, name) for name in ("password", "certificate", "token")}
    own = {f"{PREFIX}HTTP_CERT_FILE": "cert", f"{PREFIX}HTTP_KEY_FILE": "key"}
    own = dict(zip(own, (secured.folder / "http.pem", secured.folder / "http.key"), strict=True))  # type: ignore[arg-type]
    secured.certificates.server.cert_chain_pems[0].write_to_path(secured.folder / "http.pem")
    secured.certificates.server.private_key_pem.write_to_path(secured.folder / "http.key")
    every["token"] |= {name: str(path) for name, path in own.items()}
    workers = {
        name: WorkerProcess(
            settings,
            secured.folder / f"{name}.log",
            authority=secured.certificates.ca_file if name == "token" else None,
        )
        for name, settings in every.items()
    }
    try:
        for worker in workers.values():
            worker.launch()
        _run(secured, told, workers)
        for name, settings in every.items():
            told.output[f"cxstream config, {name}"] = commanded("config", settings)
        told.output["cxstream policies"] = commanded("policies", every["password"])
        for name in ("certificate", "token"):
            workers[name].stop()
    finally:
        for worker in workers.values():
            worker.kill()
    told.output |= {f"worker {name}": worker.log.read_text() for name, worker in workers.items()}
    return told


def commanded(command: str, settings: Mapping[str, str]) -> str:
    """Return what a command prints with these settings; it must succeed."""
    inherited = dict.fromkeys(name for name in os.environ if name.startswith(PREFIX))
    done = CliRunner().invoke(main, [command], env={**inherited, **settings})
    assert done.exit_code == 0, done.output
    return done.output


def _run(secured: Secured, told: Told, workers: Mapping[str, WorkerProcess]) -> None:
    job, (first, *others) = told.job, workers.values()
    names = list(workers)

    def in_all(metric: str, asked: Mapping[str, WorkerProcess] = workers) -> dict[str, float]:
        return {name: worker.metrics().sum(metric) for name, worker in asked.items()}

    def wait_for(count: float, what: str, metric: str, asked: Mapping[str, WorkerProcess] = workers) -> None:
        for worker in asked.values():
            worker.wait_for(lambda one=worker: one.ask("/livez").status == 200, "200 at /livez", seconds=60)  # type: ignore[misc]
        others[0].wait_for(lambda: time.sleep(0.2) or sum(in_all(metric, asked).values()) == count, what, seconds=60)

    wait_for(job.partitions, "all partitions spoken for", "cxstream_partition_ready")
    began = time.monotonic()
    others[0].wait_for(lambda: min(in_all("cxstream_partition_ready").values()) > 0, "a part for each", seconds=60)
    now_ms = int(time.time() * 1000)
    people = deliveries(naming_people(now_ms), now_ms)
    wrong = naming_people_wrongly(job, now_ms)
    cases = deliveries([*to_be_erased(now_ms), *of_every_partition(job, now_ms, "first")], now_ms)
    job.deliver([*people, *cases])
    job.produce(wrong)
    sent = len(people) + len(wrong) + len(cases)
    wait_for(sent, "all records taken", "cxstream_events_consumed_total")
    told.consumed.append(in_all("cxstream_events_consumed_total"))
    time.sleep(
        max(0.0, began + REAUTHENTICATE_MS / 1000 + 1 - time.monotonic())
    )  # connections that logged in by token are closed meanwhile
    later = deliveries(of_every_partition(job, now_ms, "later"), now_ms)
    job.deliver(later)
    sent += len(later)
    wait_for(sent, "all records taken after tokens expired", "cxstream_events_consumed_total")
    told.consumed.append(in_all("cxstream_events_consumed_total"))
    told.keys_before = sum(worker.metrics().sum("cxstream_table_keys", table="cases") for worker in workers.values())
    told.scrapes |= {name: worker.metrics().text for name, worker in workers.items()}
    first.stop()
    left = {name: workers[name] for name in names[1:]}
    wait_for(job.partitions, "all partitions taken over", "cxstream_partition_ready", left)
    told.keys_after = sum(worker.metrics().sum("cxstream_table_keys", table="cases") for worker in left.values())
    erased = [
        {"event_id": f"{case_id}-9", "topic": "ticket", "type": "erased", "case_id": case_id, "at": now_ms}
        for case_id in (ERASED, ABSORBED)
    ]
    before = sum(in_all("cxstream_events_consumed_total", left).values())
    job.deliver(deliveries(erased, now_ms))
    wait_for(before + len(erased), "the erasures taken", "cxstream_events_consumed_total", left)
    told.scrapes |= {f"{name}, later": worker.metrics().text for name, worker in left.items()}


def test_workers_run_over_every_login(told: Told) -> None:
    """Membership, changelogs, clocks, announcements, and the hand-over between them work over SCRAM, TLS and tokens."""
    before, after = told.consumed
    assert min(before.values()) > 0
    assert all(after[name] > before[name] for name in before)
    assert told.keys_before == told.keys_after > 0
    assert len(told.job.read(f"{told.job.group}.verdicts")) > 0


def test_expired_tokens_are_replaced_before_they_are_used(told: Told, secured: Secured) -> None:
    """The worker asked for new tokens while it ran, and was never refused one that had expired."""
    assert len(secured.tokens.given) > 2
    assert "refused" not in told.output["worker token"]
    assert "has expired" not in told.output["worker token"]


def test_no_secret_is_ever_shown(told: Told, secured: Secured) -> None:
    """Not by workers that write all they have to say, not by commands, not by metrics: nor are tokens."""
    texts = told.texts
    assert all("**********" in text for name, text in texts.items() if name.startswith("cxstream config"))
    for name, text in texts.items():
        assert text, name
        for secret in (*SECRETS.values(), *secured.tokens.given):
            assert secret not in text, name


def test_nobody_is_named_in_logs_and_metrics(told: Told) -> None:
    """What people wrote, accounts, technicians, ids and keys, right or wrong, are in no line and no label."""
    for name, text in told.texts.items():
        assert not [word for word in PERSON if word in text], name


def test_nobody_is_named_in_what_dead_letters_say(told: Told) -> None:
    """Headers that say what was wrong name the field and what is expected there, never what was found."""
    letters = told.job.read(f"{told.job.topics['ticket']}.dead-letters")
    reasons = {value for letter in letters for name, value in letter.headers if name == "cxstream.error.reason"}
    assert {b"invalid", b"undecodable", b"wrong_key", b"trailing_bytes", b"bad_delivery_header", b"future"} <= reasons
    for letter in letters:
        said = b"\n".join(
            name.encode() + b": " + (value or b"")
            for name, value in letter.headers
            if name.startswith(("cxstream.error.", "__streams.errors."))
        )
        assert said
        assert not [word for word in PERSON if word.encode() in said]


# --- what is left of an erased case ---------------------------------------------------------------------------------


def held(job: Job) -> dict[str, dict[bytes, bytes]]:
    """Return the last value of every key of the service's state, as compaction leaves it."""
    topics = job.table.changelogs
    last = {name: {record.key: record.value for record in job.read(topic.name)} for name, topic in topics.items()}
    return {name: {key: value for key, value in its.items() if value is not None} for name, its in last.items()}


def test_an_erased_case_leaves_no_word_of_people(told: Told) -> None:
    """State, boards, neighbours and survivors, and what cases told each other hold nothing that anybody wrote."""
    job, table = told.job, told.job.table
    state = held(job)
    cases = {key: read_case(value) for key, value in state["cases"].items()}
    assert not {ERASED.encode(), ABSORBED.encode()} & cases.keys()
    assert sum(case.closed == "erased" for case in cases.values()) == 2
    own = {key: [fact.fields for fact in case.facts] for key, case in cases.items()}
    known = {key: [case.relayed, case.verdicts] for key, case in cases.items()}
    assert NAME in repr(own[NEIGHBOUR.encode()])
    assert cases[NEIGHBOUR.encode()].relayed.keys() >= {ERASED}
    mine = {key: value for key, value in known.items() if WORDS.encode() not in key}
    boards = {key: read_board(value) for key, value in state["boards"].items() if WORDS.encode() not in key}
    posted = [
        record.value
        for topic in (table.assets, table.relays)
        for record in job.read(topic.name)
        if b"asset-42" in record.value
    ]
    assert boards[b"asset-42"].facts.keys() >= {ERASED, ABSORBED}
    assert posted
    for what in (repr(mine), repr(boards), repr(posted)):
        assert not [word for word in PERSON if word in what]


def test_where_the_id_of_an_erased_case_stays_is_known(told: Told) -> None:
    """Boards and cases that were told of it keep its id and its times; no other record of the state does."""
    job = told.job
    state = held(job)
    for case_id, knowing in ((ERASED, {NEIGHBOUR, ABSORBED, SURVIVOR}), (ABSORBED, {NEIGHBOUR, SURVIVOR, ERASED})):
        naming = {key.decode() for key, value in state["cases"].items() if case_id.encode() in key + value}
        assert naming <= knowing - {ERASED, ABSORBED}
        assert {key for key, value in state["boards"].items() if case_id.encode() in key + value} == {b"asset-42"}
    said = [record.value for record in job.read(job.table.watermarks.name)]
    assert ERASED.encode() not in b"".join(value or b"" for value in said)


def test_what_was_announced_of_an_erased_case_is_taken_back(told: Told) -> None:
    """The last word on each of its verdicts says that it is excluded, and names nobody any more."""
    last: dict[bytes, bytes] = {}
    for record in told.job.read(f"{told.job.group}.verdicts"):
        key, sign = record.key, re.search(rb"case-7781[^ ]*?:([a-z_]+):", record.value)
        if sign is not None:
            last[key + sign[1]] = record.value
    assert last
    for value in last.values():
        assert b"erased" in value
        assert MAIL.encode() not in value


# --- refusals at start ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["kafka.password", "kafka.ca_file", "kafka.bootstrap", "kafka.oauth_token_file"])
def test_a_worker_that_is_refused_ends_and_says_why_once(
    secured: Secured, tmp_path: Path, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong password, an untrusted authority, another host name, an expired token: status 1, one clear message."""
    monkeypatch.setattr(logging.config, "dictConfig", lambda _config: None)
    job = Job(secured.kafka.bootstrap, "refused")
    expired = tmp_path / "token"
    expired.write_text(a_token(-5))
    bootstrap = secured.kafka.bootstrap_of("LOGIN")
    login = {"SECURITY_PROTOCOL": "SASL_SSL", "USERNAME": USER, "PASSWORD": PASSWORD, "BOOTSTRAP": bootstrap}
    login |= {"CA_FILE": str(secured.certificates.ca_file)}
    given = {
        "kafka.password": {**login, "PASSWORD": "wrong-guess"},
        "kafka.ca_file": {**login, "CA_FILE": str(secured.certificates.other_ca_file)},
        "kafka.bootstrap": {**login, "BOOTSTRAP": bootstrap.replace("localhost", "127.0.0.1")},
        "kafka.oauth_token_file": {
            "BOOTSTRAP": secured.kafka.bootstrap_of("TOKEN"),
            "SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "SASL_MECHANISM": "OAUTHBEARER",
            "OAUTH_TOKEN_FILE": str(expired),
        },
    }[setting]
    settings = {**job.settings(tmp_path), **{f"{PREFIX}KAFKA_{name}": value for name, value in given.items()}}
    if setting == "kafka.password":  # once as it really is
        worker = WorkerProcess(settings, tmp_path / "worker.log").launch()
        status, said = worker.wait(60), worker.log_tail()
        worker.kill()
    else:
        done = CliRunner().invoke(main, ["worker"], env=settings)
        status, said = done.exit_code, done.output
    assert status == 1, said
    assert said.count(f"Error: {setting}: ") == 1, said
    assert "Traceback" not in said
    assert "wrong-guess" not in said
    assert PASSWORD not in said
