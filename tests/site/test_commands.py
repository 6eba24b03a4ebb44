"""Commands that cannot do their work say why in one sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def say(data_dir: Path, *command: str, **settings: str) -> str:
    """What a command that fails writes on standard error."""
    ended = subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "DEERFLOW_DATA_DIR": str(data_dir), **settings},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1 and not ended.stdout
    return ended.stderr


@pytest.mark.parametrize("command", [("serve",), ("createkey", "--email", "alice@acme.test")])
def test_a_setting_that_cannot_be_used_is_named(tmp_path: Path, command: tuple[str, ...]) -> None:
    assert say(tmp_path, *command, PORT="abc") == "PORT must be a whole number, not 'abc'.\n"


def test_a_key_needs_a_database(tmp_path: Path) -> None:
    said = say(tmp_path, "createkey", "--email", "alice@acme.test")
    assert said.startswith("CommandError: There is no database here yet") and len(said.splitlines()) == 1
