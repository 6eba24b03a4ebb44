import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from deerflow_site import environment as env

NAME = "SOME_SETTING"


def refused(monkeypatch: pytest.MonkeyPatch, value: str, read) -> str:
    """The sentence with which a reader refuses this value."""
    monkeypatch.setenv(NAME, value)
    with pytest.raises(ImproperlyConfigured) as raised:
        read()
    return str(raised.value)


@pytest.mark.parametrize("value", [None, "", "  "])
def test_absent_and_empty_values_give_the_default(monkeypatch, tmp_path, value):
    if value is None:
        monkeypatch.delenv(NAME, raising=False)
    else:
        monkeypatch.setenv(NAME, value)
    assert env.text(NAME, "x") == "x"
    assert env.flag(NAME, True) is True
    assert env.integer(NAME, 7) == 7
    assert env.seconds(NAME, 1.5) == 1.5
    assert env.choice(NAME, "a", ("a", "b")) == "a"
    assert env.listing(NAME) == env.networks(NAME) == env.origins(NAME) == []
    assert env.existing_file(NAME, tmp_path / "none.json") is None
    assert env.postgres(NAME) is None
    assert env.redis(NAME) == ""


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("maybe", lambda: env.flag(NAME, False)),
        ("2.5", lambda: env.integer(NAME, 1)),
        ("0", lambda: env.integer(NAME, 1, at_least=1)),
        ("65536", lambda: env.integer(NAME, 1, at_most=65535)),
        ("soon", lambda: env.seconds(NAME, 1)),
        ("0", lambda: env.seconds(NAME, 1)),
        ("nan", lambda: env.seconds(NAME, 1)),
        ("inf", lambda: env.seconds(NAME, 1)),
        ("c", lambda: env.choice(NAME, "a", ("a", "b"))),
        ("10.0.0.1,proxy", lambda: env.networks(NAME)),
        ("10.0.0.1/8", lambda: env.networks(NAME)),
        ("app.example.org", lambda: env.origins(NAME)),
        ("https://app.example.org/path", lambda: env.origins(NAME)),
        ("*,https://app.example.org", lambda: env.origins(NAME)),
        ("null", lambda: env.origins(NAME)),
        ("/nowhere/langgraph.json", lambda: env.existing_file(NAME, Path("langgraph.json"))),
        ("/dev/null/data", lambda: env.directory(NAME, Path("data"))),
        ("localhost:6379", lambda: env.redis(NAME)),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_name(monkeypatch, value, read):
    assert refused(monkeypatch, value, read).startswith(NAME)


@pytest.mark.parametrize(
    "value",
    ["mysql://u:hunter2@db/x", "sqlite:///x", "hunter2", "postgres://u:hunter2@db", "postgres://u:hunter2@db:port/x"],
)
def test_a_bad_database_address_is_refused_without_its_password(monkeypatch, value):
    sentence = refused(monkeypatch, value, lambda: env.postgres(NAME))
    assert sentence.startswith(NAME)
    assert "hunter2" not in sentence


def test_a_database_address_becomes_django_settings(monkeypatch):
    monkeypatch.setenv(NAME, "postgresql://u:p%40ss@db.example.org:5433/agents?sslmode=require")
    settings = env.postgres(NAME)
    assert settings is not None
    assert settings["ENGINE"] == "django.db.backends.postgresql"
    assert (settings["HOST"], settings["PORT"], settings["NAME"]) == ("db.example.org", 5433, "agents")
    assert (settings["USER"], settings["PASSWORD"]) == ("u", "p@ss")
    assert settings["OPTIONS"] == {"sslmode": "require"}


def test_lists_are_separated_by_commas(monkeypatch):
    monkeypatch.setenv(NAME, " a.example.org, ,b.example.org,")
    assert env.listing(NAME) == ["a.example.org", "b.example.org"]


def test_origins_lose_their_closing_slash(monkeypatch):
    monkeypatch.setenv(NAME, "https://app.example.org/, http://localhost:3000")
    assert env.origins(NAME) == ["https://app.example.org", "http://localhost:3000"]


def test_the_data_directory_is_made_for_its_owner_alone(monkeypatch, tmp_path):
    monkeypatch.setenv(NAME, str(tmp_path / "deep" / "data"))
    path = env.directory(NAME, Path("unused"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_data_directory_that_is_there_keeps_its_mode(monkeypatch, tmp_path):
    tmp_path.chmod(0o755)
    monkeypatch.setenv(NAME, str(tmp_path))
    env.directory(NAME, Path("unused"))
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_secret_is_made_once_and_only_its_owner_reads_it(tmp_path):
    path = tmp_path / "secret_key"
    secret = env.kept_secret(path)
    assert len(secret) >= 50
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert env.kept_secret(path) == secret
    assert os.listdir(tmp_path) == ["secret_key"]


def test_processes_that_start_together_agree_on_one_secret(tmp_path):
    path = tmp_path / "secret_key"
    with ThreadPoolExecutor(16) as pool:
        secrets = set(pool.map(env.kept_secret, [path] * 64))
    assert secrets == {path.read_text()}
    assert os.listdir(tmp_path) == ["secret_key"]


def test_a_cut_secret_is_refused_with_the_name_of_its_file(tmp_path):
    path = tmp_path / "secret_key"
    path.write_text("short")
    with pytest.raises(ImproperlyConfigured, match="secret_key holds no usable secret"):
        env.kept_secret(path)
