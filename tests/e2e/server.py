"""The shipped server, started by its public command in a process of its own."""

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from tests.e2e.waiting import until

ROOT = Path(__file__).parents[2]
GRAPHS = ROOT / "tests" / "graphs" / "langgraph.json"

#: What a program needs of the environment of the tests; everything else is the server's own business.
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")
#: What a command prints when it is ready: `serve` with its address, `worker` without one.
_READY = re.compile(r"^(?:Serving on (http://\S+)|Working\b.*)$", re.MULTILINE)
#: Generous: machines differ, and nothing here measures time.
PATIENCE = 120.0

#: Has the kernel kill what it then becomes, the server, when the tests end in whatever way.
_DYING_WITH_PARENT = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)

_numbers = itertools.count(1)


class DidNotStart(Exception):
    """The server ended instead of serving; the message is what it said."""


class Server:
    """One server and its data directory, which outlives the process: `start` after a `kill` is a restart.

    A restart listens on the same port, so that clients find it again. `words` are those of another command than
    `serve` alone; a worker has no `url`.
    """

    def __init__(self, data_dir: Path, *, words: Sequence[str] = ("serve",), **settings: str) -> None:
        self.data_dir = data_dir
        self.words = words
        self.settings = settings
        self.url = ""
        self._port = "0"
        self._process: subprocess.Popen[bytes] | None = None
        self.log_path = data_dir.with_name(f"{data_dir.name}.{next(_numbers)}.log")

    def __str__(self) -> str:
        return f"server of {self.data_dir.name}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, **settings: str) -> Self:
        """Serve, with these settings on top of its own. Raises DidNotStart."""
        self.launch(**settings)
        return self.await_serving()

    def launch(self, **settings: str) -> Self:
        """Start without waiting, so that several servers start at the same time."""
        self._said = len(self.log())
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _DYING_WITH_PARENT, "manage.py", *self.words],
                cwd=ROOT,
                env=self._environment(**settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def await_serving(self) -> Self:
        process = self._process
        assert process is not None
        found = until(lambda: _READY.search(self.log()[self._said :]) or process.poll() is not None, PATIENCE)
        if not isinstance(found, re.Match):
            raise DidNotStart(self.log()[self._said :])
        if found[1]:
            self.url = found[1]
            self._port = self.url.rpartition(":")[2]
        return self

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; answers its exit code."""
        self.signal(number)
        return self.await_exit()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def await_exit(self) -> int:
        assert self._process is not None
        return self._process.wait(PATIENCE)

    def kill(self) -> None:
        """End it as a crash or a loss of power does; its engines are none the wiser."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def run_command(self, *words: str) -> str:
        """What `manage.py` with these words prints on standard output."""
        done = subprocess.run(
            [sys.executable, "manage.py", *words], cwd=ROOT, env=self._environment(), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def key(self, email: str, organization: str) -> str:
        """A new API key of this user, an owner of this organization; both are made if they are missing."""
        return self.run_command("createkey", "--email", email, "--organization", organization).strip()

    def spawner_pid(self) -> int:
        """The server's only child, the parent of the engines."""
        [pid] = _children(self.pid)
        return pid

    def engine_pids(self) -> set[int]:
        """The engines: those for runs and the one for questions about state."""
        return set(_children(self.spawner_pid()))

    def family(self) -> set[int]:
        """Its process and all below it: the spawner and the engines, as many as there are at the moment."""
        found, fresh = {self.pid}, [self.pid]
        while fresh:
            fresh = [child for pid in fresh for child in _children(pid)]
            found.update(fresh)
        return found

    def lowest(self) -> set[int]:
        """Those of its family without children: the engines, once they are there."""
        return {pid for pid in self.family() - {self.pid} if not _children(pid)}

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def open_files(self, belongs: Callable[[str], bool]) -> int:
        """How many of its open descriptors lead to a place for which `belongs` is true."""
        count = 0
        for name in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                count += belongs(os.readlink(f"/proc/{self.pid}/fd/{name}"))
            except FileNotFoundError:
                continue
        return count

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def copy(self, data_dir: Path, **settings: str) -> "Server":
        """Another server on a copy of this one's data; this one must not be running."""
        shutil.copytree(self.data_dir, data_dir)
        return Server(data_dir, **settings)

    def _environment(self, **settings: str) -> dict[str, str]:
        return {
            **{name: os.environ[name] for name in _KEPT if name in os.environ},
            "LANGGRAPH_CONFIG": str(GRAPHS),
            "PORT": self._port,
            **self.settings,
            **settings,
            "DEERFLOW_DATA_DIR": str(self.data_dir),
        }


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be collected does not."""
    return _stat(pid) is not None


def _stat(pid: int) -> list[str] | None:
    """The fields of a living process's stat file, from its state on."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields


def _children(parent: int) -> list[int]:
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if (stat := _stat(pid)) and int(stat[1]) == parent]
