"""docker-compose.yml: Compose itself takes it, and what it names is there, pinned, shut in and known to the worker."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from cxstream.config import ConfigError, load, variables
from cxstream.render.artefacts import ALERTS, RULES
from cxstream.worker import engine_settings
from parts.images import PINNED, image, project_version
from parts.programs import run

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
MAKE_SECRETS = ROOT / "scripts" / "make-secrets"
LOOPBACK = "127.0.0.1"

Model = dict[str, Any]


def docker_compose(file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the real Compose on a file, all profiles on; no engine is asked."""
    return run("docker-compose", "--project-directory", ROOT, "--profile", "*", "-f", file, *arguments)


@cache
def _printed() -> str:
    done = docker_compose(COMPOSE, "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    return done.stdout


def model() -> Model:
    """Return the file as Compose understands it."""
    found: Model = json.loads(_printed())
    return found


def services(of: Model) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every service by name."""
    yield from of["services"].items()


def binds(of: Model) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every bind mount, with the name of its service."""
    for name, service in services(of):
        yield from ((name, mount) for mount in service.get("volumes", ()) if mount["type"] == "bind")


def settings_of(service: dict[str, Any]) -> dict[str, str]:
    """Return the settings of a service's environment and of its image, as the worker reads them."""
    every = image().environment | (service.get("environment") or {})
    return {name: value for name, value in every.items() if name.startswith("CXSTREAM_")}


# --- Each check returns what is wrong -------------------------------------------------------------------------------


def missing_mounts(of: Model) -> list[str]:
    """Tell bind mounts whose source is not in the repository, or that can be written to."""
    wrong = [
        f"{name}: {mount['source']} is not there" for name, mount in binds(of) if not Path(mount["source"]).exists()
    ]
    return wrong + [
        f"{name}: {mount['target']} can be written" for name, mount in binds(of) if not mount.get("read_only")
    ]


def unknown_settings(of: Model) -> list[str]:
    """Tell settings no worker knows."""
    return [
        f"{name}: {variable}"
        for name, service in services(of)
        for variable in (service.get("environment") or {})
        if variable.startswith("CXSTREAM_") and variable not in variables()
    ]


def refused_settings(of: Model, secrets: Path) -> list[str]:
    """Tell what the worker's own reader refuses of its settings, secrets read from files of these names."""
    wrong = []
    for name, service in services(of):
        found = {
            variable: str(secrets / Path(value).name) if variable.endswith("_FILE") else value
            for variable, value in settings_of(service).items()
        }
        if "build" in service:
            try:
                load(None, found)
            except ConfigError as error:
                wrong.append(f"{name}: {error}")
    return wrong


def loose_images(of: Model) -> list[str]:
    """Tell images without a tag that is a whole version."""
    return [f"{name}: {service['image']}" for name, service in services(of) if not PINNED.fullmatch(service["image"])]


def open_ports(of: Model) -> list[str]:
    """Tell ports that are published beyond this machine."""
    return [
        f"{name}: {port['published']} on {port.get('host_ip', 'every address')}"
        for name, service in services(of)
        for port in service.get("ports", ())
        if port.get("host_ip") != LOOPBACK
    ]


def not_shut_in(of: Model) -> list[str]:
    """Tell services that may write, gain rights, or use memory and processes without end; or are asked no health."""
    wrong = []
    for name, service in services(of):
        if not service.get("read_only"):
            wrong.append(f"{name}: its root file system can be written")
        if service.get("cap_drop") != ["ALL"] or service.get("cap_add") or service.get("privileged"):
            wrong.append(f"{name}: keeps capabilities")
        if "no-new-privileges:true" not in service.get("security_opt", ()):
            wrong.append(f"{name}: may gain privileges")
        if not service.get("mem_limit") or not service.get("pids_limit"):
            wrong.append(f"{name}: has no limit of memory or processes")
        health = service.get("healthcheck") or {}
        if not health.get("test") and not (health.get("disable") and not service.get("ports")):
            wrong.append(f"{name}: nobody asks whether it is well")
    return wrong


def bare_secrets(of: Model) -> list[str]:
    """Tell variables that hold a secret instead of naming its file, and secrets that are not files."""
    telling = re.compile(r"PASSWORD|TOKEN|SECRET|ERASURE_KEY")
    wrong = [
        f"{name}: {variable}"
        for name, service in services(of)
        for variable in (service.get("environment") or {})
        if telling.search(variable) and not variable.endswith("_FILE")
    ]
    return wrong + [f"{name} is no file" for name, secret in of.get("secrets", {}).items() if "file" not in secret]


def unmade_secrets(of: Model, made: Path) -> list[str]:
    """Tell secrets that scripts/make-secrets does not make, and variables that name a file no secret is mounted at."""
    wrong = [name for name, secret in of["secrets"].items() if not (made / Path(secret["file"]).name).is_file()]
    for name, service in services(of):
        mounted = {secret["target"] for secret in service.get("secrets", ())}
        for variable, value in (service.get("environment") or {}).items():
            if variable.endswith("_FILE") and value not in mounted:
                wrong.append(f"{name}: {variable}={value}")
    return wrong


def other_rules(of: Model) -> list[str]:
    """Tell what Prometheus would load that is not the generated rules and alerts, which the tests prove."""
    (mount,) = (mount for name, mount in binds(of) if name == "prometheus")
    flag = f"--config.file={mount['target']}/prometheus.yml"
    wrong = [] if flag in of["services"]["prometheus"]["command"] else [f"not started with {flag}"]
    file = Path(mount["source"]) / "prometheus.yml"
    if not file.is_file():
        return [*wrong, f"{file} is not there"]
    loaded = {(file.parent / name).resolve() for name in yaml.safe_load(file.read_text("utf-8"))["rule_files"]}
    return wrong + [str(path) for path in loaded ^ {ROOT / RULES, ROOT / ALERTS}]


def lost_targets(of: Model) -> list[str]:
    """Tell addresses in the configuration of Prometheus, Grafana and the workers that no service here answers."""
    listens = {(name, port["target"]) for name, service in services(of) for port in service.get("ports", ())}
    listens |= {("kafka", 9092), ("localhost", 9090)}  # its listener inside; Prometheus itself
    prometheus = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text("utf-8"))
    named = set()
    for job in [*prometheus["scrape_configs"], *prometheus["alerting"]["alertmanagers"]]:
        for found in job.get("dns_sd_configs", ()):
            named |= {(name, found["port"]) for name in found["names"]}
        for found in job.get("static_configs", ()):
            named |= {(host, int(port)) for host, port in (target.split(":") for target in found["targets"])}
    sources = ROOT / "deploy" / "grafana" / "provisioning" / "datasources"
    texts = [file.read_text("utf-8") for file in sorted(sources.glob("*.yml"))]
    texts += [text for _, service in services(of) for text in (service.get("environment") or {}).values() if text]
    for text in texts:
        named |= {(host, int(port)) for host, port in re.findall(r"https?://([a-z]+):(\d+)", text)}
    named |= {
        (host, int(port))
        for _, service in services(of)
        for host, port in re.findall(
            r"\b(kafka):(\d+)", " ".join(map(str, (service.get("environment") or {}).values()))
        )
    }
    return [f"{host}:{port}" for host, port in sorted(named - listens)]


def unseen_dashboards(of: Model) -> list[str]:
    """Tell folders that Grafana is told to read dashboards from, and that are not the mounted ones."""
    targets = {mount["target"]: Path(mount["source"]) for name, mount in binds(of) if name == "grafana"}
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    wrong = [] if targets.get("/etc/grafana/provisioning") == provisioning else ["provisioning is not mounted"]
    files = sorted((provisioning / "dashboards").glob("*.yml"))
    providers = [one for file in files for one in yaml.safe_load(file.read_text("utf-8"))["providers"]]
    paths = [provider["options"]["path"] for provider in providers] or ["no provider of dashboards"]
    return wrong + [path for path in paths if targets.get(path) != ROOT / "deploy" / "grafana" / "dashboards"]


def seconds(duration: str) -> float:
    """Return a duration of Compose in seconds."""
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)([hms])", duration))


def hasty_stops(of: Model) -> list[str]:
    """Tell workers that are killed before a stop is over, and those whose folder is no tmpfs of their user."""
    service = of["services"]["cxstream"]
    settings = load(None, {name: value for name, value in settings_of(service).items() if not name.endswith("_FILE")})
    needed, granted = engine_settings(settings).stop_seconds, seconds(service["stop_grace_period"])
    wrong = [] if granted >= needed + 10 else [f"killed after {granted:g} s, a stop may take {needed:g} s"]
    uid, gid = image().user.split(":")
    folder = f"{image().environment['CXSTREAM_DATA_FOLDER']}:uid={uid},gid={gid},mode=0700"
    return wrong + [name for name in ("cxstream", "upstream") if folder not in of["services"][name].get("tmpfs", ())]


# --- And is shown to find it ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run scripts/make-secrets into a folder."""
    folder = tmp_path_factory.mktemp("made") / "secrets"
    subprocess.run([MAKE_SECRETS, folder], check=True, capture_output=True)
    return folder


def test_compose_takes_the_file() -> None:
    """`docker-compose config -q` is silent and ends with 0."""
    done = docker_compose(COMPOSE, "config", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("from_text", "to_text"),
    [
        ("  read_only: true\n", "  readonly: true\n"),
        ("mem_limit: 768m", "memory_limit: 768m"),
        ("{condition: service_healthy}", "{condition: service_well}"),
        ("127.0.0.1:3000:3000", "127.0.0.1:3000:grafana"),
        ("secrets: [grafana_admin_password]", "secrets: [grafana_password]"),
    ],
)  # fmt: skip
def test_compose_refuses_what_is_misspelt(tmp_path: Path, from_text: str, to_text: str) -> None:
    """A key, a condition, a port or a secret that Compose does not know is an error, so the test above can fail."""
    text = COMPOSE.read_text("utf-8")
    assert from_text in text
    file = tmp_path / "docker-compose.yml"
    file.write_text(text.replace(from_text, to_text))
    assert docker_compose(file, "config", "-q").returncode != 0


Check = Callable[[Model], list[str]]


def set_in(*path: str | int, to: object) -> Callable[[Model], None]:
    """Return a change of one value; None takes it away."""

    def change(of: Model) -> None:
        *outer, last = path
        place: Any = of
        for key in outer:
            place = place[key]
        if to is None:
            del place[last]
        else:
            place[last] = to

    return change


SERVICE = ("services", "cxstream")
MUTATIONS: list[tuple[Check, Callable[[Model], None]]] = [
    (missing_mounts, set_in("services", "prometheus", "volumes", 0, "source", to=f"{ROOT}/deploy/prometeus")),
    (missing_mounts, set_in("services", "prometheus", "volumes", 0, "read_only", to=None)),
    (unknown_settings, set_in(*SERVICE, "environment", "CXSTREAM_KAFKA_BOOTSTRAPS", to="kafka:9092")),
    (unknown_settings, set_in("services", "grafana", "environment", "CXSTREAM_URL", to="x")),
    (loose_images, set_in("services", "kafka", "image", to="apache/kafka:latest")),
    (loose_images, set_in("services", "kafka", "image", to="apache/kafka")),
    (loose_images, set_in("services", "kafka", "image", to="apache/kafka:4")),
    (open_ports, set_in("services", "grafana", "ports", 0, "host_ip", to=None)),
    (open_ports, set_in("services", "grafana", "ports", 0, "host_ip", to="0.0.0.0")),  # noqa: S104 - what is found
    *((not_shut_in, set_in("services", "registry", key, to=None)) for key in
      ("read_only", "cap_drop", "security_opt", "mem_limit", "pids_limit", "healthcheck")),
    (not_shut_in, set_in("services", "registry", "cap_add", to=["NET_ADMIN"])),
    (not_shut_in, set_in("services", "registry", "healthcheck", to={"disable": True})),
    (bare_secrets, set_in("services", "grafana", "environment", "GF_SECURITY_ADMIN_PASSWORD", to="admin")),
    (bare_secrets, set_in(*SERVICE, "environment", "CXSTREAM_HTTP_CASE_DATA_TOKEN", to="x")),
    (bare_secrets, set_in("secrets", "erasure_key", to={"environment": "ERASURE_KEY"})),
    (other_rules, set_in("services", "prometheus", "volumes", 0, "source", to=f"{ROOT}/deploy/alertmanager")),
    (other_rules, set_in("services", "prometheus", "command", 0, to="--config.file=/prometheus.yml")),
    (lost_targets, set_in("services", "alertmanager", to=None)),
    (lost_targets, set_in("services", "prometheus", "ports", 0, "target", to=9091)),
    (lost_targets, set_in(*SERVICE, "environment", "CXSTREAM_SCHEMA_REGISTRY_URL", to="http://registry:8081")),
    (lost_targets, set_in(*SERVICE, "environment", "CXSTREAM_KAFKA_BOOTSTRAP", to="kafka:9093")),
    (unseen_dashboards, set_in("services", "grafana", "volumes", to=[])),
    (unseen_dashboards, set_in("services", "grafana", "volumes", 1, "target", to="/var/lib/dashboards")),
    (hasty_stops, set_in(*SERVICE, "stop_grace_period", to="1m0s")),
    (hasty_stops, set_in(*SERVICE, "environment", "CXSTREAM_DRAIN_SECONDS", to="60")),
    (hasty_stops, set_in(*SERVICE, "tmpfs", to=["/var/lib/cxstream"])),
]  # fmt: skip


@pytest.mark.parametrize(
    "check", list(dict.fromkeys(check for check, _ in MUTATIONS)), ids=lambda check: check.__name__
)
def test_nothing_is_wrong(check: Check) -> None:
    """Mounts are there, settings known, images pinned, ports local, services shut in, rules the tested ones."""
    assert check(model()) == []


@pytest.mark.parametrize(("check", "change"), MUTATIONS)
def test_what_is_wrong_is_found(check: Check, change: Callable[[Model], None]) -> None:
    """Each check above finds each of these mistakes."""
    mistaken = copy.deepcopy(model())
    change(mistaken)
    assert check(mistaken) != []


def test_the_worker_takes_its_settings(made: Path) -> None:
    """The settings are read by the worker's own reader, and a wrong value or a secret nobody made is refused."""
    assert refused_settings(model(), made) == []
    for variable, value in {
        "CXSTREAM_KAFKA_PARTITIONS": "many",
        "CXSTREAM_ERASURE_KEY_FILE": "/run/secrets/no",
    }.items():
        mistaken = model()
        mistaken["services"]["cxstream"]["environment"][variable] = value
        assert refused_settings(mistaken, made) != []


def test_every_secret_is_made(made: Path) -> None:
    """scripts/make-secrets makes what the file mounts, and variables name where it is mounted."""
    assert unmade_secrets(model(), made) == []
    for change in (
        set_in("secrets", "other", to={"file": "other"}),
        set_in(*SERVICE, "environment", "CXSTREAM_KAFKA_PASSWORD_FILE", to="/run/secrets/kafka_password"),
        set_in("services", "grafana", "secrets", to=[]),
    ):
        mistaken = model()
        change(mistaken)
        assert unmade_secrets(mistaken, made) != []


def test_secrets_are_made_once_and_differ(made: Path) -> None:
    """A second run changes nothing; no two secrets are the same, and only the folder's owner gets to them."""
    before = {file.name: file.read_text() for file in made.iterdir() if file.is_file()}
    subprocess.run([MAKE_SECRETS, made], check=True, capture_output=True)
    assert {file.name: file.read_text() for file in made.iterdir() if file.is_file()} == before
    assert len(set(before.values())) == len(before) == 3
    assert min(map(len, before.values())) > 30
    assert made.stat().st_mode & 0o777 == 0o700


def test_secrets_are_not_committed() -> None:
    """Git ignores what scripts/make-secrets makes, and what Alertmanager's receivers need."""
    secrets = [Path(secret["file"]) for secret in model()["secrets"].values()]
    for file in (*secrets, ROOT / "deploy/compose/secrets/alertmanager/slack_webhook"):
        assert subprocess.run(["git", "check-ignore", "-q", file], cwd=ROOT, check=False).returncode == 0, file


def test_what_it_runs_is_what_the_tests_run() -> None:
    """Kafka is the version the tests use, cxstream the version of this tree."""
    found = {name: service["image"].split(":")[1] for name, service in services(model())}
    pom = (ROOT / "scripts" / "kafka" / "pom.xml").read_text("utf-8")
    assert f"<kafka.version>{found['kafka']}</kafka.version>" in pom
    assert found["cxstream"] == found["upstream"] == project_version()
