"""`python -m tests.on_postgres`: the tests that hold for every database, or those named, on a real PostgreSQL."""

import os
import subprocess
import sys

from tests.services import postgres

FOLDERS = [
    "tests/accounts",
    "tests/runs",
    "tests/api",
    "tests/test_tenancy.py",
    "tests/contracts",
    "tests/site/test_outage.py",
]

if __name__ == "__main__":
    with postgres() as url:
        named = any(argument.startswith("tests/") for argument in sys.argv[1:])
        folders = [] if named else FOLDERS
        command = [sys.executable, "-m", "pytest", "-m", "not one_machine", *folders, *sys.argv[1:]]
        sys.exit(subprocess.run(command, env={**os.environ, "DATABASE_URL": url}, check=False).returncode)
