"""Commands that cannot do their work say why in one sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import load_command_class
from django.core.management.base import CommandError

ROOT = Path(__file__).parents[2]
CONCURRENCY_PROBLEM = "argument --concurrency: must be a whole number, at least 1"


def say(data_dir: Path, *command: str, status: int = 1, **settings: str) -> str:
    """What a command that fails writes on standard error."""
    ended = subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "DEERFLOW_DATA_DIR": str(data_dir), **settings},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == status and not ended.stdout
    return ended.stderr


@pytest.mark.parametrize("command", [("serve",), ("createkey", "--email", "alice@acme.test")])
def test_a_setting_that_cannot_be_used_is_named(tmp_path: Path, command: tuple[str, ...]) -> None:
    assert say(tmp_path, *command, PORT="abc") == "PORT must be a whole number, not 'abc'.\n"


def test_a_key_needs_a_database(tmp_path: Path) -> None:
    said = say(tmp_path, "createkey", "--email", "alice@acme.test")
    assert said.startswith("CommandError: There is no database here yet") and len(said.splitlines()) == 1


@pytest.mark.parametrize("command", [("worker",), ("worker", "--no-migrate"), ("serve", "--no-worker")])
def test_what_needs_other_machines_needs_their_database(tmp_path: Path, command: tuple[str, ...]) -> None:
    said = say(tmp_path, *command)
    assert said.startswith("CommandError: ") and "needs DATABASE_URL" in said and len(said.splitlines()) == 1
    assert not list(tmp_path.glob("*.sqlite3*"))


def test_a_worker_that_would_run_nothing_is_refused(tmp_path: Path) -> None:
    said = say(tmp_path, "worker", "--concurrency", "0", status=2)
    assert said.splitlines()[-1] == f"manage.py worker: error: {CONCURRENCY_PROBLEM}"


@pytest.mark.parametrize("concurrency", ["0", "-1", "1.5", "many", ""])
def test_how_much_a_worker_does_at_once_is_a_number(concurrency: str) -> None:
    parser = load_command_class("deerflow_site", "worker").create_parser("manage.py", "worker")
    with pytest.raises(CommandError, match=CONCURRENCY_PROBLEM):
        parser.parse_args(["--concurrency", concurrency])
