"""Reads `webhooks` of a langgraph.json: which addresses may be told of the ends of runs, and with which headers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_LENGTH = 2048
_DEFAULT_PREFIX = "LG_WEBHOOK_"
_VARIABLE = re.compile(r"\$\{\{\s*env\.(\w+)\s*\}\}")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
#: Which HTTP, this server or Standard Webhooks fill in.
_OWN_HEADERS = frozenset(
    {
        *("connection", "content-encoding", "content-length", "content-type", "expect", "host", "keep-alive"),
        *("proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "user-agent"),
        *("webhook-id", "webhook-signature", "webhook-timestamp"),
    }
)


class BadWebhooks(Exception):
    """`webhooks` can not be used; the message is one sentence for whoever wrote it."""


@dataclass(frozen=True, slots=True)
class AddressRules:
    """What the operator allows, beside what is refused anyway."""

    require_https: bool = False
    #: Names, and `*.name` for every name below; empty: all.
    allowed_domains: tuple[str, ...] = ()
    #: Empty: those of the web, and those that anybody may listen on.
    allowed_ports: frozenset[int] = frozenset()
    max_length: int = MAX_LENGTH


@dataclass(frozen=True, slots=True)
class WebhookConfig:
    #: Go with every delivery. May hold keys of the receivers', so they stay out of logs.
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    rules: AddressRules = AddressRules()


def read_webhooks(entry: object, env: Mapping[str, str]) -> WebhookConfig:
    """Raises BadWebhooks."""
    document = _object(entry, "webhooks", {"env_prefix", "headers", "url"})
    prefix = document.get("env_prefix", _DEFAULT_PREFIX)
    if not isinstance(prefix, str) or not prefix:
        raise BadWebhooks("webhooks.env_prefix must be the beginning of the names of variables.")
    entries = _object(document.get("headers", {}), "webhooks.headers", None)
    headers = {name: _header(name, value, prefix, env) for name, value in entries.items()}
    rules = _rules(document.get("url", {}))
    secret = next((name for name, value in entries.items() if _VARIABLE.search(value)), None)
    if secret is not None and not rules.allowed_domains:
        # Whoever may start a run says where they go.
        raise BadWebhooks(f"the webhook header {secret!r} names a variable, so webhooks.url needs allowed_domains.")
    return WebhookConfig(headers, rules)


def _object(entry: object, name: str, keys: set[str] | None) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise BadWebhooks(f"{name} must be an object.")
    # A rule that is misspelled must not be one that does not hold.
    if keys is not None and (unknown := sorted(entry.keys() - keys)):
        raise BadWebhooks(f"{name} has no key {unknown[0]!r}.")
    return entry


def _header(name: str, value: object, prefix: str, env: Mapping[str, str]) -> str:
    if not _HEADER.fullmatch(name) or name.lower() in _OWN_HEADERS:
        raise BadWebhooks(f"webhooks.headers can not set {name!r}.")
    if not isinstance(value, str):
        raise BadWebhooks(f"the webhook header {name!r} must be a string.")

    def resolve(found: re.Match[str]) -> str:
        variable = found[1]
        if not variable.startswith(prefix):
            raise BadWebhooks(f"the webhook header {name!r} names {variable}, which does not begin with {prefix}.")
        if variable not in env:
            raise BadWebhooks(f"the webhook header {name!r} names {variable}, which is not set.")
        return env[variable]

    resolved = _VARIABLE.sub(resolve, value)
    if not _HEADER_VALUE.fullmatch(resolved):
        raise BadWebhooks(f"the webhook header {name!r} must be one line of ASCII.")
    return resolved


def _rules(entry: object) -> AddressRules:
    rules = _object(
        entry,
        "webhooks.url",
        {"require_https", "allowed_domains", "allowed_ports", "max_url_length", "disable_loopback"},
    )
    for flag in ("require_https", "disable_loopback"):  # Addresses without a host are never taken here.
        if not isinstance(rules.get(flag, False), bool):
            raise BadWebhooks(f"webhooks.url.{flag} must be true or false.")
    domains, ports = rules.get("allowed_domains", []), rules.get("allowed_ports", [])
    if not isinstance(domains, list) or not all(isinstance(domain, str) and domain for domain in domains):
        raise BadWebhooks("webhooks.url.allowed_domains must be a list of names.")
    if not isinstance(ports, list) or not all(type(port) is int and 0 < port <= 65535 for port in ports):
        raise BadWebhooks("webhooks.url.allowed_ports must be a list of port numbers.")
    longest = rules.get("max_url_length", MAX_LENGTH)
    if type(longest) is not int or longest < 1:
        raise BadWebhooks("webhooks.url.max_url_length must be a number.")
    return AddressRules(
        rules.get("require_https", False),
        tuple(domain.lower() for domain in domains),
        frozenset(ports),
        min(longest, MAX_LENGTH),
    )
