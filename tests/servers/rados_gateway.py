"""Ceph's radosgw: a real object store that checks every signature. Debian's ceph-mon, ceph-osd and radosgw."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.servers.ports import free_port
from tests.servers.process import Server
from tests.servers.requirement import require
from tests.servers.s3 import S3Server

_OBJECT_STORE_BYTES = 4 * 2**30  # a sparse file: it takes what is written
_TOOLS = ("ceph", "ceph-authtool", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")

# One monitor, one object store, one copy of everything, no authentication between them: only radosgw's own remains.
# Without the two "on start" lines the object store asks for its place with the wrong cluster id and is refused.
# The monitor by itself gathers changes for a second before it agrees with itself on each: ten seconds, all told.
_CONFIGURATION = """\
[global]
fsid = {cluster}
mon host = [v1:127.0.0.1:{monitor_port}]
ms bind msgr2 = false
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd crush chooseleaf type = 0
mon allow pool size one = true
osd objectstore = bluestore
osd class update on start = false
osd crush update on start = false
paxos propose interval = 0.05
keyring = {folder}/keyring
run dir = {folder}
admin socket = {folder}/$name.sock
log file =
log to stderr = true
mon data = {folder}/mon
mon data avail crit = 1
osd data = {folder}/osd
public addr = 127.0.0.1
cluster addr = 127.0.0.1
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{gateway_port}
"""


class Ceph:
    """The cluster's configuration, and its command-line tools run against it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = require(*_TOOLS)
        self.cluster = str(uuid.uuid4())
        self.monitor_port = free_port()

    def configure(self, *, gateway_port: int) -> None:
        """Write ceph.conf."""
        for part in ("mon", "osd", "rgw"):
            (self.folder / part).mkdir(parents=True)
        facts = {"cluster": self.cluster, "monitor_port": self.monitor_port, "gateway_port": gateway_port}
        (self.folder / "ceph.conf").write_text(_CONFIGURATION.format(folder=self.folder, **facts))

    def command(self, program: str, *arguments: str) -> list[str]:
        """A program's full path with this cluster's configuration."""
        return [str(self.programs[program]), "-c", str(self.folder / "ceph.conf"), *arguments]

    def run(self, program: str, *arguments: str, timeout_seconds: float = 60.0) -> str:
        """Run a tool to its end and return what it printed; raises CalledProcessError, TimeoutExpired."""
        return subprocess.run(
            self.command(program, *arguments),
            check=True,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            stdin=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", os.defpath)},
        ).stdout


class _Monitor(Server):
    not_yet = (subprocess.SubprocessError,)

    def __init__(self, ceph: Ceph) -> None:
        super().__init__(ceph.folder)
        self._ceph = ceph

    def make(self) -> None:
        """An empty cluster map with this one monitor in it."""
        keyring, monitors = str(self.folder / "keyring"), str(self.folder / "monitors")
        everything = ("--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *")
        for name in ("mon.", "client.admin"):
            extra = ("--create-keyring",) if name == "mon." else ()
            self._ceph.run("ceph-authtool", keyring, *extra, "--gen-key", "-n", name, *everything)
        address = f"[v1:127.0.0.1:{self._ceph.monitor_port}]"
        self._ceph.run("monmaptool", "--create", "--fsid", self._ceph.cluster, "--addv", "a", address, monitors)
        self._ceph.run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monitors, "--keyring", keyring)

    def command(self) -> Sequence[str]:
        return self._ceph.command("ceph-mon", "-i", "a", "-f")

    def is_ready(self) -> bool:
        self._ceph.run("ceph", "--connect-timeout", "2", "mon", "stat")
        return True


class _ObjectStore(Server):
    not_yet = (subprocess.SubprocessError,)

    def __init__(self, ceph: Ceph) -> None:
        super().__init__(ceph.folder)
        self._ceph = ceph

    def make(self) -> None:
        """One object store on a sparse file, known to the running monitor."""
        identity = str(uuid.uuid4())
        self._ceph.run("ceph", "osd", "new", identity, "0")
        with (self.folder / "osd" / "block").open("wb") as block:
            block.truncate(_OBJECT_STORE_BYTES)
        self._ceph.run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", identity)
        self._ceph.run("ceph", "osd", "crush", "add", "osd.0", "1", "root=default", "host=here")

    def command(self) -> Sequence[str]:
        return self._ceph.command("ceph-osd", "-i", "0", "-f")

    def is_ready(self) -> bool:
        return bool(json.loads(self._ceph.run("ceph", "osd", "stat", "--format", "json"))["num_up_osds"])


class RadosGateway(S3Server):
    """The three daemons as one server. `pause` and `resume` mean the gateway, `stop` and `kill` all three."""

    start_seconds = 90.0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._ceph = Ceph(folder)
        self._monitor = _Monitor(self._ceph)
        self._object_store = _ObjectStore(self._ceph)

    def command(self) -> Sequence[str]:
        """The gateway itself."""
        return self._ceph.command("radosgw", "-n", "client.rgw", "-f")

    def start(self) -> Self:
        """Bottom up; the first time, the cluster and the user are made. See `Server.start` for what is raised.

        After `kill` it takes half a minute: the gateway waits until its dead predecessor's watches time out.
        """
        try:
            self._start_store()
            return super().start()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Top down."""
        super().stop()
        self._object_store.stop()
        self._monitor.stop()

    def kill(self) -> None:
        """All three, as when the machine goes."""
        super().kill()
        self._object_store.kill()
        self._monitor.kill()

    def _start_store(self) -> None:
        is_new = not (self.folder / "ceph.conf").exists()
        if is_new:
            self._ceph.configure(gateway_port=self.port)
            self._monitor.make()
        self._monitor.start()
        if is_new:
            self._object_store.make()
        self._object_store.start()
        if is_new:
            keys = (f"--access-key={self.access_key}", f"--secret-key={self.secret_key}")
            self._ceph.run("radosgw-admin", "user", "create", "--uid=tests", "--display-name=tests", *keys)
