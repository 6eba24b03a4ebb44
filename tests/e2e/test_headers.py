"""Headers that a client may not speak for the site with."""

import httpx
import pytest

from tests.e2e.server import Server


@pytest.mark.parametrize("root", [b"/x", b"\xff", b"%0d%0aX-Evil:1"])
def test_a_client_does_not_say_where_the_site_is_mounted(server: Server, root: bytes) -> None:
    headers = {b"Daphne-Root-Path": root}

    assert httpx.get(f"{server.url}/x/admin/login/", headers=headers).status_code == 404
    assert httpx.get(f"{server.url}/admin/", headers=headers).headers["location"].startswith("/admin/login/")


def test_files_of_the_server_are_its_owners_alone(server: Server) -> None:
    files = [path for path in server.data_dir.iterdir() if path.suffix.startswith(".sqlite3")]

    assert files
    assert {path.name: path.stat().st_mode & 0o077 for path in files} == {path.name: 0 for path in files}
