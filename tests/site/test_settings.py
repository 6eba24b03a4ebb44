import re
import runpy
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

SETTINGS = Path(settings.BASE_DIR, "deerflow_site", "settings.py")
VARIABLES = set(re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', SETTINGS.read_text()))
SECRET = "0123456789abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def load(monkeypatch, tmp_path):
    """Read the settings as a fresh process would, with only these variables set."""
    monkeypatch.chdir(tmp_path)

    def load(**variables: str) -> dict[str, Any]:
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in {"DEERFLOW_DATA_DIR": str(tmp_path / "data"), **variables}.items():
            monkeypatch.setenv(name, value)
        return runpy.run_path(str(SETTINGS))

    return load


def test_a_fresh_machine_needs_no_variable(load, tmp_path):
    values = load()
    assert (values["HOST"], values["PORT"], values["DEBUG"]) == ("127.0.0.1", 8000, False)
    assert values["DATABASES"]["default"]["NAME"] == tmp_path / "data" / "db.sqlite3"
    assert values["SECRET_KEY"] == (tmp_path / "data" / "secret_key").read_text()
    assert values["ALLOWED_HOSTS"] == ["localhost", "127.0.0.1", "[::1]"]
    assert values["LANGGRAPH_CONFIG"] is None
    assert not any("procrastinate" in app for app in values["INSTALLED_APPS"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"),
        ("PORT", "70000"),
        ("DEBUG", "perhaps"),
        ("WEB_THREADS", "0"),
        ("DEERFLOW_ENV", "prod"),
        ("DEERFLOW_DATA_DIR", "/dev/null/data"),
        ("DATABASE_URL", "mysql://db/agents"),
        ("REDIS_URL", "localhost"),
        ("LANGGRAPH_CONFIG", "missing.json"),
        ("CORS_ORIGINS", "app.example.org"),
        ("TRUSTED_PROXIES", "proxy"),
        ("WEBHOOK_ALLOW_PRIVATE", "2"),
        ("RUN_TIMEOUT", "-1"),
        ("MAX_ATTEMPTS", "0"),
        ("HEARTBEAT_SECONDS", "16"),
        ("DEFAULT_MULTITASK_STRATEGY", "queue"),
        ("DEFAULT_ON_DISCONNECT", "stop"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_bad_value_stops_the_start_and_names_the_variable(load, name, value):
    with pytest.raises(ImproperlyConfigured, match=f"^{name} "):
        load(**{name: value})


@pytest.mark.parametrize(
    ("variables", "missing"),
    [
        ({"ALLOWED_HOSTS": "agents.example.org"}, "SECRET_KEY"),
        ({"ALLOWED_HOSTS": "agents.example.org", "SECRET_KEY": SECRET[:31]}, "SECRET_KEY"),
        ({"SECRET_KEY": SECRET}, "ALLOWED_HOSTS"),
        ({"ALLOWED_HOSTS": "agents.example.org", "SECRET_KEY": SECRET, "DEBUG": "1"}, "DEBUG"),
    ],
)
def test_production_refuses_to_start_without(load, variables, missing):
    with pytest.raises(ImproperlyConfigured, match=f"^{missing} ") as raised:
        load(DEERFLOW_ENV="production", **variables)
    assert SECRET[:31] not in str(raised.value)


def test_production_keeps_no_secret_key_file_and_secures_its_cookies(load, tmp_path):
    values = load(DEERFLOW_ENV="production", ALLOWED_HOSTS="agents.example.org", SECRET_KEY=SECRET)
    assert not (tmp_path / "data" / "secret_key").exists()
    assert values["SESSION_COOKIE_SECURE"] and values["CSRF_COOKIE_SECURE"] and values["SECURE_HSTS_SECONDS"]
    assert values["CORS_ALLOWED_ORIGIN_REGEXES"] == []


def test_a_concrete_host_is_allowed_and_every_interface_is_not_a_host(load):
    assert "192.0.2.7" in load(HOST="192.0.2.7")["ALLOWED_HOSTS"]
    assert load(HOST="0.0.0.0")["ALLOWED_HOSTS"] == ["localhost", "127.0.0.1", "[::1]"]


def test_a_langgraph_json_beside_the_caller_is_found(load, tmp_path):
    (tmp_path / "langgraph.json").write_text("{}")
    assert load()["LANGGRAPH_CONFIG"] == tmp_path / "langgraph.json"


def test_every_origin_may_come_only_without_cookies(load):
    values = load(CORS_ORIGINS="*")
    assert values["CORS_ALLOW_ALL_ORIGINS"] and not values["CORS_ALLOW_CREDENTIALS"]
    assert values["CSRF_TRUSTED_ORIGINS"] == []


def test_a_named_origin_may_come_with_cookies(load):
    values = load(CORS_ORIGINS="https://app.example.org")
    assert values["CORS_ALLOWED_ORIGINS"] == values["CSRF_TRUSTED_ORIGINS"] == ["https://app.example.org"]
    assert values["CORS_ALLOW_CREDENTIALS"] and not values["CORS_ALLOW_ALL_ORIGINS"]


@pytest.mark.parametrize(
    ("origin", "welcome"),
    [
        ("http://localhost:3000", True),
        ("http://127.0.0.1:5173", True),
        ("https://localhost.example.org", False),
        ("http://localhost:3000.example.org", False),
        ("null", False),
    ],
)
def test_in_development_pages_of_this_machine_may_call_the_api(load, origin, welcome):
    values = load()
    assert any(re.match(pattern, origin) for pattern in values["CORS_ALLOWED_ORIGIN_REGEXES"]) is welcome
    assert not values["CORS_ALLOW_CREDENTIALS"]


def test_forwarded_schemes_count_only_behind_named_proxies(load):
    assert "SECURE_PROXY_SSL_HEADER" not in load()
    values = load(TRUSTED_PROXIES="10.0.0.0/8,::1")
    assert values["TRUSTED_PROXIES"] == [ip_network("10.0.0.0/8"), ip_network("::1")]
    assert values["MIDDLEWARE"][0] == "deerflow_site.middleware.TrustedProxyMiddleware"


def test_postgresql_brings_its_pool_and_the_job_queue(load):
    values = load(DATABASE_URL="postgres://u:p@db/agents", REDIS_URL="redis://cache:6379/0")
    assert values["DATABASES"]["default"]["OPTIONS"]["pool"]
    assert values["INSTALLED_APPS"][0] == "procrastinate.contrib.django"
    assert values["CHANNEL_LAYERS"]["default"]["BACKEND"].endswith("RedisPubSubChannelLayer")


def test_tokens_are_not_signed_with_the_secret_key_itself(load):
    values = load(SECRET_KEY=SECRET)
    key = values["SIMPLE_JWT"]["SIGNING_KEY"]
    assert len(key) == 64 and SECRET not in key
    assert load(SECRET_KEY=SECRET + "!")["SIMPLE_JWT"]["SIGNING_KEY"] != key


def test_every_variable_is_in_the_reference_and_nothing_else_is():
    reference = Path(settings.BASE_DIR, "docs", "reference", "settings.md").read_text()
    described = set(re.findall(r"^\| `([A-Z_]+)` \|", reference, re.MULTILINE))
    assert described == VARIABLES
