"""`python -m runs.engine FD HOST_PID`: be the spawner of the host at the other end of the descriptor."""

import sys

import django

django.setup()

from runs.engine.spawner import die_with, main  # noqa: E402  models are needed to import it

if __name__ == "__main__":
    die_with(int(sys.argv[2]))
    main(int(sys.argv[1]))
