"""What is in deploy/ fits the code and itself: commands, settings, health checks, addresses and times."""

import ipaddress
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.core.management import get_commands, load_command_class

from deerflow_site.health import Health

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
FILES = sorted(path for path in [*DEPLOY.rglob("*"), ROOT / ".dockerignore"] if path.is_file() and path.name != ".env")
YAML = [path for path in FILES if path.suffix == ".yaml"]
UNITS = [path for path in FILES if path.suffix == ".service"]
EACH_FILE = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))

#: Variables of others: of PostgreSQL's image, of Python and the shell, and names of socket families in units.
_OF_OTHERS = {"POSTGRES_PASSWORD", "PATH", "PYTHONDONTWRITEBYTECODE"}
_OF_OTHERS |= {"AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"}
#: What a host takes itself, with its spawner.
_HOST_MEMORY_MB = 200
_VARIABLE = re.compile(r"\b([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|[A-Z]{3,}(?==))\b")
_ADDRESS = re.compile(r"\w+://")
_HOST_OF_IMAGES = re.compile(r"pypi\.|registry\.|\bindex-url\b|ghcr\.io|docker\.io|quay\.io|artifactory", re.IGNORECASE)


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def services() -> dict[str, dict[str, Any]]:
    [compose] = documents(DEPLOY / "compose.yaml")
    return dict(compose["services"])


def own_services() -> dict[str, dict[str, Any]]:
    """Those that run our image."""
    return {name: service for name, service in services().items() if service["image"] == "deerflow-server"}


def manifests(kind: str) -> dict[str, dict[str, Any]]:
    found = [document for path in KUBERNETES.glob("*.yaml") for document in documents(path)]
    return {document["metadata"]["name"]: document for document in found if document.get("kind") == kind}


def pod(manifest: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return spec


def container(manifest: dict[str, Any]) -> dict[str, Any]:
    [only] = pod(manifest)["containers"]
    return dict(only)


def unit(path: Path) -> dict[str, str]:
    """The entries of a unit that stand in it once."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def settings_file(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def commands() -> Iterator[tuple[str, list[str]]]:
    """Each command line that something in deploy/ gives to manage.py, and where."""
    for name, service in own_services().items():
        yield f"compose {name}", service["command"]
    for kind in ("Deployment", "Job"):
        for name, manifest in manifests(kind).items():
            yield f"kubernetes {name}", container(manifest)["args"]
    for path in UNITS:
        yield path.name, shlex.split(unit(path)["ExecStart"].partition(" manage.py ")[2])


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def directives(name: str) -> list[str]:
    """What nginx.conf says after `name`, everywhere it does."""
    lines = (DEPLOY / "nginx.conf").read_text(encoding="utf-8").splitlines()
    return [line.strip().removeprefix(name).strip(" ;") for line in lines if line.strip().startswith(f"{name} ")]


def http_probe(name: str) -> dict[str, Any]:
    probe: dict[str, Any] = container(manifests("Deployment")["deerflow-web"])[name]["httpGet"]
    return probe


def test_there_is_something_to_check() -> None:
    assert len(FILES) > 12 and len(list(commands())) > 9


EACH_COMMAND = pytest.mark.parametrize("words", [pytest.param(words, id=where) for where, words in commands()])


@EACH_COMMAND
def test_commands_and_their_options_exist(words: list[str]) -> None:
    name, *options = words
    app = get_commands()[name]
    command = load_command_class(app, name) if isinstance(app, str) else app
    # Raises for an option that the command does not know.
    command.create_parser("manage.py", name).parse_args(options)


@EACH_COMMAND
def test_only_the_migration_migrates(words: list[str]) -> None:
    assert words[0] == "migrate" or "--no-migrate" in words


@EACH_FILE
def test_settings_that_it_names_are_documented(path: Path) -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", page, re.MULTILINE))
    assert documented
    assert set(_VARIABLE.findall(path.read_text(encoding="utf-8"))) <= documented | _OF_OTHERS


@EACH_FILE
def test_nothing_is_fetched_from_an_address_of_its_own(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert set(_ADDRESS.findall(text)) <= {"postgres://", "redis://", "rediss://", "http://", "file://"}
    assert re.findall(r"http://\S+", text) in ([], ["http://web;"])
    assert not _HOST_OF_IMAGES.findall(text)


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.name)
def test_yaml_can_be_read(path: Path) -> None:
    assert all(isinstance(document, dict) for document in documents(path))


@pytest.mark.parametrize("name", own_services())
def test_compose_waits_for_a_drain(name: str) -> None:
    service = own_services()[name]
    drain = float(service["environment"]["DRAIN_SECONDS"])
    assert seconds(service["stop_grace_period"]) > drain + settings.CANCEL_GRACE


@pytest.mark.parametrize("name", manifests("Deployment"))
def test_kubernetes_waits_for_a_pause_and_a_drain(name: str) -> None:
    manifest = manifests("Deployment")[name]
    before = container(manifest).get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
    drain = float(settings_file(KUBERNETES / "settings.env")["DRAIN_SECONDS"])
    grace = pod(manifest)["terminationGracePeriodSeconds"]
    assert grace > int(before[1]) + drain + settings.CANCEL_GRACE


@pytest.mark.parametrize("path", [path for path in UNITS if "@" in path.name], ids=lambda path: path.name)
def test_systemd_waits_for_a_drain_and_starts_again(path: Path) -> None:
    entries = unit(path)
    assert seconds(entries["TimeoutStopSec"]) > settings.DRAIN_SECONDS + settings.CANCEL_GRACE
    assert entries["Restart"] == "always" and entries["StartLimitIntervalSec"] == "0"
    # The engines are the server's to stop, and the loss of one is the server's to mend.
    assert entries["KillMode"] == "mixed" and entries["OOMPolicy"] == "continue"


def test_every_kind_of_deployment_asks_the_same_addresses() -> None:
    assert http_probe("startupProbe")["path"] == http_probe("livenessProbe")["path"] == "/live"
    assert http_probe("readinessProbe")["path"] == "/ready"
    for name in ("web-1", "web-2"):
        assert services()[name]["healthcheck"]["test"] == ["CMD", "python", "deploy/probe.py", "/ready"]


@pytest.mark.parametrize(("path", "status"), [("/live", 200), ("/ready", 503), ("/else", 0)])
async def test_addresses_of_health_are_answered_to_whoever_asks(path: str, status: int) -> None:
    said: list[int] = []

    async def passed_on(scope: dict[str, Any], receive: Any, send: Any) -> None:
        said.append(0)

    async def send(message: dict[str, Any]) -> None:
        said.extend([message["status"]] if "status" in message else [])

    # Without a host of runs: alive, and of no use.
    await Health(passed_on)({"path": path}, None, send)
    assert said == [status]


def test_a_worker_is_asked_by_the_file_that_it_touches() -> None:
    service, manifest = services()["worker"], container(manifests("Deployment")["deerflow-worker"])
    for words in (service["command"], manifest["args"]):
        assert words[words.index("--health-file") + 1] == "/tmp/healthy"
    checks = [manifest[probe]["exec"]["command"][-1] for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
    for check in (*checks, service["healthcheck"]["test"][-1]):
        assert check.startswith("find /tmp/healthy ")


def test_engines_are_out_of_memory_before_their_container_is() -> None:
    told = settings_file(KUBERNETES / "settings.env")
    # Beside those that share the runs: the state engine, and two at a time for last attempts.
    engines = int(told.get("ENGINE_PROCESSES", settings.ENGINE_PROCESSES)) + 3
    for name, engines_at_most in (("deerflow-worker", engines), ("deerflow-web", 1)):
        limit = container(manifests("Deployment")[name])["resources"]["limits"]["memory"]
        assert int(limit.removesuffix("Mi")) > engines_at_most * int(told["ENGINE_MEMORY_MB"]) + _HOST_MEMORY_MB


def test_the_database_s_superuser_is_not_the_server_s() -> None:
    database = services()["postgres"]
    made = (DEPLOY / "postgres.sql").read_text(encoding="utf-8")
    assert "./postgres.sql:/docker-entrypoint-initdb.d/deerflow.sql:ro" in database["volumes"]
    assert not {"POSTGRES_USER", "POSTGRES_DB"} & set(database["environment"])  # those are the superuser's
    assert re.findall(r"^CREATE ROLE (.+) PASSWORD :'password';$", made, re.MULTILINE) == ["deerflow LOGIN"]
    assert "ALTER ROLE postgres PASSWORD NULL;" in made.splitlines()
    for service in own_services().values():
        assert service["environment"]["DATABASE_URL"].startswith("postgres://deerflow:")
    assert {"--username", "deerflow"} <= set(database["healthcheck"]["test"])


def test_time_limits_that_a_pooler_would_swallow_are_told() -> None:
    source = (ROOT / "deerflow_site" / "settings.py").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "how-to" / "grow-to-many-machines.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^ALTER ROLE deerflow SET (\w+) = '(\d+)s';$", page, re.MULTILINE))
    assert set(told) == set(re.findall(r"-c (\w+_timeout)=", source))
    for name, milliseconds in re.findall(r"-c (\w+_timeout)=(\d+)", source):
        assert int(told[name]) * 1000 == int(milliseconds)


def test_the_proxies_to_trust_are_an_example() -> None:
    # Addresses that are nobody's: a network that pods really have would let each of them forge headers.
    example = ipaddress.ip_network("192.0.2.0/24")
    told = settings_file(KUBERNETES / "settings.env")["TRUSTED_PROXIES"].split(",")
    assert all(ipaddress.IPv4Network(part).subnet_of(example) for part in told)


def test_the_proxy_knows_the_web_processes_and_they_trust_it_alone() -> None:
    proxy = services()["proxy"]
    known = dict(entry.split(":") for entry in proxy["extra_hosts"])
    served = [server.split(":")[0] for server in directives("server") if ":" in server]
    assert served == list(known) == [name for name in own_services() if name.startswith("web-")]
    for name, address in known.items():
        assert services()[name]["networks"]["inside"]["ipv4_address"] == address
        assert services()[name]["environment"]["TRUSTED_PROXIES"] == proxy["networks"]["inside"]["ipv4_address"]


def test_the_proxy_gathers_nothing_and_believes_no_client() -> None:
    assert directives("proxy_buffering") == ["off"]
    assert directives("proxy_http_version") == ["1.1"]  # HTTP/1.0 ends a cut response as if it were whole
    headers = dict(header.split(maxsplit=1) for header in directives("proxy_set_header"))
    assert headers["X-Forwarded-For"] == "$remote_addr" and headers["X-Forwarded-Proto"] == "$scheme"
    assert headers["X-Forwarded-Host"] == headers["X-Forwarded-Port"] == headers["Forwarded"] == '""'


def test_the_proxy_sends_nothing_twice_that_may_have_been_received() -> None:
    assert directives("proxy_next_upstream") == ["error timeout"]  # without non_idempotent


def test_the_proxy_allows_what_the_server_allows() -> None:
    [size] = directives("client_max_body_size")
    assert int(size.removesuffix("m")) * 1024 * 1024 > settings.MAX_BODY_BYTES
    [silence] = directives("proxy_read_timeout")
    assert seconds(silence) > 10 * settings.STREAM_HEARTBEAT


def test_the_image_holds_every_package() -> None:
    seen = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = [name.rstrip("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]]
    assert packages
    assert seen[seen.index("*") :]
    for needed in [*packages, "manage.py", "pyproject.toml", "requirements.lock", "deploy/probe.py"]:
        assert f"!{needed}" in seen


def test_the_image_does_not_run_as_root() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    [user] = re.findall(r"^USER (\d+):\d+$", dockerfile, re.MULTILINE)
    assert int(user) > 0
    for manifest in [*manifests("Deployment").values(), *manifests("Job").values()]:
        assert pod(manifest)["securityContext"]["runAsUser"] == int(user)


def test_kustomize_finds_every_manifest() -> None:
    [kustomization] = documents(KUBERNETES / "kustomization.yaml")
    named = {*kustomization["resources"], *kustomization["configMapGenerator"][0]["envs"]}
    optional = {"kustomization.yaml", "secret.example.yaml", "autoscaling.yaml"}
    assert named | optional == {path.name for path in KUBERNETES.iterdir()}


@pytest.mark.parametrize("kind", ["HorizontalPodAutoscaler", "PodDisruptionBudget", "Service"])
def test_what_belongs_to_a_deployment_finds_it(kind: str) -> None:
    found = manifests(kind)
    assert found
    for name, manifest in found.items():
        labels = manifests("Deployment")[name]["spec"]["template"]["metadata"]["labels"]
        selector = manifest["spec"].get("selector", labels)
        assert selector.get("matchLabels", selector) == labels
        assert manifest["spec"].get("scaleTargetRef", {}).get("name", name) == name
