"""A server whose terminal was closed can be stopped like any other."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

from tests.e2e.server import PATIENCE, ROOT


def test_it_stops_although_nobody_can_read_what_it_says(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    server = subprocess.Popen(
        [sys.executable, "manage.py", "serve"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PORT": "0", "DEERFLOW_DATA_DIR": str(tmp_path)},
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        said = b""
        while b"Serving on" not in said:
            said += os.read(ours, 4096)
        os.close(ours)
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE) == 0
    finally:
        server.kill()
        server.wait()
