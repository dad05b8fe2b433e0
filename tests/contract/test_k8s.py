"""deploy/k8s: kustomize builds it, every object is what its API knows, and all of it agrees with the worker."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import trustme
import yaml
from pydantic import BaseModel, ValidationError

from cxstream.config import ConfigError, Settings, load, variables
from cxstream.exposition.families import LAG_SECONDS
from cxstream.render.artefacts import ALERTS, PROMETHEUS_RULE, RULES
from cxstream.web.server import _ENDPOINTS
from cxstream.worker import engine_settings
from parts.images import PINNED, image, project_version
from parts.programs import run
from parts.prometheus import promtool, require_prometheus

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "deploy" / "k8s"
BUILDS = ("base", "overlays/dev", "overlays/prod")
OPERATED = {
    "ScaledObject": "cloudcoil.models.keda.v1alpha1",
    "PodMonitor": "cloudcoil.models.prometheus_operator.v1",
    "PrometheusRule": "cloudcoil.models.prometheus_operator.v1",
}
"""Kinds of operators, and where their models are, generated from their definitions; seconds to import."""
WORKERS = {"app.kubernetes.io/name": "cxstream"}
CLIENT_SIDE_APPLY_BYTES = 262_144
"""`kubectl apply` keeps what it applied in an annotation, which may be no longer."""

Object = dict[str, Any]

builds = pytest.mark.parametrize("build", BUILDS)


@cache
def _built(build: str) -> str:
    done = run("kubectl", "kustomize", K8S / build)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return json.dumps(list(yaml.load_all(done.stdout, yaml.CSafeLoader)))


def objects(build: str) -> list[Object]:
    """Return the objects that kustomize makes of the base or of an overlay, fresh each time."""
    found: list[Object] = json.loads(_built(build))
    return found


@cache
def proven_groups() -> list[Object]:
    """Return the groups of rules and alerts in deploy/prometheus, which the tests prove."""
    files = [yaml.load((ROOT / path).read_text("utf-8"), yaml.CSafeLoader) for path in (RULES, ALERTS)]
    return [group for file in files for group in file["groups"]]


@cache
def authority() -> str:
    """Return a certificate (PEM) to stand in for that of the brokers' authority."""
    return trustme.CA().cert_pem.bytes().decode()


def one(every: list[Object], kind: str) -> Object:
    """Return the only object of a kind."""
    (found,) = (each for each in every if each["kind"] == kind)
    return found


def pod(every: list[Object]) -> Object:
    """Return the spec of a worker's pod."""
    spec: Object = one(every, "StatefulSet")["spec"]["template"]["spec"]
    return spec


def container(every: list[Object]) -> Object:
    """Return the container of a worker."""
    (found,) = pod(every)["containers"]
    return dict(found)


def files_of(every: list[Object]) -> dict[str, str]:
    """Return the files a worker finds in its pod, by path: configuration as it is, something in place of secrets."""
    volumes = {volume["name"]: volume for volume in pod(every)["volumes"]}
    files = {}
    for mount in container(every)["volumeMounts"]:
        volume = volumes[mount["name"]]
        if "configMap" in volume:
            (data,) = (
                each["data"]
                for each in every
                if each["kind"] == "ConfigMap" and each["metadata"]["name"] == volume["configMap"]["name"]
            )
            files |= {f"{mount['mountPath']}/{name}": text for name, text in data.items()}
        if "secret" in volume:
            paths = [f"{mount['mountPath']}/{item['path']}" for item in volume["secret"]["items"]]
            files |= {path: authority() if path.endswith(".crt") else "stands in" for path in paths}
    return files


def settings_of(every: list[Object], folder: Path) -> Settings:
    """Read the settings as a worker does in its pod, whose files are put below a folder. Raises ConfigError."""
    files = files_of(every)

    def here(text: str) -> str:
        mounts = sorted({str(Path(path).parent) for path in files}, key=len, reverse=True)
        return re.sub("|".join(map(re.escape, mounts)), lambda found: f"{folder}{found[0]}", text) if mounts else text

    for path, text in files.items():
        file = Path(here(path))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(here(text))
    given = {each["name"]: each.get("value", "cxstream-0") for each in container(every)["env"]}
    own = {name: value for name, value in image().environment.items() if name.startswith("CXSTREAM_")}
    return load(None, {name: here(value) for name, value in (own | given).items()})


# --- What each API knows --------------------------------------------------------------------------------------------


def unknown(every: list[Object]) -> list[str]:
    """Tell objects with keys or values their API does not know, built-in kinds by Kubernetes's own schemas."""
    wrong = []
    for each in every:
        problems = unread(each) if each["kind"] in OPERATED else refused(each)
        wrong += [f"{each['kind']}: {problem}" for problem in problems]
    return wrong


def refused(found: Object) -> Iterator[str]:
    """Yield what the strict schema of a built-in kind refuses of an object."""
    try:
        kubernetes_validate.validate(found, kubernetes_validate.latest_version(), strict=True)
    except kubernetes_validate.ValidationError as error:
        yield error.message


def unread(found: Object) -> Iterator[str]:
    """Yield what the model of its kind refuses of an object, and the paths that get lost when it reads and tells it."""
    model: type[BaseModel] = getattr(import_module(OPERATED[found["kind"]]), found["kind"])
    try:
        told = model.model_validate(found).model_dump(by_alias=True, exclude_unset=True, mode="json")
    except ValidationError as error:
        yield str(error)
        return
    yield from lost(found, told)


def lost(before: object, after: object, path: str = "") -> Iterator[str]:
    """Yield the paths of values that are in the one and not in the other."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            yield from lost(value, after[key], f"{path}.{key}") if key in after else (f"{path}.{key}",)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (value, told) in enumerate(zip(before, after, strict=True)):
            yield from lost(value, told, f"{path}[{number}]")
    elif before != after:
        yield f"{path}: {before!r} became {after!r}"


@builds
def test_every_object_is_what_its_api_knows(build: str) -> None:
    """No object of the base or an overlay has a key or a value that is not of its kind."""
    assert unknown(objects(build)) == []


MISSPELT: dict[str, tuple[str | int, ...]] = {
    "ConfigMap": ("datas",),
    "NetworkPolicy": ("spec", "ingress", 0, "form"),
    "PodDisruptionBudget": ("spec", "maxUnavailables"),
    "Service": ("spec", "clusterIp"),
    "ServiceAccount": ("automountToken",),
    "StatefulSet": ("spec", "template", "spec", "containers", 0, "readinesProbe"),
    "Namespace": ("metadata", "lables"),
    "ScaledObject": ("spec", "advanced", "horizontalPodAutoscalerConfig", "behavior", "scaledown"),
    "PodMonitor": ("spec", "podMetricsEndpoints", 0, "scrape_interval"),
    "PrometheusRule": ("spec", "groups", 0, "rules", 0, "exp"),
}


@pytest.mark.parametrize("kind", MISSPELT)
def test_a_misspelt_key_is_found(kind: str) -> None:
    """Of every kind there is, a key nobody knows is told: the check above can fail for each."""
    every = [each for each in objects("overlays/prod") if each["kind"] == kind]
    place: Any = every[0]
    *outer, last = MISSPELT[kind]
    for key in outer:
        place = place[key]
    place[last] = {}
    assert unknown(every) != []


def test_every_kind_is_checked() -> None:
    """No kind is in the manifests without a mistake that is found above."""
    assert {each["kind"] for build in BUILDS for each in objects(build)} == set(MISSPELT)


# --- Each check returns what is wrong -------------------------------------------------------------------------------


def refused_settings(every: list[Object], folder: Path) -> list[str]:
    """Tell what the worker's own reader refuses of its configuration, files that are not mounted included."""
    try:
        settings_of(every, folder)
    except ConfigError as error:
        return [str(error)]
    return [each["name"] for each in container(every)["env"] if each["name"] not in variables()]


def unstable_names(every: list[Object], folder: Path) -> list[str]:
    """Tell what keeps a worker from coming back under its name, in time, and in its own pace."""
    found = one(every, "StatefulSet")["spec"]
    wrong = []
    env = {each["name"]: each for each in container(every)["env"]}
    if env["CXSTREAM_KAFKA_INSTANCE_ID"].get("valueFrom") != {"fieldRef": {"fieldPath": "metadata.name"}}:
        wrong.append("the instance id is not the pod's name")
    if found["serviceName"] != one(every, "Service")["metadata"]["name"] or found["podManagementPolicy"] != "Parallel":
        wrong.append("service name, or workers wait for each other")
    stop_seconds = engine_settings(settings_of(every, folder)).stop_seconds
    if pod(every)["terminationGracePeriodSeconds"] < stop_seconds + 10:
        wrong.append(f"killed before a stop of {stop_seconds:g} s is over")
    return wrong


def unasked(every: list[Object], _: Path) -> list[str]:
    """Tell probes that ask for something else than the worker serves, and ports that are not the worker's."""
    found = container(every)
    expected = {"startupProbe": "/startupz", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    wrong = [
        probe
        for probe, path in expected.items()
        if found[probe]["httpGet"] != {"path": path, "port": "http"} or path not in _ENDPOINTS
    ]
    ports = [each for each in found["ports"] if each["name"] == "http"]
    if [each["containerPort"] for each in ports] != [Settings().http.port]:
        wrong.append("port")
    (endpoint,) = one(every, "PodMonitor")["spec"]["podMetricsEndpoints"]
    if (endpoint["port"], endpoint["path"]) != ("http", "/metrics") or "/metrics" not in _ENDPOINTS:
        wrong.append("scrape")
    return wrong


def unselected(every: list[Object], _: Path) -> list[str]:
    """Tell objects that are about other pods than the workers."""
    labels = one(every, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    policy = one(every, "NetworkPolicy")["spec"]
    selectors = {
        "StatefulSet": one(every, "StatefulSet")["spec"]["selector"]["matchLabels"],
        "Service": one(every, "Service")["spec"]["selector"],
        "PodDisruptionBudget": one(every, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        "PodMonitor": one(every, "PodMonitor")["spec"]["selector"]["matchLabels"],
        "NetworkPolicy": policy["podSelector"]["matchLabels"],
    } | {each["topologyKey"]: each["labelSelector"]["matchLabels"] for each in pod(every)["topologySpreadConstraints"]}
    wrong = [
        name for name, selector in selectors.items() if selector != WORKERS or not WORKERS.items() <= labels.items()
    ]
    if one(every, "PodDisruptionBudget")["spec"].get("maxUnavailable") != 1:
        wrong.append("more than one worker may be taken away")
    if set(policy["policyTypes"]) != {"Ingress", "Egress"} or not all(rule["from"] for rule in policy["ingress"]):
        wrong.append("everybody may come in")
    if any(port["port"] != "http" for rule in policy["ingress"] for port in rule["ports"]):
        wrong.append("a port nobody serves")
    inside = ({"podSelector": {"matchLabels": WORKERS}}, {"port": "http", "protocol": "TCP"})
    for way, whom in (("ingress", "from"), ("egress", "to")):
        if not any(inside[0] in rule[whom] and inside[1] in rule["ports"] for rule in policy[way]):
            wrong.append(f"workers cannot ask each other: {way}")
    return wrong


def unrestricted(every: list[Object], _: Path) -> list[str]:
    """Tell what the Pod Security Standard `restricted` forbids, and what a worker does not need."""
    spec, found = pod(every), container(every)
    of_pod, of_container = spec["securityContext"], found["securityContext"]
    uid, gid = map(int, image().user.split(":"))
    account = one(every, "ServiceAccount")
    rules = {
        "not as the image's user": (of_pod["runAsUser"], of_pod["runAsGroup"], of_pod["fsGroup"]) == (uid, gid, gid),
        "root": of_pod["runAsNonRoot"] is True,
        "system calls": of_pod["seccompProfile"] == {"type": "RuntimeDefault"},
        "more privileges": of_container["allowPrivilegeEscalation"] is False,
        "capabilities": of_container["capabilities"] == {"drop": ["ALL"]},
        "writes its file system": of_container["readOnlyRootFilesystem"] is True,
        "host": not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & spec.keys()
        and "privileged" not in of_container,
        "host ports": not any("hostPort" in port for port in found["ports"]),
        "volumes": all(volume.keys() & {"configMap", "secret", "emptyDir"} for volume in spec["volumes"]),
        "token": account["automountServiceAccountToken"] is spec["automountServiceAccountToken"] is False,
        "account": account["metadata"]["name"] == spec["serviceAccountName"],
        "service links": spec["enableServiceLinks"] is False,
        "memory without end": "memory" in found["resources"]["limits"],
        "image": PINNED.fullmatch(found["image"]) is not None and f":{project_version()}" in found["image"],
        "enforced": all(
            each["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
            for each in every
            if each["kind"] == "Namespace"
        ),
    }
    return [rule for rule, holds in rules.items() if not holds]


def bare_secrets(every: list[Object], _: Path) -> list[str]:
    """Tell secrets that stand in the manifests, in variables, or in volumes that can be written."""
    telling = re.compile(r"(PASSWORD|TOKEN|SECRET|KEY)$")
    wrong = [each["metadata"]["name"] for each in every if each["kind"] == "Secret"]
    wrong += [each["name"] for each in container(every)["env"] if telling.search(each["name"])]
    wrong += [each["name"] for each in container(every)["env"] if "secretKeyRef" in each.get("valueFrom", {})]
    texts = [text for each in every if each["kind"] == "ConfigMap" for text in each["data"].values()]
    wrong += [
        found for text in texts for found in re.findall(r"^\w*(?:password|token|erasure_key)\b.*", text, re.MULTILINE)
    ]
    secret = {volume["name"] for volume in pod(every)["volumes"] if "secret" in volume or "configMap" in volume}
    return wrong + [
        mount["mountPath"]
        for mount in container(every)["volumeMounts"]
        if mount["name"] in secret and not mount.get("readOnly")
    ]


def other_rules(every: list[Object], _: Path) -> list[str]:
    """Tell groups of rules and alerts that are not those of deploy/prometheus, which the tests prove."""
    proven, found = proven_groups(), one(every, "PrometheusRule")["spec"]["groups"]
    if [group["name"] for group in found] != [group["name"] for group in proven]:
        return ["groups"]
    return [group["name"] for group, expected in zip(found, proven, strict=True) if group != expected]


def hasty_scaling(every: list[Object], folder: Path) -> list[str]:
    """Tell what would scale beyond the partitions, below two, quickly down, or by what workers do not tell."""
    settings = settings_of(every, folder)
    if not any(each["kind"] == "ScaledObject" for each in every):
        return [] if one(every, "StatefulSet")["spec"].get("replicas", 0) >= 2 else ["fewer than two workers"]
    spec = one(every, "ScaledObject")["spec"]
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    down, up = behavior["scaleDown"], behavior["scaleUp"]
    (trigger,) = spec["triggers"]
    target = one(every, "StatefulSet")
    rules = {
        "least": spec["minReplicaCount"] == 2,
        "most": spec["maxReplicaCount"] == settings.kafka.partitions,
        "target": spec["scaleTargetRef"]
        == {key: target[key] for key in ("apiVersion", "kind")} | {"name": target["metadata"]["name"]},
        "replicas are the autoscaler's": "replicas" not in target["spec"],
        "down slowly": down["stabilizationWindowSeconds"] >= 1800
        and [(each["type"], each["value"]) for each in down["policies"]] == [("Pods", 1)],
        "down slower than up": down["stabilizationWindowSeconds"] > up["stabilizationWindowSeconds"],
        "seconds do not add up": trigger["metricType"] == "Value",
        "nothing known": trigger["metadata"]["ignoreNullValues"] == "false",
        "group": f'{LAG_SECONDS.name}{{group="{settings.kafka.group}"}}' in trigger["metadata"]["query"],
        "threshold": 10 <= float(trigger["metadata"]["threshold"]) <= 900,
    }
    return [rule for rule, holds in rules.items() if not holds]


def too_little(every: list[Object], _: Path) -> list[str]:
    """Tell requests below what was measured of a worker with 100,000 cases, and limits below twice that."""
    measured = [
        float(resident)
        for resident in re.findall(
            r"^\| 100,000 \|.*\| ([\d.]+) \|$", (ROOT / "docs/performance.md").read_text("utf-8"), re.MULTILINE
        )
    ]
    resources = container(every)["resources"]
    wrong = [] if mebibytes(resources["requests"]["memory"]) >= max(measured) else ["request"]
    wrong += [] if mebibytes(resources["limits"]["memory"]) >= 2 * max(measured) else ["limit"]
    return wrong + (["the event loop would be throttled"] if "cpu" in resources["limits"] else [])


def mebibytes(quantity: str) -> float:
    """Return a quantity of memory in MiB."""
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()  # type: ignore[union-attr]
    return float(number) * {"Mi": 1, "Gi": 1024}[unit]


def too_large(every: list[Object], _: Path) -> list[str]:
    """Tell objects that `kubectl apply` could not annotate with what it applied."""
    return [each["kind"] for each in every if len(json.dumps(each)) > CLIENT_SIDE_APPLY_BYTES]


# --- And is shown to find it ----------------------------------------------------------------------------------------

Check = Callable[[list[Object], Path], list[str]]
Change = Callable[[list[Object]], None]
OF_CONTAINER = ("StatefulSet", "spec", "template", "spec", "containers", 0)
OF_POD = OF_CONTAINER[:4]


def set_in(kind: str, *path: str | int, to: object = None) -> Change:
    """Return a change of one value of the object of a kind; None takes it away."""

    def change(every: list[Object]) -> None:
        *outer, last = path
        place: Any = one(every, kind)
        for key in outer:
            place = place[key]
        if to is None:
            del place[last]
        else:
            place[last] = to

    return change


def env(name: str, **to: object) -> Change:
    """Return a change of a variable of the container, added if it is not there."""

    def change(every: list[Object]) -> None:
        stated = pod(every)["containers"][0]["env"]
        stated[:] = [each for each in stated if each["name"] != name] + [{"name": name, **to}]

    return change


def config(from_text: str, to_text: str) -> Change:
    """Return a change of the configuration file."""

    def change(every: list[Object]) -> None:
        data = one(every, "ConfigMap")["data"]
        assert from_text in data["cxstream.toml"]
        data["cxstream.toml"] = data["cxstream.toml"].replace(from_text, to_text)

    return change


def another(found: Object) -> Change:
    """Return a change that adds an object."""
    return lambda every: every.append(found)


MUTATIONS: list[tuple[Check, Change]] = [
    (refused_settings, env("CXSTREAM_KAFKA_BOOTSTRAPS", value="kafka:9092")),
    (refused_settings, env("CXSTREAM_ERASURE_KEY_FILE", value="/run/secrets/cxstream/erasure")),
    (refused_settings, env("CXSTREAM_CONFIG", value="/etc/cxstream/other.toml")),
    (refused_settings, config("partitions = 24", "partition = 24")),
    (refused_settings, config("session_timeout_seconds = 45", "session_timeout_seconds = 5")),
    (refused_settings, config("/etc/kafka-ca/ca.crt", "/etc/kafka-ca/ca.pem")),
    (refused_settings, set_in(*OF_POD, "volumes", 0, "secret", "items", 2)),
    (unstable_names, env("CXSTREAM_KAFKA_INSTANCE_ID", value="cxstream")),
    (unstable_names, set_in("StatefulSet", "spec", "serviceName", to="workers")),
    (unstable_names, set_in("StatefulSet", "spec", "podManagementPolicy", to="OrderedReady")),
    (unstable_names, set_in(*OF_POD, "terminationGracePeriodSeconds", to=30)),
    (unstable_names, env("CXSTREAM_DRAIN_SECONDS", value="60")),
    (unasked, set_in(*OF_CONTAINER, "livenessProbe", "httpGet", "path", to="/readyz")),
    (unasked, set_in(*OF_CONTAINER, "readinessProbe", "httpGet", "port", to=8080)),
    (unasked, set_in(*OF_CONTAINER, "ports", 0, "containerPort", to=8080)),
    (unasked, set_in("PodMonitor", "spec", "podMetricsEndpoints", 0, "path", to="/metric")),
    (unselected, set_in("PodMonitor", "spec", "selector", "matchLabels", to={"app": "cxstream"})),
    (unselected, set_in("NetworkPolicy", "spec", "podSelector", "matchLabels", to={"app": "cxstream"})),
    (unselected, set_in("NetworkPolicy", "spec", "policyTypes", to=["Ingress"])),
    (unselected, set_in("NetworkPolicy", "spec", "ingress", 0, "from", to=[])),
    (unselected, set_in("NetworkPolicy", "spec", "ingress", 0, "ports", 0, "port", to=8080)),
    (unselected, set_in("NetworkPolicy", "spec", "ingress", 0, "from", 1)),
    (unselected, set_in("NetworkPolicy", "spec", "egress", 0)),
    (unselected, set_in("NetworkPolicy", "spec", "egress", 0, "to", 0, "podSelector", "matchLabels", to={"app": "x"})),
    (unselected, set_in("PodDisruptionBudget", "spec", "maxUnavailable", to=2)),
    (unselected, set_in("Service", "spec", "selector", to={"app": "cxstream"})),
    (unselected, set_in(*OF_POD, "topologySpreadConstraints", 0, "labelSelector", "matchLabels", to={"app": "x"})),
    (unrestricted, set_in(*OF_POD, "securityContext", "runAsUser", to=1000)),
    (unrestricted, set_in(*OF_POD, "securityContext", "runAsNonRoot", to=False)),
    (unrestricted, set_in(*OF_POD, "securityContext", "seccompProfile", to={"type": "Unconfined"})),
    (unrestricted, set_in(*OF_CONTAINER, "securityContext", "allowPrivilegeEscalation", to=True)),
    (unrestricted, set_in(*OF_CONTAINER, "securityContext", "capabilities", to={"add": ["NET_ADMIN"]})),
    (unrestricted, set_in(*OF_CONTAINER, "securityContext", "readOnlyRootFilesystem", to=False)),
    (unrestricted, set_in(*OF_CONTAINER, "securityContext", "privileged", to=False)),
    (unrestricted, set_in(*OF_POD, "hostNetwork", to=True)),
    (unrestricted, set_in(*OF_CONTAINER, "ports", 0, "hostPort", to=9109)),
    (unrestricted, set_in(*OF_POD, "volumes", 0, to={"name": "x", "hostPath": {"path": "/"}})),
    (unrestricted, set_in("ServiceAccount", "automountServiceAccountToken", to=True)),
    (unrestricted, set_in(*OF_POD, "serviceAccountName", to="default")),
    (unrestricted, set_in(*OF_POD, "enableServiceLinks", to=True)),
    (unrestricted, set_in(*OF_CONTAINER, "resources", "limits", to={"cpu": "1"})),
    (unrestricted, set_in(*OF_CONTAINER, "image", to="cxstream:latest")),
    (unrestricted, set_in(*OF_CONTAINER, "image", to="cxstream:0.0.9")),
    (unrestricted, set_in("Namespace", "metadata", "labels", "pod-security.kubernetes.io/enforce", to="baseline")),
    (bare_secrets, another({"kind": "Secret", "metadata": {"name": "cxstream"}})),
    (bare_secrets, env("CXSTREAM_KAFKA_PASSWORD", value="x")),
    (bare_secrets, env("PASS", valueFrom={"secretKeyRef": {"name": "cxstream", "key": "kafka-password"}})),
    (bare_secrets, config('username = "cxstream"', 'username = "cxstream"\npassword = "x"')),
    (bare_secrets, set_in(*OF_CONTAINER, "volumeMounts", 0, "readOnly")),
    (other_rules, set_in("PrometheusRule", "spec", "groups", 0, "rules", 0)),
    (other_rules, set_in("PrometheusRule", "spec", "groups", 1)),
    (other_rules, set_in("PrometheusRule", "spec", "groups", 2, "rules", 0, "for", to="1h")),
    (other_rules, set_in("PrometheusRule", "spec", "groups", 0, "rules", 0, "expr", to="vector(1)")),
    (hasty_scaling, set_in("ScaledObject", "spec", "minReplicaCount", to=1)),
    (hasty_scaling, set_in("ScaledObject", "spec", "maxReplicaCount", to=25)),
    (hasty_scaling, config("partitions = 24", "partitions = 12")),
    (hasty_scaling, set_in("ScaledObject", "spec", "scaleTargetRef", "kind", to="Deployment")),
    (hasty_scaling, set_in("StatefulSet", "spec", "replicas", to=2)),
    (hasty_scaling, set_in("ScaledObject", "spec", "advanced", "horizontalPodAutoscalerConfig", "behavior",
                           "scaleDown", "stabilizationWindowSeconds", to=60)),
    (hasty_scaling, set_in("ScaledObject", "spec", "advanced", "horizontalPodAutoscalerConfig", "behavior",
                           "scaleDown", "policies", 0, "value", to=4)),
    (hasty_scaling, set_in("ScaledObject", "spec", "triggers", 0, "metricType", to="AverageValue")),
    (hasty_scaling, set_in("ScaledObject", "spec", "triggers", 0, "metadata", "ignoreNullValues", to="true")),
    (hasty_scaling, config('group = "cxstream"', 'group = "emea"')),
    (hasty_scaling, set_in("ScaledObject", "spec", "triggers", 0, "metadata", "threshold", to="3600")),
    (too_little, set_in(*OF_CONTAINER, "resources", "requests", "memory", to="256Mi")),
    (too_little, set_in(*OF_CONTAINER, "resources", "limits", "memory", to="512Mi")),
    (too_little, set_in(*OF_CONTAINER, "resources", "limits", "cpu", to="1")),
    (too_large, set_in("PrometheusRule", "spec", "groups", 0, "name", to="x" * CLIENT_SIDE_APPLY_BYTES)),
]  # fmt: skip


@builds
@pytest.mark.parametrize(
    "check", list(dict.fromkeys(check for check, _ in MUTATIONS)), ids=lambda check: check.__name__
)
def test_nothing_is_wrong(build: str, check: Check, tmp_path: Path) -> None:
    """Settings, names, probes, selectors, rights, secrets, rules, scaling and sizes are right in base and overlays."""
    assert check(objects(build), tmp_path) == []


@pytest.mark.parametrize(("check", "change"), MUTATIONS)
def test_what_is_wrong_is_found(check: Check, change: Change, tmp_path: Path) -> None:
    """Each check above finds each of these mistakes."""
    mistaken = copy.deepcopy(objects("overlays/prod"))
    change(mistaken)
    assert check(mistaken, tmp_path) != []


def test_what_is_said_of_sizes_is_what_was_measured() -> None:
    """Memory to plan for is what was measured and up to a quarter more; a start takes as long as it did."""
    page, manifest = (ROOT / "docs/performance.md").read_text("utf-8"), (K8S / "base/stateful-set.yaml").read_text()
    row = re.search(r"^\| 100,000 \|.*\| ([\d.]+) s \| (\d+) \|$", page, re.MULTILINE)
    assert row is not None
    seconds, resident_mib = float(row[1]), float(row[2])
    assert f"100,000 cases take some {round(seconds)} s." in manifest
    for text in (manifest, (ROOT / "docs/deployment.md").read_text("utf-8")):
        (planned,) = re.findall(r"plan for (\d+) MiB with 100,000 cases", text)
        assert resident_mib <= float(planned) <= 1.25 * resident_mib
    empty = re.search(r"^\| 0 \|.*\| (\d+) \|$", page, re.MULTILINE)
    assert empty is not None
    (worker,) = re.findall(r"`worker_mib` \| (\d+) \|", page)
    assert float(empty[1]) <= float(worker) <= 1.25 * float(empty[1])
    memory = (
        (ROOT / "docs/operations.md").read_text("utf-8"),
        (ROOT / "src/cxstream/render/panels.py").read_text("utf-8"),
    )
    assert all(f"ome {worker} MiB" in text for text in memory)


def test_the_operators_rules_are_generated() -> None:
    """The PrometheusRule is one of the generated files, so it is compared with the code wherever they are."""
    text = (ROOT / PROMETHEUS_RULE).read_text("utf-8")
    assert "Generated by `cxstream render`" in text.split("\n")[0]
    written = yaml.load(text, yaml.CSafeLoader)["spec"]["groups"]
    assert written == one(objects("base"), "PrometheusRule")["spec"]["groups"]


def test_an_overlay_has_its_own_namespace_and_configuration() -> None:
    """Nothing of an overlay is in another namespace, and the files of its configuration are its own."""
    for build in BUILDS[1:]:
        every = objects(build)
        namespace = one(every, "Namespace")["metadata"]["name"]
        assert {each["metadata"].get("namespace", namespace) for each in every} == {namespace}
        assert one(every, "ConfigMap")["data"] == {"cxstream.toml": (K8S / build / "cxstream.toml").read_text("utf-8")}


def test_a_moment_of_lag_adds_no_worker_and_minutes_do(tmp_path: Path) -> None:
    """A record that waits on a quiet topic is hours behind for a scrape or two: only two minutes of lag scale."""
    require_prometheus()
    query = one(objects("base"), "ScaledObject")["spec"]["triggers"][0]["metadata"]["query"]

    def series(values: str, partition: int = 0) -> dict[str, str]:
        labels = f'group="cxstream",instance="a",topic="parts",partition="{partition}"'
        return {"series": f"{LAG_SECONDS.name}{{{labels}}}", "values": values}

    def asked(told: list[dict[str, str]], value: float) -> Object:
        samples = [{"labels": "{}", "value": value}]
        expected = [{"expr": query, "eval_time": "5m", "exp_samples": samples}]
        return {"interval": "15s", "input_series": told, "promql_expr_test": expected}

    tests = [
        asked([series("0x18 7200 7200 0x10")], 0),
        asked([series("0x5 90x30"), series("0x40", 1)], 90),
        asked([series("0x10 30+15x30")], 45),
    ]
    file = tmp_path / "lag.yml"
    file.write_text(yaml.safe_dump({"tests": tests}))
    promtool("test rules", file)
    file.write_text(yaml.safe_dump({"tests": [asked([series("0x18 7200 7200 0x10")], 7200)]}))
    with pytest.raises(AssertionError, match="FAILED"):
        promtool("test rules", file)
