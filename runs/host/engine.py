"""An engine as its host sees it: a pipe with messages, and a process to kill."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings

from runs.engine import pipe
from runs.engine.pipe import Duty, request_engine

logger = logging.getLogger(__name__)


_LAST_WORDS_SECONDS = 0.2
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Spawner:
    """The process that forks engines; started anew when it is gone."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._socket: socket.socket | None = None
        self._lock = asyncio.Lock()

    async def engine(self, duty: Duty) -> "Engine":
        """A new engine. It is of use once it has said `hello`."""
        async with self._lock:
            ours, theirs = socket.socketpair()
            with theirs:
                pid = await asyncio.to_thread(self._request, await self._connected(), duty, theirs)
        reader, writer = await asyncio.open_connection(sock=ours)
        return Engine(duty, pid, reader, writer)

    def _request(self, spawner: socket.socket, duty: Duty, connection: socket.socket) -> int:
        try:
            return request_engine(spawner, duty, connection)
        except OSError:
            self.kill()
            raise

    async def _connected(self) -> socket.socket:
        if self._socket is None:
            ours, theirs = socket.socketpair()
            with theirs:
                self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "runs.engine", str(theirs.fileno()), str(os.getpid())),
                    pass_fds=[theirs.fileno()],
                    env=_environment(),
                )
            self._socket = ours
        return self._socket

    def close(self) -> None:
        """Let the spawner end; on Linux its engines end with it."""
        if self._socket:
            self._socket.close()
            self._socket = None

    def kill(self) -> None:
        """End the spawner now, and with it its engines."""
        self.close()
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        self._process = None


def _environment() -> dict[str, str]:
    paths = [str(settings.BASE_DIR), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


class Engine:
    """One engine of a host."""

    def __init__(self, duty: Duty, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.duty = duty
        self.pid = pid
        self.ready = asyncio.Event()
        #: Why each graph can not run, empty when it can; known once it is ready.
        self.graphs: dict[str, str] = {}
        #: For how many seconds its event loop has been held up, and by which run, if it is one's doing.
        self.stalled_for = 0.0
        self.stalled_by: uuid.UUID | None = None
        #: Seconds since it was heard; counted by the host.
        self.silent_for = 0.0
        self.gone = False
        #: Most of its threads are held by what stopped runs left behind.
        self.used_up = False
        #: The host ended it on purpose.
        self.killed = False
        #: It has one run for itself.
        self.solo = False
        #: The attempts that it executes, by run and claim; kept by the host.
        self.held: set[tuple[uuid.UUID, uuid.UUID]] = set()
        #: The questions that it has not answered yet; kept by the pool.
        self.calls: set[int] = set()
        self._reader = reader
        self._writer = writer
        self.ended = asyncio.Event()
        self._killer = _pidfd(pid)

    async def listen(self, on_message: Callable[["Engine", pipe.Message], None]) -> None:
        """Pass on every message until the engine is gone."""
        loop = asyncio.get_running_loop()
        if self._killer is not None:
            loop.add_reader(self._killer, self._on_exit)
        try:
            while True:
                size, payload_size = pipe.HEAD.unpack(await self._reader.readexactly(pipe.HEAD.size))
                body = await self._reader.readexactly(size)
                message = pipe.unpack(body, await self._reader.readexactly(payload_size))
                self._note(message)
                on_message(self, message)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.gone = True
            self.ready.set()
            self.ended.set()
            self._writer.close()
            if self._killer is not None:
                loop.remove_reader(self._killer)
                os.close(self._killer)
                self._killer = None

    def _on_exit(self) -> None:
        """The process is gone. Its pipe may not be: a process that a graph forked can hold the other end."""
        loop = asyncio.get_running_loop()
        if self._killer is not None:
            loop.remove_reader(self._killer)
        # What it said last may still be on its way through the pipe.
        loop.call_later(_LAST_WORDS_SECONDS, self._reader.feed_eof)

    def _note(self, message: pipe.Message) -> None:
        self.silent_for = 0.0
        if message.kind == "alive":
            self.stalled_for = message.fields["stalled_for"]
            self.used_up = message.fields["used_up"]
            stalled_by = message.fields["stalled_by"]
            self.stalled_by = stalled_by and uuid.UUID(stalled_by)
        elif message.kind == "hello":
            self.graphs = message.fields["graphs"]
            self.ready.set()

    def send(self, kind: str, **fields: Any) -> None:
        if not self.gone:
            self._writer.write(pipe.pack(kind, **fields))

    def memory_mb(self) -> float:
        """The memory that it occupies, but for files, in MiB; 0 where the system does not tell."""
        try:
            resident, shared = Path(f"/proc/{self.pid}/statm").read_text().split()[1:3]
        except (OSError, ValueError):
            return 0
        return (int(resident) - int(shared)) * _PAGE_BYTES / 2**20

    def kill(self, *, lost: bool = False) -> None:
        """End it now, whatever it does; `listen` returns soon. `lost`: for its runs it is as if it had crashed."""
        if self.gone:
            return
        self.killed = not lost
        with contextlib.suppress(ProcessLookupError):
            if self._killer is not None:
                signal.pidfd_send_signal(self._killer, signal.SIGKILL)
            else:
                os.kill(self.pid, signal.SIGKILL)


def _pidfd(pid: int) -> int | None:
    """A handle of the process that no other process can inherit, where the system has such."""
    if not hasattr(os, "pidfd_open"):
        return None
    with contextlib.suppress(OSError):
        return os.pidfd_open(pid)
    return None
