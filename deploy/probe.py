"""Ask the server on this machine whether it is well: `probe.py /ready` ends with 0 for a 200, otherwise with 1."""

import http.client
import os
import sys

SECONDS = 4


def status_of(path: str) -> int:
    """The status of the answer. Raises OSError or HTTPException when there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("PORT") or 8000), timeout=SECONDS)
    connection.request("GET", path)
    return connection.getresponse().status


if __name__ == "__main__":
    try:
        sys.exit(status_of(sys.argv[1]) != 200)
    except (OSError, http.client.HTTPException) as exc:
        sys.exit(f"no answer: {exc}")
