"""Bodies that are too large: refused when they end, cut when they do not, and never kept."""

import socket
from urllib.parse import urlsplit

import httpx

from tests.e2e.server import Server

_MEGABYTE = b" " * 2**20


def test_a_body_above_the_limit_is_refused(server: Server, key: str) -> None:
    answer = httpx.post(
        f"{server.url}/threads",
        content=_MEGABYTE * 6,
        headers={"X-Api-Key": key, "Content-Type": "application/json"},
        timeout=60,
    )

    assert (answer.status_code, answer.json()) == (413, {"detail": "The body is too large."})


def test_a_body_without_end_is_cut(server: Server, key: str) -> None:
    place = urlsplit(server.url)
    with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
        connection.sendall(
            f"POST /threads HTTP/1.1\r\nHost: {place.netloc}\r\nX-Api-Key: {key}\r\n"
            "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        sent = 0
        try:
            while sent < 200:
                connection.sendall(b"%x\r\n%b\r\n" % (len(_MEGABYTE), _MEGABYTE))
                sent += 1
        except OSError:
            pass

    assert sent < 200
    assert httpx.get(f"{server.url}/ok", timeout=60).json() == {"ok": True}
