"""The stand-in provider as a real process, steered and asked over its control endpoints."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import requests

from tests.servers.ports import free_port
from tests.servers.process import Server
from tests.servers.waiting import eventually

STABLE_DIFFUSION = "ac732df83cea7fff18b8472768c88ad041fa750ff7682a21affe81863cbe77e4"
FINAL = ("succeeded", "failed", "canceled", "aborted")
_ROOT = Path(__file__).parents[2]
_TIMEOUT_SECONDS = 30.0


class SandboxServer(Server):
    """`python -m sandbox` with quick runs and no limits, unless the options say otherwise.

    An option is named as on its command line: `SandboxServer(folder, run_seconds=2, creates_per_minute=600)`. It keeps
    a journal in its folder, so `start` after `stop` or `kill` goes on with the same predictions and address.
    """

    token = "sandbox-token"

    def __init__(self, folder: Path, **options: str | float | Path) -> None:
        super().__init__(folder)
        self.port = free_port()
        usual = {"run_seconds": 0.2, "creates_per_minute": 0, "calls_per_minute": 0}
        self._options = {**usual, "token": self.token, "state": folder / "state.jsonl", **options}

    @property
    def url(self) -> str:
        """What REPLICATE_BASE_URL is set to."""
        return f"http://127.0.0.1:{self.port}{self._options.get('prefix', '')}"

    @property
    def settings(self) -> dict[str, str]:
        """The variables that point a program of ours at this provider."""
        return {"REPLICATE_BASE_URL": self.url, "REPLICATE_API_TOKEN": self.token}

    def command(self) -> Sequence[str]:
        options = [part for name, value in self._options.items() for part in (_flag(name), str(value))]
        return [sys.executable, "-m", "sandbox", "--port", str(self.port), *options]

    def environment(self) -> Mapping[str, str]:
        return {"PYTHONPATH": str(_ROOT), "PYTHONWARNINGS": "error"}

    def is_ready(self) -> bool:
        return bool(self.stats())

    def restart(self) -> None:
        """SIGKILL and a new start, as a crash of the provider."""
        self.kill()
        self.start()

    def stats(self) -> dict[str, Any]:
        """What it was asked and what it accepted: see `sandbox/stats.py`."""
        counted: dict[str, Any] = self._control("GET", "stats")
        return counted

    def predictions(self) -> list[dict[str, Any]]:
        """Every accepted prediction, oldest first, with its input even after expiry."""
        listed: list[dict[str, Any]] = self._control("GET", "predictions")["predictions"]
        return listed

    def faults(self, rules: list[dict[str, Any]]) -> None:
        """These rules in place of all earlier ones: see `sandbox/faults.py`. An empty list ends all faults."""
        self._control("PUT", "faults", rules)

    def limits(self, **limits: float | str) -> None:
        """Change any of creates_per_minute, calls_per_minute, burst, early_retry_extends, wait_hint."""
        self._control("PUT", "limits", limits)

    def reset(self) -> None:
        """Forget all predictions, counts and fault rules; limits are those of the command line again."""
        self._control("POST", "reset")

    def call(
        self, method: str, path: str, *, timeout: float | tuple[float, float] = _TIMEOUT_SECONDS, **kwargs: Any
    ) -> requests.Response:
        """One authenticated API call, `path` without /v1; keyword arguments are those of `requests.request`."""
        headers = {"Authorization": f"Bearer {self.token}", **kwargs.pop("headers", {})}
        return requests.request(method, f"{self.url}/v1/{path}", headers=headers, timeout=timeout, **kwargs)

    def create(self, **given: Any) -> dict[str, Any]:
        """An accepted prediction with this input."""
        reply = self.call("POST", "predictions", json={"version": STABLE_DIFFUSION, "input": given})
        reply.raise_for_status()
        created: dict[str, Any] = reply.json()
        return created

    def get(self, prediction_id: str) -> dict[str, Any]:
        """The prediction as it is now."""
        seen: dict[str, Any] = self.call("GET", f"predictions/{prediction_id}").json()
        return seen

    def finished(self, prediction_id: str) -> dict[str, Any]:
        """The prediction once it has ended."""

        def ended() -> dict[str, Any] | None:
            seen = self.get(prediction_id)
            return seen if seen["status"] in FINAL else None

        seen = eventually(ended, what=f"prediction {prediction_id} ends")
        assert seen is not None
        return seen

    def _control(self, method: str, name: str, body: Any = None) -> Any:
        reply = requests.request(method, f"{self.url}/sandbox/{name}", json=body, timeout=_TIMEOUT_SECONDS)
        if not reply.ok:
            raise ValueError(reply.text)
        return reply.json()


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
