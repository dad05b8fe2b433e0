"""The configuration: one name per setting, everything wrong told at once, secrets never shown."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from cxstream import config
from cxstream.config import ConfigError, Settings, describe, load
from cxstream.config.inventory import ENTRIES, SETTINGS
from cxstream.config.reading import MAX_FILE_BYTES, MAX_SECRET_BYTES
from cxstream.config.settings import NOT_OF_A_CASE, Judging, LabelValues, Ledger, Topics
from cxstream.config.showing import as_written, to_toml
from cxstream.config.types import duration_ms, format_duration
from cxstream.domain import vocabulary
from cxstream.domain.cases import Segment
from cxstream.domain.instant import DAY_MS, HOUR_MS, MINUTE_MS
from cxstream.domain.policy import Override, Policy
from cxstream.vital_signs import CATALOGUE, TIER_A

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"
LOGIN = {"CXSTREAM_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "CXSTREAM_KAFKA_USERNAME": "worker"}
PASSWORD = "CXSTREAM_KAFKA_PASSWORD"  # noqa: S105  # the name of a variable

# Another value than the default for every setting: as a variable, and as a file has it.
OTHERS: dict[str, tuple[str, object]] = {
    "data_folder": ("/data", "/data"),
    "linger_seconds": ("30.5", 30.5),
    "drain_seconds": ("5", 5),
    "erasure_key": ("a-salt-of-ours", "a-salt-of-ours"),
    "sign_tiers": ("c, A", ["C", "A"]),
    "objectives": ("first_time_fix=0.75, stayed_fixed=0.9", {"first_time_fix": 0.75, "stayed_fixed": 0.9}),
    "objectives_for": (
        '[{"where": {"region": "north"}, "first_time_fix": 0.7}]',
        [{"where": {"region": "north"}, "first_time_fix": 0.7}],
    ),
    "policy_for": (
        '[{"where": {"region": "north", "priority": "p1"}, "late_grace": "5m"}]',
        [{"where": {"region": "north", "priority": "P1"}, "late_grace": "5m"}],
    ),
    "kafka.bootstrap": ("a:1,[::1]:2", "a:1,[::1]:2"),
    "kafka.group": ("cx-2", "cx-2"),
    "kafka.topics.ticket": ("t", "t"),
    "kafka.topics.dispatch": ("d", "d"),
    "kafka.topics.parts": ("p", "p"),
    "kafka.verdicts_topic": ("v", "v"),
    "kafka.trusted_topics": ("t, p", ["t", "p"]),
    "kafka.partitions": ("24", 24),
    "kafka.replication_factor": ("1", 1),
    "kafka.declare_topics": ("Yes", True),
    "kafka.security_protocol": ("sasl_ssl", "SASL_SSL"),
    "kafka.sasl_mechanism": ("scram-sha-512", "SCRAM-SHA-512"),
    "kafka.username": ("worker", "worker"),
    "kafka.password": ("not-to-be-seen", "not-to-be-seen"),
    "kafka.ca_file": (__file__, __file__),
    "kafka.cert_file": (__file__, __file__),
    "kafka.key_file": (__file__, __file__),
    "kafka.key_password": ("never-to-be-seen", "never-to-be-seen"),
    "kafka.session_timeout_seconds": ("30", 30),
    "kafka.heartbeat_seconds": ("2.5", 2.5),
    "kafka.commit_interval_seconds": ("0.5", 0.5),
    "kafka.source_silent_after": ("ticket=2h,parts=0s", {"ticket": "2h", "parts": "0s"}),
    "kafka.clock_margin_seconds": ("2.5", 2.5),
    "kafka.instance_id": ("cxstream-0", "cxstream-0"),
    "kafka.standby_replicas": ("1", 1),
    "schema.registry_url": ("https://registry:8081/apis", "https://registry:8081/apis"),
    "schema.registry_username": ("reader", "reader"),
    "schema.registry_password": ("nor-to-be-seen", "nor-to-be-seen"),
    "schema.registry_ca_file": (__file__, __file__),
    "schema.ids": (
        "1=ticket/v1,2=dispatch/v1,3=parts/v1",
        {"1": "ticket/v1", "2": "dispatch/v1", "3": "parts/v1"},
    ),
    "limits.max_batch_records": ("500", 500),
    "limits.max_queued_records": ("50000", 50_000),
    "limits.max_message_bytes": ("65536", 65536),
    "limits.max_facts_per_case": ("100", 100),
    "limits.concurrent_batches": ("4", 4),
    "http.host": ("0.0.0.0", "0.0.0.0"),  # noqa: S104  # a value to read, nothing listens
    "http.port": ("8080", 8080),
    "http.case_data_token": ("of-operations", "of-operations"),
    "sources.names": ("servicenow, parts-hub", ["servicenow", "parts-hub"]),
    "sources.rejections_shown": ("20", 20),
    "ingress.host": ("::1", "::1"),
    "ingress.port": ("8081", 8081),
    "ingress.token": ("neither-to-be-seen", "neither-to-be-seen"),
    "ingress.tokens": ("crm=one-to-hide,fsm=other-to-hide", "crm=one-to-hide,fsm=other-to-hide"),
    "ingress.cert_file": (__file__, __file__),
    "ingress.key_file": (__file__, __file__),
    "ingress.framing": ("Registry", "registry"),
    "ingress.max_request_bytes": ("2048", 2048),
    "ingress.max_request_events": ("10", 10),
    "ingress.max_requests_at_once": ("8", 8),
    "ingress.max_in_flight_bytes": ("65536", 65536),
    "ingress.requests_per_second": ("5", 5),
    "ingress.request_burst": ("7", 7),
    "ingress.request_seconds": ("3", 3),
    "ingress.delivery_seconds": ("4", 4),
    "dead_letters.max_replays": ("2", 2),
    "dead_letters.replays_per_second": ("50", 50),
    "http.cert_file": (__file__, __file__),
    "http.key_file": (__file__, __file__),
    "http.key_password": ("not-seen-either", "not-seen-either"),
    "http.max_connections": ("16", 16),
    "http.advertised_url": ("https://w1.example:9109", "https://w1.example:9109"),
    "pages.rows": ("20", 20),
    "pages.most_listed": ("500", 500),
    "pages.workers_at_once": ("3", 3),
    "pages.answer_seconds": ("1.5", 1.5),
    "pages.answer_max_bytes": ("100000", 100_000),
    "pages.owner_expires_seconds": ("30", 30.0),
    "pages.search_seconds": ("0.5", 0.5),
    "ledger.windows": ("1h, 24h,14d", ["1h", "24h", "14d"]),
    "ledger.levels": (
        "job=all, region=24h, region_product=24h 14d",
        {"job": ["all"], "region": ["24h"], "region_product": ["24h", "14d"]},
    ),
    "ledger.risk_horizon": ("2h", "2h"),
    "ledger.live_levels": ("job", ["job"]),
    "ledger.time_windows": ("24h", ["24h"]),
    "ledger.label_limit": ("10", 10),
    "ledger.label_values.priority": ("P1,P2", ["P1", "P2"]),
    "ledger.label_values.region": ("north, far south", ["north", "far south"]),
    "ledger.label_values.product": ("x", ["x"]),
    "ledger.label_values.tier": ("gold", ["gold"]),
    "ledger.label_values.provider": ("acme", ["acme"]),
    "log.level": ("debug", "DEBUG"),
    "log.format": ("console", "console"),
    "policy.repeat_window": ("14d", "14d"),
    "policy.late_horizon": ("48h", "48h"),
    "policy.late_grace": ("10m", "10m"),
    "policy.early_tolerance": ("45m", "45m"),
    "policy.provider_notice": ("2d", "2d"),
    "policy.history_since": ("2026-03-02T01:00:00+01:00", "2026-03-02T00:00:00Z"),
    "policy.watched_notice": ("3h", "3h"),
    "policy.on_site_limit": ("8h", "8h"),
    "policy.clock_skew": ("90s", "90s"),
    "policy.first_response": ("P1=30m,P2=2h,P3=1d", {"P1": "30m", "P2": "2h", "P3": "1d"}),
    "policy.explanation": ("12h", "12h"),
    "policy.silence_limit": ("36h", "36h"),
    "policy.silence_limit_by_priority": ("P1=2h,P2=8h", {"P1": "2h", "P2": "8h"}),
    "policy.longest_pause": ("3d", "3d"),
    "policy.abandonment": ("60d", "60d"),
    "policy.easy_opening": ("5m", "5m"),
    "policy.easy_opening_transfers": ("0", 0),
    "policy.most_transfers": ("3", 3),
    "policy.compensation_window": ("14d", "14d"),
    "policy.placeholder_assets": ("?,tbd", ["?", "tbd"]),
    "policy.merge_hops": ("3", 3),
    "policy.crowded_asset_cases": ("20", 20),
    "policy.remembered": ("90d", "90d"),
}

BY_PASSWORD = {"kafka.username", "kafka.password"}
BY_TOKEN: dict[str, tuple[str, object]] = {
    "kafka.sasl_mechanism": ("oauthbearer", "OAUTHBEARER"),
    "kafka.oauth_token_url": ("https://login.example.org/token?v=2", "https://login.example.org/token?v=2"),
    "kafka.oauth_client_id": ("cxstream", "cxstream"),
    "kafka.oauth_client_secret": ("a-client-secret", "a-client-secret"),
    "kafka.oauth_scope": ("kafka read", "kafka read"),
    "kafka.oauth_ca_file": (__file__, __file__),
    "kafka.oauth_extensions": (
        "logicalCluster=lkc-1,identityPoolId=p",
        {"logicalCluster": "lkc-1", "identityPoolId": "p"},
    ),
}
BY_TOKEN_FILE: dict[str, tuple[str, object]] = {
    "kafka.sasl_mechanism": ("OAUTHBEARER", "OAUTHBEARER"),
    "kafka.oauth_token_file": (__file__, __file__),
}
# No worker logs in in two ways: every setting is in one of these.
LOGINS = [
    OTHERS,
    *(
        {**{name: one for name, one in OTHERS.items() if name not in BY_PASSWORD}, **by}
        for by in (BY_TOKEN, BY_TOKEN_FILE)
    ),
]


def all_in_environ(others: dict[str, tuple[str, object]] = OTHERS) -> dict[str, str]:
    """Every setting as a variable."""
    variable = {setting.name: setting.variable for setting in SETTINGS}
    return {variable[name]: text for name, (text, _) in others.items()}


def written(path: Path, values: dict[str, object]) -> Path:
    """Write settings by dotted name to a TOML file."""
    path.write_text("".join(f"{name} = {to_toml(value)}\n" for name, value in values.items()), "utf-8")
    return path


def without_origins(settings: Settings) -> dict[str, object]:
    """Return the settings alone, to compare."""
    return settings.model_dump()


def problems_of(environ: dict[str, str], path: Path | None = None) -> dict[str, str]:
    """Return what load finds wrong: the text of each problem by the name of its setting."""
    with pytest.raises(ConfigError) as raised:
        load(path, environ)
    assert all(str(problem) in str(raised.value) for problem in raised.value.problems)
    return {problem.setting: str(problem) for problem in raised.value.problems}


def test_nothing_given_is_the_defaults() -> None:
    """Without a file and variables every setting has its default, and the policy is the domain's own."""
    settings = load(None, {"PATH": "/bin"})
    assert settings == Settings()
    assert settings.policy() == Policy()
    assert settings.kafka.bootstrap == "localhost:9092"
    assert settings.kafka.topics.by_kind() == {
        "ticket": "cxstream.tickets",
        "dispatch": "cxstream.dispatch",
        "parts": "cxstream.parts",
    }
    assert settings.objective_ratios() == {
        name: sign.objective for name, sign in TIER_A.items() if sign.objective is not None
    }


@pytest.mark.parametrize(("tiers", "expected"), [("A", "A"), ("b", "B"), ("A,C", "AC"), ("C,B,A", "ABC")])
def test_the_tiers_named_are_judged_and_counted(tiers: str, expected: str) -> None:
    """Catalogue, objectives and what the ledger counts are the signs of the tiers named, in order of name."""
    settings = load(None, {"CXSTREAM_SIGN_TIERS": tiers})
    signs = {name: sign for name, sign in CATALOGUE.items() if sign.tier in expected}
    assert settings.catalogue() == signs
    assert settings.windows().signs == signs.keys()
    assert settings.objective_ratios().keys() == {name for name, sign in signs.items() if sign.objective is not None}
    assert load(None, {}).catalogue() == TIER_A


def test_every_setting_has_one_variable() -> None:
    """No two settings, nor the _FILE of a secret, share a variable, and each has another value in this test."""
    names = [setting.variable for setting in SETTINGS]
    names += [f"{setting.variable}_FILE" for setting in SETTINGS if setting.secret] + [config.CONFIG_VARIABLE]
    assert len(names) == len(set(names)) == len(config.variables())
    assert {setting.name for setting in SETTINGS} == set().union(*LOGINS)


def test_defaults_are_values_their_type_can_read(tmp_path: Path) -> None:
    """What a default would look like in a file is read as the default."""
    defaults = {name: value for name, value in as_written(Settings()).items() if value is not None}
    assert without_origins(load(written(tmp_path / "c.toml", defaults), {})) == without_origins(Settings())


def test_every_constant_of_the_policy_is_a_setting() -> None:
    """The policy group has all fields of the domain's Policy but a limit, the longest window, and the segments."""
    elsewhere = {"facts_per_case", "longest_window", "overrides"}
    assert {*Judging.model_fields, *elsewhere} == {name.removesuffix("_ms") for name in Policy.__struct_fields__}
    assert load(None, {"CXSTREAM_LEDGER_WINDOWS": "7d,1h", "CXSTREAM_LEDGER_LEVELS": "job=all"}).policy() == Policy(
        longest_window_ms=7 * 24 * HOUR_MS
    )
    assert tuple(LabelValues.model_fields) == Segment.__struct_fields__
    assert tuple(Topics.model_fields) == vocabulary.TOPICS
    assert all(setting.about for setting in SETTINGS)


@pytest.mark.parametrize("others", LOGINS, ids=["password", "token", "token file"])
def test_variables_and_file_say_the_same(tmp_path: Path, others: dict[str, tuple[str, object]]) -> None:
    """Every setting read from its variable equals the same setting read from the file, and differs from the default."""
    by_environ = load(None, all_in_environ(others))
    file = written(tmp_path / "cxstream.toml", {name: value for name, (_, value) in others.items()})
    by_file = load(file, {})
    assert without_origins(by_environ) == without_origins(by_file)
    assert load(None, {"CXSTREAM_CONFIG": str(file)}) == by_file
    for setting in (setting for setting in SETTINGS if setting.name in others):
        assert as_written(by_file)[setting.name] != as_written(Settings())[setting.name], setting.name
        assert by_file.origins[setting.name] == "file"
        assert by_environ.origins[setting.name] == f"env {setting.variable}"


def test_what_is_described_reads_back(tmp_path: Path) -> None:
    """The description is TOML that gives the same settings, but for the secrets."""
    login = {"CXSTREAM_KAFKA_SECURITY_PROTOCOL": "ssl", "CXSTREAM_SCHEMA_REGISTRY_USERNAME": None}
    secret = ("PASSWORD", "ERASURE", "TOKEN")
    environ = {name: text for name, text in all_in_environ().items() if not any(part in name for part in secret)}
    environ = {name: text for name, text in {**environ, **login}.items() if text and "USERNAME" not in name}
    settings = load(None, environ)
    text = describe(settings)
    file = tmp_path / "described.toml"
    file.write_text(text)
    assert without_origins(load(file, {})) == without_origins(settings)
    assert "partitions = 24  # env CXSTREAM_KAFKA_PARTITIONS\n" in text
    assert describe(Settings()).count("  # default\n") == len(SETTINGS)


def test_a_variable_counts_before_the_file(tmp_path: Path) -> None:
    """The variable wins over the file, the file over the default, and the origins tell which it was."""
    file = written(tmp_path / "c.toml", {"kafka.partitions": 24, "kafka.group": "of-file"})
    settings = load(file, {"CXSTREAM_KAFKA_PARTITIONS": "48", "CXSTREAM_CONFIG": "/not/there"})
    assert (settings.kafka.partitions, settings.kafka.group) == (48, "of-file")
    assert settings.origins == {"kafka.partitions": "env CXSTREAM_KAFKA_PARTITIONS", "kafka.group": "file"}


@pytest.mark.parametrize(
    ("given", "setting", "found"),
    [
        ({}, "oauth_token_file", "not set, and oauth_token_url is not; expected one of them"),
        ({"URL": "https://a/t", "FILE": __file__}, "oauth_token_file", "set, and oauth_token_url is"),
        ({"URL": "https://a/t"}, "oauth_client_id", "not set, and oauth_token_url is"),
        ({"URL": "https://a/t"}, "oauth_client_secret", "not set, and oauth_token_url is"),
        ({"FILE": __file__, "SCOPE": "read"}, "oauth_scope", "set, and oauth_token_file is"),
        ({"FILE": __file__, "USERNAME": "me"}, "username", "set, and sasl_mechanism is OAUTHBEARER"),
        ({"FILE": __file__, "PASSWORD": "pw"}, "password", "nothing here: a token is what logs in"),
    ],
)
def test_a_login_by_token_needs_one_source_of_tokens(given: dict[str, str], setting: str, found: str) -> None:
    """A file or an endpoint, with what it asks for and nothing else; no user and password beside it."""
    of_token = {"URL": "OAUTH_TOKEN_URL", "FILE": "OAUTH_TOKEN_FILE", "SCOPE": "OAUTH_SCOPE"}
    environ = {"CXSTREAM_KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "CXSTREAM_KAFKA_SASL_MECHANISM": "OAUTHBEARER"}
    environ |= {f"CXSTREAM_KAFKA_{of_token.get(name, name)}": text for name, text in given.items()}
    assert found in problems_of(environ)[f"kafka.{setting}"]


def test_words_are_read_in_any_case(tmp_path: Path) -> None:
    """Neither a variable nor the file has to write a choice or a priority in capitals."""
    file = written(tmp_path / "c.toml", {"log.level": "debug", "kafka.security_protocol": "Ssl"})
    settings = load(file, {"CXSTREAM_POLICY_SILENCE_LIMIT_BY_PRIORITY": "p1=1h"})
    assert (settings.log.level, settings.kafka.security_protocol) == ("DEBUG", "SSL")
    assert settings.policy().silence_limit_by_priority_ms == {"P1": HOUR_MS}


def test_an_empty_variable_leaves_out_what_may_be_left_out(tmp_path: Path) -> None:
    """Compose files pass variables that are not set as empty ones: no list, no table, no file, no secret."""
    file = written(tmp_path / "c.toml", {"kafka.instance_id": "x", "ledger.label_values.region": ["a"]})
    names = ("KAFKA_INSTANCE_ID", "LEDGER_LABEL_VALUES_REGION", "KAFKA_PASSWORD", "KAFKA_PASSWORD_FILE", "CONFIG")
    settings = load(file, {f"CXSTREAM_{name}": "" for name in names})
    assert settings.kafka.instance_id is None
    assert settings.kafka.password is None
    assert settings.ledger.label_values.region == ()
    assert "found ''" in problems_of({"CXSTREAM_KAFKA_GROUP": ""})["kafka.group"]


@pytest.mark.parametrize("text", ["none", "None", ""])
def test_the_stream_of_verdicts_can_be_switched_off(text: str) -> None:
    """`none`, or nothing, instead of a topic: then there is none; by default there is."""
    assert load(None, {"CXSTREAM_KAFKA_VERDICTS_TOPIC": text}).kafka.verdicts is None
    assert load(None, {}).kafka.verdicts == "cxstream.verdicts"


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    """One error names every wrong setting, its variable, what was found where, and what is expected."""
    file = tmp_path / "c.toml"
    file.write_text('http.port = "9109"\nkafka.partitons = 3\nlimits = 5\n[policy]\nlate_grace = "1 hour"\n')
    environ = {"CXSTREAM_KAFKA_PARTITIONS": "twelve", "CXSTREAM_KAFKA_GROUPS": "x", "CXSTREAM_LOG_LEVEL": "loud"}
    assert problems_of(environ, file) == {
        "http.port": "http.port (CXSTREAM_HTTP_PORT): found '9109' in the file;"
        " expected a whole number from 0 to 65535",
        "kafka.partitons": "kafka.partitons: there is no such setting in the file; expected kafka.partitions",
        "limits": "limits: found 5; expected a table [limits]",
        "policy.late_grace": "policy.late_grace (CXSTREAM_POLICY_LATE_GRACE): found '1 hour' in the file;"
        " expected a duration (30d, 72h, 15m or 45s) from 0s to 3650d",
        "kafka.partitions": "kafka.partitions (CXSTREAM_KAFKA_PARTITIONS): found 'twelve';"
        " expected a whole number from 1 to 1000",
        "CXSTREAM_KAFKA_GROUPS": "CXSTREAM_KAFKA_GROUPS: there is no such variable; expected CXSTREAM_KAFKA_GROUP",
        "log.level": "log.level (CXSTREAM_LOG_LEVEL): found 'loud'; expected DEBUG, INFO, WARNING or ERROR",
    }


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_every_setting_names_itself_and_the_fix(name: str, tmp_path: Path) -> None:
    """A value of a wrong type is refused for every setting, naming it, its variable and what is expected."""
    setting = next(one for one in SETTINGS if one.name == name)
    file = tmp_path / "c.toml"
    file.write_text(f"{name} = 1979-05-27\n")
    text = problems_of({}, file)[name]
    assert text.startswith(f"{name} ({setting.variable}): ")
    assert text.endswith(f"expected {setting.expected}")


@pytest.mark.parametrize(
    ("variable", "text", "found"),
    [
        ("KAFKA_PARTITIONS", "0", "found 0"),
        ("KAFKA_PARTITIONS", "1_0", "found '1_0'"),
        ("KAFKA_PARTITIONS", "9" * 5000, "found '999"),
        ("KAFKA_PARTITIONS", "\u0661\u0662", "found"),
        ("HTTP_PORT", "-1", "found -1"),
        ("LINGER_SECONDS", "nan", "found 'nan'"),
        ("LINGER_SECONDS", "1e3", "found '1e3'"),
        ("KAFKA_BOOTSTRAP", "kafka", "found 'kafka'"),
        ("KAFKA_BOOTSTRAP", "user:pw@kafka:9092", "found ***@kafka:9092'"),
        ("KAFKA_BOOTSTRAP", "a:1, b:2", "found 'a:1, b:2'"),
        ("KAFKA_TOPICS_TICKET", "..", "found '..'"),
        ("KAFKA_TOPICS_TICKET", "cxstream.parts", "is the name of 2 source topics"),
        ("KAFKA_VERDICTS_TOPIC", "cxstream.parts", "'cxstream.parts' is a source topic"),
        ("KAFKA_VERDICTS_TOPIC", "..", "found '..'"),
        ("KAFKA_TRUSTED_TOPICS", "cxstream.part", "is no source topic, did you mean cxstream.parts?"),
        ("KAFKA_TRUSTED_TOPICS", "cxstream.parts,cxstream.parts", "'cxstream.parts' 2 times"),
        ("KAFKA_HEARTBEAT_SECONDS", "7", "at most a third of session_timeout_seconds, which is 20"),
        ("KAFKA_CA_FILE", "/not/there", "there is no file '/not/there'"),
        ("KAFKA_CA_FILE", __file__, "security_protocol is PLAINTEXT, which is not TLS"),
        ("KAFKA_USERNAME", "me", "which does not log in"),
        ("KAFKA_OAUTH_SCOPE", "read", "set, and there is no login by token"),
        ("KAFKA_KEY_PASSWORD", "s", "security_protocol is PLAINTEXT, which is not TLS"),
        ("KAFKA_OAUTH_TOKEN_URL", "http://login/token", "expected an https URL"),
        ("HTTP_CERT_FILE", __file__, "http.key_file (CXSTREAM_HTTP_KEY_FILE): not set, and http.cert_file is"),
        ("HTTP_KEY_PASSWORD", "s", "http.key_file (CXSTREAM_HTTP_KEY_FILE): not set, and key_password is"),
        ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL", "not set, and security_protocol is SASL_SSL"),
        ("SCHEMA_REGISTRY_URL", "https://me:pw@registry", "found ***@registry'"),
        ("SCHEMA_REGISTRY_USERNAME", "me", "not set, and schema.registry_username is"),
        ("SCHEMA_IDS", "1=ticket/v1,01=ticket/v1", "found a key twice"),
        ("SCHEMA_IDS", "1", "found '1' where key=value should be"),
        ("LEDGER_WINDOWS", "", "found 0 items"),
        ("LEDGER_WINDOWS", "24h,1d", "24h and 1d are the same length"),
        ("LEDGER_WINDOWS", "7m", "found '7m'"),
        ("LEDGER_WINDOWS", "1h", "region names the window '24h'"),
        ("LEDGER_LEVELS", "region=24h", "job is not there"),
        ("LEDGER_LEVELS", "job=all,area=24h", "found the level area"),
        ("LEDGER_LEVELS", "job=all 1h", "job names all and others"),
        ("LEDGER_LEVELS", "job=all,region_region=1h", "found the level region_region"),
        ("SIGN_TIERS", "A,D", "found 'D'"),
        ("SIGN_TIERS", "", "found 0 items"),
        ("SIGN_TIERS", "B,B", "found 'B' 2 times"),
        ("OBJECTIVES", "first_time_fixed=0.8", "did you mean first_time_fix?"),
        ("OBJECTIVES", "first_time_fix=80", "found 80"),
        ("POLICY_FIRST_RESPONSE", "P1=1h", "P2, P3 not there"),
        ("POLICY_SILENCE_LIMIT_BY_PRIORITY", "P4=1h", "'P4'"),
        ("PAGES_SEARCH_SECONDS", "3", "found 3; expected less than answer_seconds, which is 3"),
        ("HTTP_ADVERTISED_URL", "w1:9109", "found 'w1:9109'"),
        ("KAFKA_GROUP", "\udcff", "found bytes that are not UTF-8"),
        ("KAFKA_PASSWORD", "\udcff", "found something that is no text"),
    ],
)
def test_wrong_values_are_told_in_words(variable: str, text: str, found: str) -> None:
    """What is wrong with a value, or with two that clash, is said in words that lead to the fix."""
    with pytest.raises(ConfigError) as raised:
        load(None, {f"CXSTREAM_{variable}": text})
    assert found in str(raised.value)
    assert all(len(str(problem)) < 500 for problem in raised.value.problems)
    assert "pw@" not in str(raised.value)


def test_a_file_that_cannot_be_read_is_told_with_the_rest(tmp_path: Path) -> None:
    """A file that is missing, no TOML, not UTF-8 or too large is one problem beside the others."""
    contents = {"no.toml": b"a = \n", "latin.toml": b"a = '\xe9'", "large.toml": b" " * (MAX_FILE_BYTES + 1)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for name, reason in (
        ("missing.toml", "No such file"),
        ("no.toml", "it is not TOML (Invalid value (at line 1, column 5))"),
        ("latin.toml", "not UTF-8"),
        ("large.toml", "larger"),
        (".", "Is a directory"),
    ):
        problems = problems_of({"CXSTREAM_HTTP_PORT": "x"}, tmp_path / name)
        assert reason in problems[str(tmp_path / name)]
        assert "http.port" in problems


def test_variables_nobody_set_are_no_settings() -> None:
    """Kubernetes' links of a Service named like us and the test suite's variables are ignored; a typo is not."""
    links = {
        "CXSTREAM_SERVICE_HOST": "10.0.0.1",
        "CXSTREAM_SERVICE_PORT_METRICS": "9109",
        "CXSTREAM_PORT": "tcp://10.0.0.1:9109",
        "CXSTREAM_PORT_9109_TCP_ADDR": "10.0.0.1",
        "CXSTREAM_HTTP_PORT": "tcp://10.0.0.1:9109",
        "CXSTREAM_TEST_BOOTSTRAP": "localhost:9092",
    }
    assert load(None, links) == Settings()
    assert set(problems_of({"CXSTREAM_PORT": "9109"})) == {"CXSTREAM_PORT"}


@pytest.mark.parametrize("content", ["hunter2\n", "hunter2\r\n", "hunter2"])
def test_a_secret_comes_from_a_file(content: str, tmp_path: Path) -> None:
    """The _FILE of a secret, as variable or key, names a file whose text is the secret, without the newline."""
    file = tmp_path / "secret"
    file.write_bytes(content.encode())
    settings = load(None, {**LOGIN, f"{PASSWORD}_FILE": str(file)})
    assert settings.kafka.password is not None
    assert settings.kafka.password.get_secret_value() == "hunter2"
    toml = written(tmp_path / "c.toml", {"kafka.password_file": str(file)})
    assert load(toml, LOGIN).kafka.password == SecretStr("hunter2")
    assert load(toml, {**LOGIN, PASSWORD: "other"}).kafka.password == SecretStr("other")


def test_a_secret_file_that_is_no_use_is_told(tmp_path: Path) -> None:
    """A missing or empty file, or both ways at once, is told without the path, which may be the secret itself."""
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "large").write_text("x" * (MAX_SECRET_BYTES + 1))
    (tmp_path / "bytes").write_bytes(b"\xff")
    for value, reason in (
        ("hunter2", "the file that CXSTREAM_KAFKA_PASSWORD_FILE names cannot be read (No such file or directory)"),
        (str(tmp_path / "empty"), "names is empty"),
        (str(tmp_path / "large"), "names is larger"),
        (str(tmp_path / "bytes"), "names is not UTF-8"),
    ):
        text = problems_of({**LOGIN, f"{PASSWORD}_FILE": value})["kafka.password"]
        assert reason in text
        assert "hunter2" not in text
    both = problems_of({**LOGIN, PASSWORD: "hunter2", f"{PASSWORD}_FILE": "hunter2"})["kafka.password"]
    assert "CXSTREAM_KAFKA_PASSWORD and CXSTREAM_KAFKA_PASSWORD_FILE are both set" in both
    assert "hunter2" not in both


SECRETS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)


@given(SECRETS, SECRETS)
def test_what_is_shown_does_not_depend_on_the_secret(one: str, other: str) -> None:
    """Whatever two secrets are, everything that shows settings shows the same for both."""
    shown = []
    for secret in (one, other):
        settings = load(None, {**LOGIN, PASSWORD: secret})
        assert settings.kafka.password is not None
        assert settings.kafka.password.get_secret_value() == secret
        held = settings.kafka.password
        with pytest.raises(ConfigError) as unused:
            load(None, {PASSWORD: secret})
        with pytest.raises(ConfigError) as wrong:
            load(None, {PASSWORD: secret, f"{PASSWORD}_FILE": secret, "CXSTREAM_HTTP_PORT": "x"})
        shown.append(
            [
                describe(settings),
                repr(settings),
                str(settings),
                f"{held} {held!r} {held!s:>20}",
                settings.model_dump_json() + repr(settings.model_dump()),
                str(unused.value),
                str(wrong.value),
            ]
        )
    assert shown[0] == shown[1]
    assert (SecretStr(one) == SecretStr(other)) == (one == other)


def test_no_error_holds_a_secret() -> None:
    """What was wrong with other settings leads to no object that holds the secret: an error's causes are logged too."""
    with pytest.raises(ConfigError) as raised:
        load(None, {**LOGIN, PASSWORD: "hunter2", "CXSTREAM_HTTP_PORT": "x"})
    assert raised.value.__context__ is None


def test_windows_are_the_ledgers() -> None:
    """Windows, levels and closed lists come out as the ledger takes them; `all` is every window."""
    windows = load(
        None,
        {
            "CXSTREAM_LEDGER_WINDOWS": "15m,36h",
            "CXSTREAM_LEDGER_LEVELS": "job=all,region_product=36h",
            "CXSTREAM_LEDGER_LABEL_VALUES_REGION": "north,south",
        },
    ).windows()
    assert windows.lengths_ms == {"15m": 15 * MINUTE_MS, "36h": 36 * HOUR_MS}
    assert [(level.name, level.dimensions, level.windows) for level in windows.levels] == [
        ("job", (), ("15m", "36h")),
        ("region_product", ("region", "product"), ("36h",)),
    ]
    assert windows.label_values == {"region": frozenset({"north", "south"})}
    default = Settings().windows()
    assert list(default.lengths_ms.values()) == [HOUR_MS, DAY_MS, 7 * DAY_MS, 30 * DAY_MS]
    assert [level.name for level in default.levels] == ["job", "region", "product"]


SEGMENTS = """
[[policy_for]]
where = { region = "north" }
late_grace = "10m"
first_response = { p1 = "30m" }

[[policy_for]]
where = { region = "north", priority = "p2" }
most_transfers = 0

[[objectives_for]]
where = { region = "north" }
first_time_fix = 0.85

[[objectives_for]]
where = { region = "north" }
first_time_fix = 0.75
time_to_restore = 0.5
"""


def test_constants_and_objectives_of_segments_are_read(tmp_path: Path) -> None:
    """Entries become the policy's overrides in their order; of objectives of one segment and sign the last counts."""
    file = tmp_path / "c.toml"
    file.write_text(SEGMENTS)
    settings = load(file, {})
    assert settings.policy().overrides == (
        Override({"region": "north"}, {"late_grace_ms": 10 * MINUTE_MS, "first_response_ms": {"P1": 30 * MINUTE_MS}}),
        Override({"region": "north", "priority": "P2"}, {"most_transfers": 0}),
    )
    assert settings.objectives_of_segments() == [("first_time_fix", "region", "north", 0.75)]
    variables = {f"CXSTREAM_{name.upper()}": json.dumps(as_written(settings)[name]) for name in ENTRIES}
    assert without_origins(load(None, variables)) == without_origins(settings)
    assert load(None, dict.fromkeys(variables, "")).policy() == Policy()


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (
            'where = { region = "north" }\nlate_grace = "soon"',
            "entry 1, late_grace in the file: found 'soon'; expected a",
        ),
        ('late_grace = "1m"', "entry 1, where in the file: not there; expected a table of one or more of priority,"),
        ('where = {}\nlate_grace = "1m"', "entry 1, where in the file: found no dimension; expected a table of one"),
        (
            'where = { regoin = "x" }\nlate_grace = "1m"',
            "where.regoin in the file: there is no such name; expected region",
        ),
        (
            'where = { priority = "P9" }\nlate_grace = "1m"',
            "where.priority in the file: found 'P9'; expected P1, P2 or P3",
        ),
        ('where = { priority = 1 }\nlate_grace = "1m"', "where.priority in the file: found 1; expected P1, P2 or P3"),
        ('where = { region = "" }\nlate_grace = "1m"', "where.region in the file: found ''; expected a label value"),
        ('where = { region = "x" }', "entry 1 in the file: found no constant; expected a list of at most 100 tables"),
        (
            'where = { region = "x" }\nlate_grase = "1m"',
            "late_grase in the file: there is no such name; expected late_grace",
        ),
        ('where = { region = "x" }\nmost_transfers = 101', "found 101; expected a whole number from 0 to 100"),
        (
            'where = { region = "x" }\nfirst_response = { P1 = "1s" }',
            "entry 1, first_response.P1 in the file: found '1s'; expected a duration (30d, 72h, 15m or 45s) from 1m to",
        ),
        (
            'where = { region = "x" }\nfirst_response = { P9 = "1h" }',
            "entry 1, first_response.P9 in the file: found 'P9'; expected P1, P2 or P3",
        ),
        (
            'where = { priority = "P1" }\nsilence_limit = "1h"',
            "entry 1, silence_limit: P1 has a limit of its own, which counts before it; expected silence_limit_by_",
        ),
        (
            'where = { priority = "P2" }\nfirst_response = { P1 = "1h" }',
            "entry 1, first_response: found P1 where priority is P2; expected a table of P2 alone",
        ),
        (
            (
                'where = { priority = "P2" }\nsilence_limit_by_priority = { P2 = "1h" }\n'
                '[[policy_for]]\nwhere = { priority = "P2", tier = "gold" }\nsilence_limit = "1h"'
            ),
            "entry 2, silence_limit: P2 has a limit of its own, which counts before it; expected silence_limit_by_",
        ),
        *(
            (f'where = {{ region = "x" }}\n{name} = {value}', f", but {why}; expected {name} in [policy] alone")
            for (name, why), value in zip(
                NOT_OF_A_CASE.items(), ('"1m"', '["?"]', "3", "3", "2026-03-02T00:00:00Z", '"1d"'), strict=True
            )
        ),
    ],
)
def test_a_wrong_entry_is_named_with_its_field_and_the_fix(entries: str, said: str, tmp_path: Path) -> None:
    """Of a list of tables the number of the entry and the field that is wrong are told, and what is expected there."""
    file = tmp_path / "c.toml"
    file.write_text(f"[[policy_for]]\n{entries}\n")
    assert said in problems_of({}, file)["policy_for"]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (
            'where = { region = "north" }\nfirst_time_fixx = 0.5',
            "did you mean first_time_fix?; expected the name of a vital",
        ),
        (
            'where = { region = "north" }\nfirst_time_fix = 3',
            "first_time_fix in the file: found 3; expected a ratio from",
        ),
        ('where = { region = "north" }', "entry 1 in the file: found no vital sign; expected a list"),
        ('where = { region = "north", tier = "x" }\nexplained = 0.5', "found 2 dimensions; expected a table of one of"),
        ("explained = 0.5", "entry 1, where in the file: not there; expected a table of one of priority, region"),
        (
            'where = { tier = "x" }\nexplained = 0.5',
            "tier is no level that is published; expected a dimension of ledger",
        ),
        (
            'where = { region = "nort" }\nexplained = 0.5',
            "'nort' is published as __other__; expected a value of ledger.label_values.region, perhaps north",
        ),
    ],
)
def test_a_wrong_objective_of_a_segment_is_named(entry: str, said: str, tmp_path: Path) -> None:
    """An objective must be of a sign, at a level that is published, in a segment that is shown there by its name."""
    file = tmp_path / "c.toml"
    file.write_text(f'[ledger.label_values]\nregion = ["north"]\n[[objectives_for]]\n{entry}\n')
    assert said in problems_of({}, file)["objectives_for"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x", "found 'x', which is no JSON ("),
        ("[1]", "entry 1: found 1; expected a list of"),
        ('{"where": {}}', "found {'where': {}}; expected a list of at most 100 tables [[policy_for]]"),
        ('[{"where": {"tier": "a"}, "where": {"tier": "b"}}]', "found 'where' 2 times"),
        ("[" * 10_000, "found tables in tables in tables"),
        ('[{"where": {"tier": null}, "late_grace": "1m"}]', "entry 1, where.tier: found None; expected a label value"),
    ],
)
def test_entries_in_a_variable_are_json(text: str, said: str) -> None:
    """What is no JSON, or not what a file would hold, is refused with the name of the variable."""
    problem = problems_of({"CXSTREAM_POLICY_FOR": text})["policy_for"]
    assert problem.startswith(f"policy_for (CXSTREAM_POLICY_FOR): {said}")


def test_the_policy_is_the_domains() -> None:
    """Durations become milliseconds, and the limit of facts comes from the limits."""
    policy = load(None, all_in_environ()).policy()
    assert policy.repeat_window_ms == 14 * DAY_MS
    assert policy.first_response_ms == {"P1": 30 * MINUTE_MS, "P2": 2 * HOUR_MS, "P3": DAY_MS}
    assert policy.placeholder_assets == {"?", "tbd"}
    assert policy.facts_per_case == 100


@given(st.integers(0, 10**6), st.sampled_from("smhd"))
def test_durations_read_back(count: int, unit: str) -> None:
    """A duration that is written and read is the same length."""
    length_ms = duration_ms(f"{count}{unit}")
    assert duration_ms(format_duration(length_ms)) == length_ms


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1), unique=True))
def test_any_label_value_survives_the_description(values: list[str]) -> None:
    """Whatever a label value contains, the described TOML says the same value."""
    labels = LabelValues(region=tuple(values))
    settings = Settings(ledger=Ledger(label_values=labels))
    assert tomllib.loads(describe(settings))["ledger"]["label_values"]["region"] == values


@given(st.dictionaries(st.sampled_from(sorted(config.variables())), st.text(st.characters(codec="utf-8"))))
def test_garbage_is_refused_with_problems_and_nothing_else(environ: dict[str, str]) -> None:
    """Whatever the variables say, load returns settings or raises ConfigError."""
    try:
        load(None, environ)
    except ConfigError as error:
        assert error.problems  # noqa: PT017  # either outcome is right


def test_the_example_of_the_reference_is_read(tmp_path: Path) -> None:
    """With the password from a file the example gives the settings it shows."""
    (tmp_path / "kafka").write_text("hunter2\n")
    (tmp_path / "c.toml").write_text(config.reference().split("```toml\n")[1].split("```")[0])
    settings = load(tmp_path / "c.toml", {f"{PASSWORD}_FILE": str(tmp_path / "kafka")})
    assert settings.linger_seconds == 60
    assert settings.policy().late_grace_ms == 10 * MINUTE_MS


def test_the_reference_is_what_the_code_says() -> None:
    """docs/configuration.md has a row for every setting and is what the code generates."""
    text = PAGE.read_text("utf-8")
    for setting in SETTINGS:
        assert f"\n| `{setting.name}` | `{setting.variable}`" in text
    regenerate = "from cxstream import config; print(config.reference(), end='')"
    assert text == config.reference(), f'regenerate: python -c "{regenerate}" > docs/configuration.md'
