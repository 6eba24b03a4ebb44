"""Carrying a delivery: to the address that was checked, signed, and without listening to much."""

import ssl
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpcore
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pytest_django import Settings
from standardwebhooks import Webhook, WebhookVerificationError

from runs.host import courier
from runs.host.courier import Courier, NotReached, PublicNetwork, Reply
from runs.webhook_config import AddressRules, WebhookConfig
from tests.receiver import Receiver, chatter, hang, hang_up, receiving, status, talk

SECRET, OTHER_SECRET = "whsec_" + "A" * 43 + "=", "whsec_" + "B" * 43 + "="
PAYLOAD = '{"run_id":"1","values":{"text":"grüße"}}'.encode()
PUBLIC = "93.184.216.34"


class Wire(httpcore.AsyncNetworkBackend):
    """A network on which every address is this machine; it keeps those that were asked for."""

    def __init__(self, *refused: str) -> None:
        self.connected: list[tuple[str, int]] = []
        self._refused = refused
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.connected.append((host, port))
        if host in self._refused:
            raise httpcore.ConnectError
        return await self._network.connect_tcp("127.0.0.1", port)


class Names:
    """A name server whose answers are used up one after the other; the last one stays."""

    def __init__(self, *answers: Sequence[str] | Exception) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def private(settings: Settings) -> None:
    """Webhooks may go to this machine."""
    settings.WEBHOOK_ALLOW_PRIVATE = True


def a_courier(names: Names | None = None, wire: Wire | None = None, **config: object) -> Courier:
    return Courier(WebhookConfig(**config), PublicNetwork(names or courier.look_up, wire))  # type: ignore[arg-type]


async def deliver(to: Receiver | str, by: Courier | None = None, secrets: Sequence[str] = (SECRET,)) -> Reply:
    url = to.url if isinstance(to, Receiver) else to
    return await (by or a_courier()).deliver(url, PAYLOAD, "msg_1", secrets)


async def test_the_receiver_gets_the_bytes_and_can_verify_them(private: None) -> None:
    async with receiving() as receiver:
        assert await deliver(receiver) == Reply(200)
    [got] = receiver.got
    assert (got.line, got.body) == ("POST /hook HTTP/1.1", PAYLOAD)
    assert got.headers["content-type"] == "application/json"
    assert got.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert got.headers["webhook-id"] == "msg_1"
    Webhook(SECRET).verify(got.body, got.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(got.body + b" ", got.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER_SECRET).verify(got.body, got.headers)


async def test_each_of_two_secrets_verifies_it(private: None) -> None:
    async with receiving() as receiver:
        await deliver(receiver, secrets=[SECRET, OTHER_SECRET])
    for secret in (SECRET, OTHER_SECRET):
        Webhook(secret).verify(receiver.got[0].body, receiver.got[0].headers)


async def test_the_operators_headers_go_with_it(private: None) -> None:
    async with receiving() as receiver:
        await deliver(receiver, a_courier(headers={"Authorization": "Bearer key"}))
    assert receiver.got[0].headers["authorization"] == "Bearer key"


@pytest.mark.parametrize("code", [201, 204, 400, 410, 500])
async def test_the_status_is_told(private: None, code: int) -> None:
    async with receiving(status(code)) as receiver:
        assert (await deliver(receiver)).status_code == code


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(private: None, code: int) -> None:
    async with receiving() as inside, receiving(status(code, f"Location: {inside.url}")) as receiver:
        assert (await deliver(receiver)).status_code == code
    assert inside.got == [] and len(receiver.got) == 1


async def test_a_proxy_of_the_environment_is_not_used(private: None, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as proxy, receiving() as receiver:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        await deliver(receiver)
    assert proxy.got == [] and len(receiver.got) == 1


async def test_little_is_read_of_a_long_answer(private: None) -> None:
    async with receiving(talk) as receiver:
        assert await deliver(receiver) == Reply(200)
    # The rest filled the buffers of the connection.
    assert receiver.said < 8 * 1024 * 1024


async def test_no_more_than_the_limit_is_read_of_any_answer(private: None) -> None:
    async with receiving(talk) as receiver:
        stream = await PublicNetwork().connect_tcp("127.0.0.1", receiver.port)
        await stream.write(b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n")
        size = 0
        while data := await stream.read(1_000_000):
            size += len(data)
        await stream.aclose()
    assert size == courier.MAX_REPLY_BYTES


async def test_headers_without_end_are_not_an_answer(private: None) -> None:
    async with receiving(chatter) as receiver:
        with pytest.raises(NotReached, match="did not speak HTTP"):
            await deliver(receiver)


async def test_who_says_nothing_is_given_up(private: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "TIMEOUT", 0.2)
    async with receiving(hang) as receiver:
        with pytest.raises(NotReached, match="in time"):
            await deliver(receiver)


async def test_who_hangs_up_was_not_reached(private: None) -> None:
    async with receiving(hang_up) as receiver:
        with pytest.raises(NotReached, match="hung up"):
            await deliver(receiver)


async def test_nobody_there_was_not_reached(private: None) -> None:
    async with receiving() as receiver:
        pass
    with pytest.raises(NotReached, match="can not be reached"):
        await deliver(receiver)


@pytest.mark.parametrize(
    ("answer", "rest"),
    [
        (status(429, "Retry-After: 120"), 120),
        (status(503, "retry-after: 7"), 7),
        (status(500, "Retry-After: 120"), 0),
        (status(503), 0),
        (status(503, "Retry-After: soon"), 0),
        (status(503, "Retry-After: -5"), 0),
        (status(503, "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT"), 0),
        (status(503, f"Retry-After: {'9' * 400}"), 999999999),
    ],
)
async def test_a_receiver_may_ask_for_rest(private: None, answer: object, rest: float) -> None:
    async with receiving(answer) as receiver:  # type: ignore[arg-type]
        assert (await deliver(receiver)).rest == rest


async def test_it_may_ask_for_it_until_a_date(private: None) -> None:
    until = (datetime.now(UTC) + timedelta(seconds=600)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    async with receiving(status(503, f"Retry-After: {until}")) as receiver:
        assert 500 < (await deliver(receiver)).rest <= 600


# What names stand for.


async def test_the_connection_goes_to_the_address_that_was_looked_at() -> None:
    names, wire = Names([PUBLIC], ["127.0.0.1"]), Wire()
    async with receiving() as receiver:
        await deliver(f"http://hooks.example.com:{receiver.port}/hook", a_courier(names, wire))
    assert names.asked == ["hooks.example.com"]
    assert wire.connected == [(PUBLIC, receiver.port)]
    assert receiver.got[0].headers["host"] == f"hooks.example.com:{receiver.port}"


async def test_a_name_that_changes_sides_is_not_called_again() -> None:
    names, wire = Names([PUBLIC], ["127.0.0.1"]), Wire()
    by = a_courier(names, wire)
    async with receiving() as receiver:
        url = f"http://hooks.example.com:{receiver.port}/hook"
        await deliver(url, by)
        with pytest.raises(NotReached, match="private address"):
            await deliver(url, by)
    assert len(wire.connected) == len(receiver.got) == 1


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        [PUBLIC, "10.0.0.1"],
        ["::1"],
        ["fe80::1%eth0"],
        ["::ffff:169.254.169.254"],
        ["64:ff9b::a9fe:a9fe"],
    ],
)
async def test_a_name_with_one_private_address_is_not_called(addresses: list[str]) -> None:
    wire = Wire()
    with pytest.raises(NotReached, match="private address"):
        await deliver("http://hooks.example.com/", a_courier(Names(addresses), wire))
    assert wire.connected == []


async def test_an_address_that_is_written_out_is_held_to_the_rules_too() -> None:
    wire = Wire()
    with pytest.raises(NotReached, match="its address must not lead to a private address"):
        await deliver("http://2130706433:8000/", a_courier(wire=wire))
    rules = AddressRules(require_https=True)
    with pytest.raises(NotReached, match="its address must be an https address"):
        await deliver("http://hooks.example.com/", a_courier(Names([PUBLIC]), wire, rules=rules))
    assert wire.connected == []


async def test_a_name_that_nobody_knows_was_not_reached() -> None:
    with pytest.raises(NotReached, match="not known"):
        await deliver("http://hooks.example.com/", a_courier(Names(OSError("no such name")), Wire()))


async def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    wire = Wire("2606:4700::1111")
    async with receiving() as receiver:
        by = a_courier(Names(["2606:4700::1111", PUBLIC]), wire)
        assert (await deliver(f"http://hooks.example.com:{receiver.port}/", by)).status_code == 200
    assert [host for host, _ in wire.connected] == ["2606:4700::1111", PUBLIC]


# TLS.


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ssl.SSLContext]:
    """The context of a server that is trusted as `hooks.example.com`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hooks.example.com")])
    now = datetime.now(UTC)
    cert = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.example.com")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "cert.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(private + cert.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    courier._trusted.cache_clear()
    yield context
    courier._trusted.cache_clear()


async def test_the_certificate_is_that_of_the_name_and_not_of_the_address(certificate: ssl.SSLContext) -> None:
    asked: list[str | None] = []
    certificate.sni_callback = lambda _socket, name, _context: asked.append(name)
    async with receiving(tls=certificate) as receiver:
        url = f"https://hooks.example.com:{receiver.port}/hook"
        assert await deliver(url, a_courier(Names([PUBLIC]), Wire())) == Reply(200)
    assert asked == ["hooks.example.com"]


async def test_who_has_another_names_certificate_gets_nothing(certificate: ssl.SSLContext) -> None:
    async with receiving(tls=certificate) as receiver:
        with pytest.raises(NotReached, match="can not be reached"):
            await deliver(f"https://other.example.com:{receiver.port}/", a_courier(Names([PUBLIC]), Wire()))
    assert receiver.got == []
