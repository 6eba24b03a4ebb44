"""Typed readers of environment variables.

Every reader takes the variable's name and its default, treats an empty value as absent, and raises
`ImproperlyConfigured` naming the variable when the value cannot be used. Only a value that cannot hold a secret is
repeated in the sentence.
"""

import contextlib
import ipaddress
import math
import os
import secrets
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from redis.connection import parse_url

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

FLAGS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def text(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def flag(name: str, default: bool) -> bool:
    value = text(name)
    if not value:
        return default
    if value.lower() not in FLAGS:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(FLAGS)}, not {value!r}.")
    return FLAGS[value.lower()]


def integer(name: str, default: int, *, at_least: int = 0, at_most: int | None = None) -> int:
    value = text(name)
    if not value:
        return default
    try:
        number = int(value)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a whole number, not {value!r}.") from None
    if number < at_least or (at_most is not None and number > at_most):
        bounds = f"at least {at_least}" if at_most is None else f"between {at_least} and {at_most}"
        raise ImproperlyConfigured(f"{name} must be {bounds}, not {value}.")
    return number


def seconds(name: str, default: float, *, or_zero: bool = False) -> float:
    """A duration in seconds, greater than zero unless zero is allowed."""
    value = text(name)
    if not value:
        return default
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and (number > 0 or (or_zero and number == 0))):
        bound = "at least zero" if or_zero else "greater than zero"
        raise ImproperlyConfigured(f"{name} must be a number of seconds {bound}, not {value!r}.")
    return number


def choice(name: str, default: str, choices: Collection[str]) -> str:
    value = text(name, default)
    if value not in choices:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(choices)}, not {value!r}.")
    return value


def listing(name: str) -> list[str]:
    """The parts of a comma-separated value, without blanks and empty parts."""
    return [part.strip() for part in text(name).split(",") if part.strip()]


def networks(name: str) -> list[Network]:
    """Addresses and CIDR blocks, comma-separated."""
    try:
        return [ipaddress.ip_network(part) for part in listing(name)]
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} must list IP addresses or CIDR blocks: {error}.") from None


def origins(name: str) -> list[str]:
    """Web origins (`scheme://host[:port]`), comma-separated; or the single entry `*`."""
    parts = [part.rstrip("/") for part in listing(name)]
    if parts == ["*"]:
        return parts
    for part in parts:
        split = urlsplit(part)
        if split.scheme not in {"http", "https"} or part != f"{split.scheme}://{split.netloc}" or not split.hostname:
            raise ImproperlyConfigured(f"{name} must be * or origins like https://app.example.org, not {part!r}.")
    return parts


def directory(name: str, default: Path) -> Path:
    """An absolute directory, made for its owner alone (mode 0700) when it is not there yet."""
    path = Path(text(name, str(default))).expanduser().resolve()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(f"{name} must be a directory that can be made: {error}.") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise ImproperlyConfigured(f"{name} must be a writable directory: {path} is not.")
    return path


def existing_file(name: str, default: Path) -> Path | None:
    """The file that the variable names, which must exist; else the default, if it is there."""
    if not text(name):
        return default.resolve() if default.is_file() else None
    path = Path(text(name)).expanduser().resolve()
    if not path.is_file():
        raise ImproperlyConfigured(f"{name} names a file that does not exist: {path}.")
    return path


def postgres(name: str) -> dict[str, Any] | None:
    """Django's database settings from a PostgreSQL URL, or None without one. Its errors never repeat the URL."""
    url = text(name)
    if not url:
        return None
    refusal = f"{name} must look like postgres://user:password@host:5432/database."
    if scheme_of(url) not in {"postgres", "postgresql"}:
        raise ImproperlyConfigured(refusal)
    try:
        parsed = dict(dj_database_url.parse(url))
    except ValueError:
        raise ImproperlyConfigured(refusal) from None
    if not parsed.get("NAME"):
        raise ImproperlyConfigured(refusal)
    return parsed


def redis(name: str) -> str:
    """A Redis URL or the empty string. Its errors never repeat the URL."""
    url = text(name)
    if url:
        try:
            parse_url(url)  # type: ignore[no-untyped-call]
        except ValueError:
            refusal = f"{name} must look like redis://host:6379/0, its password without / and # (%2F and %23 instead)."
            raise ImproperlyConfigured(refusal) from None
    return url


def scheme_of(url: str) -> str:
    return url.partition("://")[0].lower() if "://" in url else ""


def kept_secret(path: Path) -> str:
    """The secret in this file, made on the first call. Processes that start together agree on one.

    The file is complete before it has its name, so nobody reads half a secret.
    """
    if not path.exists():
        descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".secret-")
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(48))
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
        finally:
            os.unlink(draft)
    secret = path.read_text().strip()
    if len(secret) < 32:
        raise ImproperlyConfigured(f"{path} holds no usable secret: delete it to have a new one made.")
    return secret
