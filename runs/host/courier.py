"""Carrying one delivery to its receiver: to the very address that was checked, and nowhere else.

No redirect is followed and no proxy is used, whatever the environment says: both would connect to what nobody checked.
What a receiver answers is read so that it can be sent, and thrown away.
"""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from ssl import SSLContext
from typing import Any

import httpcore
import httpx
from django.conf import settings
from standardwebhooks import Webhook

from runs.addresses import AddressRefused, check_address, host_of, is_public, port_of
from runs.webhook_config import WebhookConfig

#: The longest that a delivery takes, from the look for its receiver's address on.
TIMEOUT = 15.0
MAX_REPLY_BYTES = 64 * 1024
_DRAIN_SECONDS = 2.0
_CONNECT_SECONDS = 5.0
_MAX_ADDRESSES = 4
_USER_AGENT = f"deerflow-server/{settings.VERSION}"

#: Looks a name up: all addresses that it stands for, as text. Raises OSError.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

# A name server that does not answer holds a thread, and must hold none of anybody else's.
_names = ThreadPoolExecutor(20, thread_name_prefix="names")


@dataclass(frozen=True, slots=True)
class Reply:
    status_code: int
    #: For how many seconds the receiver wants to be left alone.
    rest: float = 0.0


class NotReached(Exception):
    """Nobody answered; the message says why in a few words that give nothing away."""


async def look_up(host: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(_names, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class PublicNetwork(httpcore.AsyncNetworkBackend):
    """Connects to names that stand for nothing but public addresses: one of those that it has just looked at."""

    def __init__(self, resolve: Resolve = look_up, network: httpcore.AsyncNetworkBackend | None = None) -> None:
        self._resolve = resolve
        self._network = network or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        failure: httpcore.ConnectError | httpcore.ConnectTimeout = httpcore.ConnectError()
        for address in await self._addresses(host, port):
            try:
                return _Measured(await self._network.connect_tcp(address, port, timeout=_CONNECT_SECONDS))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
                failure = exc
        raise failure

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as exc:
            raise NotReached("its name is not known") from exc
        # One that is not is enough: who answers so for a name means to get in.
        if not settings.WEBHOOK_ALLOW_PRIVATE and not all(is_public(ipaddress.ip_address(each)) for each in addresses):
            raise NotReached("its name stands for a private address")
        return addresses[:_MAX_ADDRESSES]


class _Measured(httpcore.AsyncNetworkStream):
    """A connection that ends for its reader after MAX_REPLY_BYTES."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._left = MAX_REPLY_BYTES

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if not self._left:
            return b""
        data = await self._stream.read(min(max_bytes, self._left), timeout)
        self._left -= len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        return _Measured(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


@cache  # Takes a while to make.
def _trusted() -> SSLContext:
    return httpx.create_ssl_context()


class Courier:
    def __init__(self, config: WebhookConfig, network: httpcore.AsyncNetworkBackend) -> None:
        self._config = config
        self._network = network

    async def deliver(self, url: str, payload: bytes, webhook_id: str, secrets: Sequence[str]) -> Reply:
        """Send it, signed now with each of the secrets. Raises NotReached."""
        try:
            # The rules may be others than when the run was created.
            check_address(url, self._config.rules)
        except AddressRefused as exc:
            raise NotReached(f"its address {exc}") from exc
        headers = {**self._config.headers, **_own_headers(webhook_id, payload, secrets)}
        try:
            async with asyncio.timeout(TIMEOUT):
                return await self._post(httpx.URL(url), payload, headers)
        except TimeoutError as exc:
            raise NotReached("it did not answer in time") from exc
        except httpcore.TimeoutException as exc:
            raise NotReached("it can not be reached in time") from exc
        except httpcore.ConnectError as exc:
            raise NotReached("it can not be reached") from exc
        except (httpcore.NetworkError, httpcore.ProtocolError) as exc:
            raise NotReached("it hung up or did not speak HTTP") from exc

    async def _post(self, url: httpx.URL, payload: bytes, headers: Mapping[str, str]) -> Reply:
        core_url = httpcore.URL(
            scheme=url.raw_scheme, host=host_of(url).encode(), port=port_of(url), target=url.raw_path
        )
        sent = [("Host", url.netloc.decode()), ("Content-Length", str(len(payload))), *headers.items()]
        # A connection for each: a kept one would lead to what was checked some time ago.
        async with (
            httpcore.AsyncConnectionPool(
                ssl_context=_trusted() if url.scheme == "https" else None,
                max_keepalive_connections=0,
                network_backend=self._network,
            ) as pool,
            pool.stream("POST", core_url, headers=sent, content=payload) as response,
        ):
            reply = Reply(response.status, _rest(response))
            with contextlib.suppress(TimeoutError, httpcore.NetworkError, httpcore.ProtocolError):
                async with asyncio.timeout(_DRAIN_SECONDS):
                    await _drain(response)
            return reply


def _own_headers(webhook_id: str, payload: bytes, secrets: Sequence[str]) -> dict[str, str]:
    now = datetime.now(UTC)
    signatures = [Webhook(secret).sign(webhook_id, now, payload.decode()) for secret in secrets]
    return {
        "content-type": "application/json",
        "user-agent": _USER_AGENT,
        "connection": "close",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


async def _drain(response: httpcore.Response) -> None:
    """Let the receiver say what it wants to: some take a connection that is closed meanwhile for a failure."""
    async for _ in response.aiter_stream():
        pass


def _rest(response: httpcore.Response) -> float:
    """The seconds in `Retry-After`, where the status gives it a meaning."""
    values = [value.decode("latin-1").strip() for name, value in response.headers if name.lower() == b"retry-after"]
    if response.status not in (429, 503) or not values:
        return 0.0
    if values[0].isascii() and values[0].isdigit():
        return float(values[0][:9])
    try:
        until = parsedate_to_datetime(values[0])
    except ValueError:
        return 0.0
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())
