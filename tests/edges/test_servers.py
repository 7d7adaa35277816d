"""The servers that the other tests stand on are what they claim to be."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import botocore.exceptions
import psycopg
import pytest
import redis

from tests.servers.fault_proxy import BLACK_HOLE, NO_REPLIES, REFUSED, FaultProxy, Faults
from tests.servers.postgres import PostgresServer
from tests.servers.process import Server, ServerFailed
from tests.servers.redis_server import RedisLike, RedisServer
from tests.servers.requirement import require
from tests.servers.s3 import Bucket, MinistackServer, S3Server
from tests.servers.valkey import ValkeyServer
from tests.servers.waiting import eventually

ENGINES = pytest.mark.parametrize("engine", [ValkeyServer, RedisServer])


def connect(url: str, *, timeout_seconds: float = 2.0) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=timeout_seconds, retry=None)


class TestRedis:
    @ENGINES
    def test_acknowledged_writes_survive_a_kill(self, engine: type[RedisLike], tmp_path: Path) -> None:
        """What was acknowledged is there after SIGKILL and a new start at the same address."""
        with engine(tmp_path) as server, connect(server.url) as client:
            for number in range(1000):
                client.rpush("written", number)

            server.kill()
            server.start()

            assert client.llen("written") == 1000

    @ENGINES
    def test_is_set_up_as_in_production(self, engine: type[RedisLike], tmp_path: Path) -> None:
        """Append-only file on, nothing evicted."""
        with engine(tmp_path) as server, connect(server.url) as client:
            assert client.config_get("appendonly", "maxmemory-policy") == {
                "appendonly": "yes",
                "maxmemory-policy": "noeviction",
            }

    def test_refuses_a_wrong_password(self, valkey: ValkeyServer) -> None:
        """The password is asked for."""
        with (
            connect(valkey.url.replace(valkey.password, "wrong")) as client,
            pytest.raises(redis.AuthenticationError),
        ):
            client.ping()

    def test_listens_on_a_socket_alone(self, tmp_path: Path) -> None:
        """On a unix socket only the owner of the folder can reach it."""
        with ValkeyServer(tmp_path, unix_socket=True) as server, connect(server.url) as client:
            assert client.config_get("port") == {"port": "0"}

    def test_hangs_while_paused(self, tmp_path: Path) -> None:
        """A paused server keeps its connections and answers nothing, and goes on when resumed."""
        with ValkeyServer(tmp_path) as server, connect(server.url, timeout_seconds=0.2) as client:
            client.ping()

            server.pause()
            with pytest.raises(redis.TimeoutError):
                client.ping()
            server.resume()

            assert client.ping()

    def test_a_fresh_url_is_an_empty_database(self, valkey: ValkeyServer) -> None:
        """Whatever was written before, by whichever test, is not seen."""
        for _ in range(20):
            with connect(valkey.fresh_url()) as client:
                assert client.dbsize() == 0
                client.set("left", "behind")


class TestPostgres:
    def test_commits_survive_a_kill(self, tmp_path: Path) -> None:
        """Committed rows are there after SIGKILL of the postmaster and a new start at the same address."""
        with PostgresServer(tmp_path) as server:
            url = server.create_database().replace("+psycopg", "")
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS number")

                server.kill()
                with pytest.raises(psycopg.OperationalError):
                    connection.execute("SELECT 1")
            server.start()

            with psycopg.connect(url) as connection:
                assert connection.execute("SELECT count(*) FROM kept").fetchone() == (1000,)

    def test_databases_are_strangers(self, postgres_server: PostgresServer) -> None:
        """Each test's database is its own, and gone afterwards even with a client still connected."""
        first, second = (postgres_server.create_database().replace("+psycopg", "") for _ in range(2))
        with psycopg.connect(first, autocommit=True) as one, psycopg.connect(second, autocommit=True) as two:
            one.execute("CREATE TABLE mine (n int)")
            assert two.execute("SELECT to_regclass('mine')").fetchone() == (None,)
            postgres_server.drop_database(first)
            postgres_server.drop_database(second)

        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            psycopg.connect(first)


class TestS3:
    def test_a_bucket_works_from_its_settings_alone(self, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
        """The variables are all that boto3, left at its defaults, needs."""
        for name, value in bucket.settings.items():
            monkeypatch.setenv(name, value)
        client = boto3.session.Session().client("s3")

        client.put_object(Bucket=bucket.name, Key="night/a.png", Body=b"bytes")

        assert client.get_object(Bucket=bucket.name, Key="night/a.png")["Body"].read() == b"bytes"

    @pytest.mark.parametrize("s3_server", ["radosgw"], indirect=True)
    def test_radosgw_checks_the_secret(self, s3_server: S3Server) -> None:
        """A wrong secret is refused; the emulator cannot tell, which is why it is not the only store tested."""
        with pytest.raises(botocore.exceptions.ClientError, match="SignatureDoesNotMatch"):
            s3_server.client(aws_secret_access_key="wrong").list_buckets()

    def test_objects_survive_a_kill(self, tmp_path: Path) -> None:
        """The emulator keeps objects on disk; radosgw's own durability needs no proof of ours."""
        with MinistackServer(tmp_path) as server:
            name = server.make_bucket()
            server.client().put_object(Bucket=name, Key="k", Body=b"bytes")

            server.kill()
            server.start()

            assert server.client().get_object(Bucket=name, Key="k")["Body"].read() == b"bytes"


@pytest.fixture
def proxy(valkey: ValkeyServer) -> Iterator[FaultProxy]:
    """A proxy before a real server."""
    with FaultProxy(port=valkey.port) as proxy:
        yield proxy


@pytest.fixture
def client(valkey: ValkeyServer, proxy: FaultProxy, redis_url: str) -> Iterator[redis.Redis]:
    """A client that goes through the proxy, into an empty database, and has connected once."""
    with connect(redis_url.replace(str(valkey.port), str(proxy.port)), timeout_seconds=0.3) as client:
        client.ping()
        yield client


class TestFaultProxy:
    def test_passes_everything_on(self, client: redis.Redis) -> None:
        """Without a fault it is not noticed, whatever the size."""
        client.set("big", "x" * 5_000_000)

        assert client.strlen("big") == 5_000_000
        assert len(client.get("big") or b"") == 5_000_000

    def test_delays(self, client: redis.Redis, proxy: FaultProxy) -> None:
        """Latency is added both ways."""
        proxy.faults = Faults(latency_seconds=0.1)
        begun = time.monotonic()

        client.ping()

        assert 0.2 <= time.monotonic() - begun < 0.3

    def test_refuses(self, client: redis.Redis, proxy: FaultProxy) -> None:
        """Refused until mended, at the same port."""
        proxy.faults = REFUSED
        proxy.cut_connections()
        with pytest.raises(redis.ConnectionError):
            client.ping()

        proxy.faults = Faults()

        assert client.ping()

    def test_a_black_hole_swallows_requests(self, client: redis.Redis, proxy: FaultProxy, redis_url: str) -> None:
        """The client waits in vain, and the server never heard of it."""
        proxy.faults = BLACK_HOLE
        with pytest.raises(redis.TimeoutError):
            client.set("k", "v")

        with connect(redis_url) as direct:
            assert direct.get("k") is None

    def test_lost_replies_mean_the_request_was_carried_out(
        self, client: redis.Redis, proxy: FaultProxy, redis_url: str
    ) -> None:
        """The client cannot tell this from a request that was lost: the case that may cost money."""
        proxy.faults = NO_REPLIES
        with pytest.raises(redis.TimeoutError):
            client.set("k", "v")

        with connect(redis_url) as direct:
            assert direct.get("k") == b"v"

    def test_cuts_within_a_reply(self, client: redis.Redis, proxy: FaultProxy) -> None:
        """Exactly so many bytes of replies come through, then a reset."""
        proxy.faults = Faults(cuts_after_reply_bytes=7)
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=2.0) as raw:
            raw.sendall(b"PING\r\n")
            assert raw.recv(100) == b"-NOAUTH"

            with pytest.raises(ConnectionResetError):
                raw.recv(100)

    def test_cuts_live_connections(self, proxy: FaultProxy) -> None:
        """A reset without a word, on an idle connection."""
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=2.0) as raw:
            eventually(lambda: proxy.connections == 1, what="the proxy accepts")
            proxy.cut_connections()

            with pytest.raises(ConnectionResetError):
                raw.recv(1)


class Broken(Server):
    """A server that cannot start."""

    def command(self) -> list[str]:
        return [sys.executable, "-c", "import sys; sys.exit('no such setting: moonlight')"]

    def is_ready(self) -> bool:
        return False


class TestProcess:
    def test_a_server_that_ends_is_reported_with_its_log(self, tmp_path: Path) -> None:
        """Not after the time-out, but as soon as it ends, and with its own words."""
        with pytest.raises(ServerFailed, match="moonlight"):
            Broken(tmp_path).start()

    def test_a_server_does_not_outlive_who_started_it(self, tmp_path: Path) -> None:
        """Not even when the tests are killed with SIGKILL and clean nothing up."""
        script = (
            "import sys, time; from pathlib import Path; from tests.servers.valkey import ValkeyServer\n"
            f"server = ValkeyServer(Path({str(tmp_path)!r})).start(); print(server.port, flush=True); time.sleep(60)"
        )
        root = Path(__file__).parents[2]
        with subprocess.Popen([sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE, text=True) as starter:
            assert starter.stdout is not None
            port = int(starter.stdout.readline())
            assert accepts(port)
            starter.send_signal(signal.SIGKILL)

        eventually(lambda: not accepts(port), what="the server ends")


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class TestMissingServers:
    def test_skips_on_a_developers_machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nobody must install Ceph to work on this."""
        monkeypatch.delenv("CI", raising=False)
        with pytest.raises(pytest.skip.Exception, match="no-such-server"):
            require("no-such-server")

    def test_fails_in_ci(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """There a server that went missing would make its tests worthless without anybody noticing."""
        monkeypatch.setenv("CI", "true")
        with pytest.raises(pytest.fail.Exception, match="no-such-server"):
            require("no-such-server")


class TestWaiting:
    def test_says_what_it_saw_last(self) -> None:
        """A time-out names what was waited for and what was there instead."""
        with pytest.raises(AssertionError, match=r"the moon rises: not within 0\.1 s; last seen: \[\]"):
            eventually(list, timeout_seconds=0.1, what="the moon rises")
