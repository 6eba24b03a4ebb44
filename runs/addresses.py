"""Which addresses this server calls on behalf of others: only those that the whole Internet can call.

An address is checked twice. `check_address` refuses at once what can be seen to lead inside, without asking anybody.
What a name stands for may change at any time: it is looked up and checked by `is_public` when the connection is made,
which then goes to what was checked (see `runs.host.courier`).
"""

import ipaddress
import re
import socket

import httpx
from django.conf import settings

from runs.webhook_config import AddressRules

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressRefused(ValueError):
    """The address is not called; the message is the end of a sentence that begins with the field's name."""


_LENIENT = AddressRules()

# Where services listen that speak to whoever is inside: databases, caches, queues, container engines, desktops.
_SERVICE_PORTS = frozenset(
    {
        *(1433, 1521, 2049, 2375, 2376, 2379, 2380, 3306, 3389, 4369, 5432, 5433, 5672, 5900, 5984, 6000, 6379, 6380),
        *(6432, 6443, 6667, 7000, 7199, 7687, 8086, 9042, 9092, 9200, 9300, 10250, 10255, 11211, 15672, 26257, 26379),
        *(27017, 27018, 28015, 50000, 61616),
    }
)
_LABEL = r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_INSIDE = ("localhost", "local", "internal", "home.arpa", "localdomain", "lan", "intranet", "corp", "private")

#: Not `is_global`, or global and yet no way to a stranger: relays and translations, which lead to any IPv4 address,
#: and the platform's own service of one cloud.
_REFUSED_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("192.0.0.0/24", "192.88.99.0/24", "100.64.0.0/10", "240.0.0.0/4", "168.63.129.16/32"),
        *("2001::/23", "2002::/16", "2001:db8::/32", "3fff::/20"),
    )
)
#: What is given out for the public; all of IPv6 outside of it is something else, such as NAT64 or a mapped address.
_PUBLIC_IPV6 = ipaddress.IPv6Network("2000::/3")


def is_public(address: IPAddress) -> bool:
    """Whether everybody on the Internet means the same machine by it."""
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    if address.version == 6 and address not in _PUBLIC_IPV6:
        return False
    return not any(address.version == network.version and address in network for network in _REFUSED_NETWORKS)


def check_address(url: str, rules: AddressRules = _LENIENT) -> None:
    """Raise AddressRefused for what is never called. Asks no name server."""
    parsed = _parse(url, rules.max_length)
    if rules.require_https and parsed.scheme != "https":
        raise AddressRefused("must be an https address")
    _check_port(port_of(parsed), rules)
    host = host_of(parsed)
    if rules.allowed_domains and not any(_covers(domain, host) for domain in rules.allowed_domains):
        raise AddressRefused("is not of a domain that this server may call")
    if not settings.WEBHOOK_ALLOW_PRIVATE:
        _check_host(host)


def port_of(url: httpx.URL) -> int:
    return url.port if url.port is not None else {"http": 80, "https": 443}[url.scheme]


def host_of(url: httpx.URL) -> str:
    """The name or address as the network sees it: ASCII, lower case, without the dot of the root."""
    return url.raw_host.decode("ascii").lower().removesuffix(".")


def receiver_of(url: str) -> str:
    """Who is behind an address: host and port. An address that nobody could call is nobody's."""
    try:
        parsed = httpx.URL(url)
        return f"{host_of(parsed)[:280]} {port_of(parsed)}"
    except (httpx.InvalidURL, KeyError, TypeError):
        return ""


def _parse(url: str, longest: int) -> httpx.URL:
    # As bytes: an index of a database holds no more.
    if len(url.encode("utf-8", "replace")) > longest:
        raise AddressRefused(f"must be at most {longest} bytes long")
    if any(character.isspace() or not character.isprintable() or character == "\\" for character in url):
        raise AddressRefused("must be an address without blanks and backslashes")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as exc:
        raise AddressRefused("must be an http or https address") from exc
    if parsed.scheme not in ("http", "https") or not parsed.raw_host:
        raise AddressRefused("must be an http or https address")
    if "@" in url.split("://", 1)[1].split("/")[0].split("?")[0]:
        raise AddressRefused("must not name a user or a password")
    if "#" in url:
        raise AddressRefused("must not have a fragment")
    return parsed


def _check_port(port: int, rules: AddressRules) -> None:
    if rules.allowed_ports:
        allowed = port in rules.allowed_ports
    else:
        allowed = port in (80, 443) or (1024 <= port <= 65535 and port not in _SERVICE_PORTS)
    if not allowed:
        raise AddressRefused(f"must not lead to port {port}")


def _covers(domain: str, host: str) -> bool:
    """Whether an entry of the operator's list is meant for this host; `*.name` is for those below the name alone."""
    return host.endswith(domain[1:]) if domain.startswith("*.") else host == domain


def _check_host(host: str) -> None:
    address = _literal(host)
    if address is not None:
        if not is_public(address):
            raise AddressRefused("must not lead to a private address")
        return
    if len(host) > 253 or not _NAME.fullmatch(host):
        raise AddressRefused("must name a host")
    if "." not in host or any(host == name or host.endswith(f".{name}") for name in _INSIDE):
        raise AddressRefused("must not lead to a private name")


def _literal(host: str) -> IPAddress | None:
    """The address that is written out as `host`, in any of the spellings that operating systems take; or None."""
    if ":" in host:
        try:
            return ipaddress.IPv6Address(host)
        except ValueError as exc:
            raise AddressRefused("must name a host") from exc
    if not _NUMBER.fullmatch(host.rpartition(".")[2]):
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError) as exc:
        raise AddressRefused("must name a host") from exc
