"""The server as it is shipped, started for a measurement and stopped after it."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.services import postgres, redis

ROOT = Path(__file__).parents[1]
GRAPHS = Path(__file__).with_name("graphs") / "langgraph.json"

_WORKING = re.compile(r"^Working$", re.MULTILINE)
_SERVING = re.compile(r"^Serving on (http://\S+)$", re.MULTILINE)
_START_SECONDS = 120
_STOP_SECONDS = 40


class Failed(Exception):
    """A command of the server did not do its work; the message is the end of what it said."""


@dataclass(frozen=True, slots=True)
class Served:
    """A server that answers: where, to whom, and which process it is."""

    url: str
    key: str = field(repr=False)
    pid: int
    _log: Path

    def said(self) -> str:
        """The end of its log."""
        return _end(_read(self._log))


@contextlib.contextmanager
def serving(shape: str) -> Iterator[Served]:
    """A server on a free port and an empty data directory, with the graphs that are measured. Raises Failed.

    In the shape `postgres` there are a PostgreSQL, a Redis and a worker beside it, which it leaves the runs to. Its
    settings are the defaults, but for the number of sockets of a key, and what the environment says of others.
    """
    with services(shape) as addresses, serving_on(addresses) as served:
        yield served


@contextlib.contextmanager
def serving_on(addresses: Mapping[str, str]) -> Iterator[Served]:
    """As `serving`, on services that are there."""
    with tempfile.TemporaryDirectory(prefix="deerflow-bench-", ignore_cleanup_errors=True) as directory:
        environment = {**_environment(Path(directory, "data")), **addresses}
        log = Path(directory, "server.log")
        commands = [["serve", "--no-worker"], ["worker"]] if addresses else [["serve"]]
        processes = [_start(command, environment, log) for command in commands]
        try:
            url = _await_serving(processes, log)
            yield Served(url, _make_key(environment), processes[0].pid, log)
        finally:
            for process in processes:
                _stop(process)


@contextlib.contextmanager
def services(shape: str) -> Iterator[dict[str, str]]:
    """The services of a shape, as the settings that name them; none for `sqlite`."""
    if shape == "sqlite":
        yield {}
        return
    with postgres() as database_url, redis() as redis_url:
        yield {"DATABASE_URL": database_url, "REDIS_URL": redis_url}


def _environment(data_dir: Path) -> dict[str, str]:
    return {
        **os.environ,
        "DEERFLOW_ENV": "development",
        # One key opens all of them.
        "SOCKET_MAX_PER_CREDENTIAL": "100000",
        "DEERFLOW_DATA_DIR": str(data_dir),
        "HOST": "127.0.0.1",
        "PORT": "0",
        "LANGGRAPH_CONFIG": str(GRAPHS),
        "DRAIN_SECONDS": "1",
    }


def _start(command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "manage.py", *command],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # An interrupt from the keyboard is for the driver, which then stops the server in order.
            start_new_session=True,
        )


def _await_serving(processes: list[subprocess.Popen[bytes]], log: Path) -> str:
    end = time.monotonic() + _START_SECONDS
    while all(process.poll() is None for process in processes) and time.monotonic() < end:
        said = _read(log)
        if (found := _SERVING.search(said)) and (len(processes) == 1 or _WORKING.search(said)):
            return found[1]
        time.sleep(0.05)
    raise Failed(f"The server did not start.\n{_end(_read(log))}")


def _read(log: Path) -> str:
    return log.read_text(errors="replace")


def _end(said: str) -> str:
    return said[-2000:].strip()


def _make_key(environment: dict[str, str]) -> str:
    command = [sys.executable, "manage.py", "createkey", "--email", "bench@example.org", "--organization", "bench"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"No key could be made.\n{_end(done.stderr)}")
    return done.stdout.strip()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        # Its engines are in the same group.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
