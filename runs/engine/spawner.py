"""The spawner: a process that has imported all that an engine needs, and forks engines on request.

Importing LangGraph takes seconds, a fork milliseconds: so an engine that died or had to be killed is replaced at once,
and engines share the memory of what they all import. It runs no thread, opens no database and imports no graph.

The host sends one byte with a file descriptor, the engine's end of its pipe; the spawner answers with the engine's
process id. The spawner ends with its host, an engine with its spawner (on Linux by the kernel, elsewhere when the pipe
closes).
"""

import contextlib
import ctypes
import os
import signal
import socket
import sys

from runs.engine.pipe import DUTIES, PID, ignore_stop_signals
from runs.engine.process import run_engine

_PR_SET_PDEATHSIG = 1


def main(descriptor: int) -> None:
    """Serve the host at the other end of this descriptor until it is gone."""
    ignore_stop_signals()
    signal.signal(signal.SIGCHLD, _bury)
    spawner = os.getpid()
    with socket.socket(fileno=descriptor) as host:
        while True:
            request, descriptors, _, _ = socket.recv_fds(host, 1, 1)
            if not request:
                return
            pid = os.fork()
            if pid == 0:
                host.close()
                die_with(spawner)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                run_engine(socket.socket(fileno=descriptors[0]), DUTIES[request])
            os.close(descriptors[0])
            host.sendall(PID.pack(pid))


def die_with(parent: int) -> None:
    """Be killed when the process `parent` ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _bury(*_: object) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
