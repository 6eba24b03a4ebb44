"""What the system says of a process. Only Linux says it."""

import os
import resource
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process holds at one moment."""

    rss_bytes: int
    threads: int
    #: Open descriptors of SQLite files, their logs included: what database connections hold.
    sqlite_fds: int


def usage(pid: int) -> Usage | None:
    """What the process holds; None where the system does not say."""
    proc = Path("/proc", str(pid))
    try:
        resident_pages = int((proc / "statm").read_text().split()[1])
        threads = len(os.listdir(proc / "task"))
        sqlite_fds = sum(".sqlite3" in _target(link) for link in (proc / "fd").iterdir())
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        return None
    return Usage(resident_pages * resource.getpagesize(), threads, sqlite_fds)


def _target(link: Path) -> str:
    """Where a descriptor leads; nowhere if it has been closed since it was listed."""
    try:
        return os.readlink(link)
    except FileNotFoundError:
        return ""


def raise_file_limit() -> int:
    """Let this process and those it starts open as many files as the system allows; answers how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = max(soft, 65536)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        return soft
    return hard
