"""What the server says about itself, to everybody."""

import re
from importlib.metadata import version

import pytest
from django.conf import settings
from django.test import Client

from deerflow_site.about import Health, Info

both = pytest.mark.parametrize("prefix", ["", "/api"])


@both
def test_ok_says_so(prefix):
    response = Client().get(f"{prefix}/ok")
    assert response.json() == {"ok": True}
    assert response.headers["Cache-Control"] == "no-store"
    Health.model_validate(response.json())


@both
def test_info_says_what_clients_ask_for(prefix):
    info = Client().get(f"{prefix}/info").json()
    Info.model_validate(info)
    assert (info["version"], info["langgraph_py_version"]) == (settings.VERSION, version("langgraph"))
    assert info["flags"] == {"assistants": True, "crons": True, "langsmith": False, "strict_resume": True}


def test_info_tells_nothing_that_helps_an_attacker():
    """Neither secrets and addresses nor the versions of what else runs here."""
    text = Client().get("/info").content.decode()
    assert re.findall(r"\d+\.\d+[.\w]*", text) == [settings.VERSION, version("langgraph")]
    for name in ("SECRET_KEY", "DATA_DIR", "BASE_DIR"):
        assert str(getattr(settings, name)) not in text


@pytest.mark.parametrize("path", ["/ok", "/info"])
@pytest.mark.parametrize("headers", [{"x-api-key": "nonsense"}, {"authorization": "Bearer nonsense"}])
def test_a_credential_that_is_none_does_not_matter(path, headers):
    assert Client().get(path, headers=headers).status_code == 200


@pytest.mark.parametrize("path", ["/ok", "/info"])
def test_the_database_is_not_asked(path):
    """A probe is answered when it is away. Tests without the mark for it may not ask."""
    assert Client().get(path).status_code == 200


@pytest.mark.parametrize("path", ["/ok", "/info"])
def test_there_is_nothing_to_write(path):
    assert Client().post(path).status_code == 405
    assert Client().head(path).content == b""
