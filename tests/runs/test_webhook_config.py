"""`webhooks` of a langgraph.json."""

import json
from pathlib import Path
from typing import Any

import pytest

from runs.langgraph_json import ConfigError, read_config
from runs.webhook_config import AddressRules, BadWebhooks, WebhookConfig, read_webhooks

ENV = {"LG_WEBHOOK_KEY": "k", "LG_WEBHOOK_LINES": "a\r\nHost: b", "HOOK_KEY": "h", "SECRET_KEY": "s"}


def test_it_says_what_may_be_called_and_with_which_headers() -> None:
    config = read_webhooks(
        {
            "headers": {"Authorization": "Bearer ${{ env.LG_WEBHOOK_KEY }}", "X-Plain": "a b"},
            "url": {
                "require_https": True,
                "allowed_domains": ["*.Example.com"],
                "allowed_ports": [443],
                "max_url_length": 100,
                "disable_loopback": True,
            },
        },
        ENV,
    )
    assert config.headers == {"Authorization": "Bearer k", "X-Plain": "a b"}
    assert config.rules == AddressRules(True, ("*.example.com",), frozenset({443}), 100)
    assert "Bearer" not in repr(config)


def test_nothing_said_allows_what_is_allowed_anyway() -> None:
    assert read_webhooks({}, ENV) == WebhookConfig()


def test_another_prefix_opens_other_variables() -> None:
    document = {"env_prefix": "HOOK_", "headers": {"X": "${{env.HOOK_KEY}}"}, "url": {"allowed_domains": ["a.test"]}}
    assert read_webhooks(document, ENV).headers == {"X": "h"}


@pytest.mark.parametrize("url", [{}, {"allowed_domains": []}, {"require_https": True}])
def test_what_may_be_secret_goes_to_named_domains_only(url: dict[str, Any]) -> None:
    document = {"headers": {"X-Plain": "a", "X-Key": "Bearer ${{ env.LG_WEBHOOK_KEY }}"}, "url": url}
    with pytest.raises(BadWebhooks, match=r"'X-Key' names a variable.*allowed_domains"):
        read_webhooks(document, ENV)
    assert read_webhooks(document | {"headers": {"X-Plain": "a"}}, ENV).headers == {"X-Plain": "a"}


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ([], "must be an object"),
        ({"headrs": {}}, "no key 'headrs'"),
        ({"url": {"allow_domains": []}}, "no key 'allow_domains'"),
        ({"url": {"require_https": "yes"}}, "require_https"),
        ({"url": {"allowed_domains": "example.com"}}, "allowed_domains"),
        ({"url": {"allowed_ports": ["443"]}}, "allowed_ports"),
        ({"url": {"allowed_ports": [True]}}, "allowed_ports"),
        ({"url": {"max_url_length": 0}}, "max_url_length"),
        ({"env_prefix": ""}, "env_prefix"),
        ({"headers": {"X": 1}}, "must be a string"),
        ({"headers": {"X": "${{ env.SECRET_KEY }}"}}, "does not begin with LG_WEBHOOK_"),
        ({"headers": {"X": "${{ env.LG_WEBHOOK_GONE }}"}}, "is not set"),
        ({"headers": {"X": "${{ env.LG_WEBHOOK_LINES }}"}}, "one line"),
        ({"headers": {"X": "a\r\nHost: b"}}, "one line"),
        ({"headers": {"X": "grün"}}, "one line"),
        ({"headers": {"Host": "a"}}, "can not set 'Host'"),
        ({"headers": {"content-length": "1"}}, "can not set"),
        ({"headers": {"Webhook-Signature": "v1,"}}, "can not set"),
        ({"headers": {"X Y": "a"}}, "can not set"),
        ({"headers": {"X:": "a"}}, "can not set"),
        ({"headers": {"": "a"}}, "can not set"),
    ],
)
def test_what_can_not_hold_is_refused(document: Any, complaint: str) -> None:
    with pytest.raises(BadWebhooks, match=complaint) as refusal:
        read_webhooks(document, ENV)
    assert "\r" not in str(refusal.value)


def test_it_is_read_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "langgraph.json"
    headers = {"X": "${{ env.LG_WEBHOOK_A }}", "Y": "${{ env.LG_WEBHOOK_B }}"}
    monkeypatch.setenv("LG_WEBHOOK_B", "of the environment")
    env = {"LG_WEBHOOK_A": "of the file", "LG_WEBHOOK_B": "of the file"}
    path.write_text(json.dumps({"env": env, "webhooks": {"headers": headers, "url": {"allowed_domains": ["a.test"]}}}))
    config = read_config(path)
    assert config.webhooks.headers == {"X": "of the file", "Y": "of the environment"}
    assert config.ignored == ()
    path.write_text(json.dumps({"webhooks": {"headers": headers}}))
    with pytest.raises(ConfigError, match="LG_WEBHOOK_A, which is not set"):
        read_config(path)
