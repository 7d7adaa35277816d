"""docker-compose.yml, ops/Dockerfile and what belongs to them keep their promises, as far as reading them can tell."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from imagejobs.settings import Settings

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "ops" / "Dockerfile"
MAKE_ENV = ROOT / "ops" / "compose" / "make_env.py"
EXAMPLE = ROOT / "ops" / "compose" / "env.example"

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text())["services"]
OF_ONE_SHOT = "service_completed_successfully"
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY")
PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+(\.\d+)?(-[\w.-]+)?")

every_service = pytest.mark.parametrize("name", SERVICES)


def is_one_shot(service: dict[str, Any]) -> bool:
    return bool(service["restart"] == "no")


@every_service
def test_images_are_pinned_or_built_here(name: str) -> None:
    """The same file brings up the same fleet next year."""
    service = SERVICES[name]

    assert "build" in service or PINNED.fullmatch(service["image"])


@every_service
def test_servers_have_health_checks_and_restart(name: str) -> None:
    """What runs for ever says how it is, and comes back by itself; what runs once does neither."""
    service = SERVICES[name]

    assert is_one_shot(service) != ("healthcheck" in service)
    assert is_one_shot(service) != (service["restart"] == "unless-stopped")


@every_service
def test_waits_only_for_what_can_be_awaited(name: str) -> None:
    """`healthy` needs a health check, `completed` a service that ends; else compose would wait for ever."""
    for other, wait in SERVICES[name].get("depends_on", {}).items():
        expected = {OF_ONE_SHOT} if is_one_shot(SERVICES[other]) else {"service_healthy", "service_started"}
        assert wait["condition"] in expected


@every_service
def test_no_secret_is_written_in_the_file(name: str) -> None:
    """Secrets come from .env, and a missing one is an error. Only the stand-in on loopback takes any word."""
    environment = SERVICES[name].get("environment", {})
    is_stand_in = "//127.0.0.1:" in environment.get("REPLICATE_BASE_URL", "")
    for variable, value in environment.items():
        if SECRET.search(variable) and not (is_stand_in and variable == "REPLICATE_API_TOKEN"):
            assert value is None or re.fullmatch(r"\$\{\w+:\?[^}]+\}|\$\{REPLICATE_API_TOKEN:-\}", value), variable
        for password in re.findall(r"//\w*:([^@]*)@", str(value)):
            assert re.match(r"\$\{\w+:\?", password), variable


@every_service
def test_nothing_listens_beyond_this_host(name: str) -> None:
    """Published ports are on loopback."""
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:")


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "build" in service])
def test_our_own_containers_are_locked_down(name: str) -> None:
    """They run our code and nothing else needs to be possible in them."""
    service = SERVICES[name]

    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", ["worker", "demo-worker"])
def test_workers_may_finish_what_they_do(name: str) -> None:
    """A minute to end a copy, and no fixed name that would stop `--scale`."""
    assert SERVICES[name]["stop_grace_period"] == "60s"
    assert not {"container_name", "ports"} & SERVICES[name].keys()


def test_the_demo_shares_nothing_with_real_work_but_the_parts() -> None:
    """The stand-in, its worker and its batch are one profile, and no other service waits for them or talks to them."""
    demo = {name for name, service in SERVICES.items() if service.get("profiles") == ["demo"]}
    assert demo == {"sandbox", "demo-worker", "demo"}

    for name in SERVICES.keys() - demo:
        assert not demo & SERVICES[name].get("depends_on", {}).keys()
        assert "sandbox" not in SERVICES[name].get("network_mode", "")


def test_redis_keeps_and_never_evicts() -> None:
    """Append-only file, no eviction: a queue that forgets costs delay."""
    command = " ".join(SERVICES["redis"]["command"])

    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


def test_every_variable_is_documented() -> None:
    """What the file asks of its environment is in env.example, and nothing else is."""
    asked = set(re.findall(r"(?<!\$)\$\{(\w+)", FILE.read_text()))
    documented = set(re.findall(r"^(\w+)=", EXAMPLE.read_text(), flags=re.MULTILINE))

    assert asked == documented


def test_every_setting_reaches_the_workers() -> None:
    """None that somebody writes into .env is dropped without a word; what has no value there is not set."""
    assert {str(field.alias) for field in Settings.model_fields.values()} <= set(SERVICES["worker"]["environment"])


def test_defaults_are_those_of_the_example() -> None:
    """A .env copied from the example changes nothing that was not meant to change."""
    example = dict(re.findall(r"^(\w+)=(.*)$", EXAMPLE.read_text(), flags=re.MULTILINE))
    for variable, default in re.findall(r"\$\{(\w+):-([^}]*)\}", FILE.read_text()):
        assert default == example[variable], variable


def make_env(target: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, MAKE_ENV, target], capture_output=True, text=True, timeout=30, check=False)


def test_make_env_writes_fresh_secrets(tmp_path: Path) -> None:
    """Different from each other and from the next, long, safe in a URL, and readable by their owner alone."""
    files = [tmp_path / "one", tmp_path / "two"]
    for file in files:
        assert make_env(file).returncode == 0
    secrets = [secret for file in files for secret in re.findall(r"=([0-9a-f]{48})$", file.read_text(), flags=re.M)]

    assert len(set(secrets)) == 2 * EXAMPLE.read_text().count("=<generated>")
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600


def test_make_env_leaves_a_file_alone(tmp_path: Path) -> None:
    """Its passwords are in use: PostgreSQL keeps the first one it was given."""
    (tmp_path / ".env").write_text("precious")

    refused = make_env(tmp_path / ".env")

    assert refused.returncode == 1
    assert "exists already" in refused.stderr
    assert (tmp_path / ".env").read_text() == "precious"


class TestDockerfile:
    def test_is_pinned_and_verified(self) -> None:
        """One exact base, and no package but those of the lock file, each by its hash."""
        text = DOCKERFILE.read_text()
        bases = set(re.findall(r"^FROM (\S+)", text, flags=re.MULTILINE))

        assert len(bases) == 1
        assert PINNED.fullmatch(bases.pop())
        assert "--require-hashes --only-binary :all: --requirement requirements.lock" in text
        assert "test" not in text

    def test_runs_as_nobody_special(self) -> None:
        """Not as root, and by number, so that a cluster's policy can check it."""
        assert re.search(r"^USER [1-9]\d+$", DOCKERFILE.read_text(), flags=re.MULTILINE)

    def test_copies_every_package(self) -> None:
        """A new top-level package that the image forgets would be missed only in production."""
        packages = {path.parent.name for path in ROOT.glob("*/py.typed")}
        copied = set(re.findall(r"^COPY (\w+) \w+$", DOCKERFILE.read_text(), flags=re.MULTILINE))

        assert packages == copied

    def test_builder_gets_no_secrets(self) -> None:
        """The build context begins with nothing and names what it lets in, all of which is copied."""
        ignore = (ROOT / "ops" / "Dockerfile.dockerignore").read_text().splitlines()
        rules = [line for line in ignore if line and not line.startswith("#")]
        let_in = {rule[1:] for rule in rules if rule.startswith("!")}

        assert rules[0] == "*"
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE.read_text(), flags=re.MULTILINE):
            assert set(line.split()) <= let_in
