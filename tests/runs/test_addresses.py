"""Which addresses are called: none that leads inside, however it is spelled."""

import ipaddress

import pytest
from pytest_django import Settings

from runs.addresses import AddressRefused, check_address, is_public, receiver_of
from runs.webhook_config import AddressRules

#: Each beside the ports and names of the public web.
PRIVATE = [
    "127.0.0.1",
    "127.1",
    "127.0.0.1.",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0X7F.1",
    "017700000001",
    "0177.0.0.1",
    "0",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "168.63.129.16",
    "192.0.0.192",
    "192.0.0.9",
    "198.18.0.1",
    "192.88.99.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "256.1.1.1",
    "1.2.3.4.5",
    "[::1]",
    "[::]",
    "[::127.0.0.1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:8.8.8.8]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[fe80::1%25eth0]",
    "[fec0::1]",
    "[ff02::1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001::7f00:1]",
    "[2001:db8::1]",
    "[3fff::1]",
    "①②⑦.0.0.1",
    "\uff11\uff12\uff17.0.0.1",
    "%31%32%37.0.0.1",
    "localhost",
    "LOCALHOST.",
    "app.localhost",
    "printer.local",
    "metadata.google.internal",
    "router.home.arpa",
    "redis",
    "a..example.com",
    "-.example.com",
]
BAD = [
    *(f"http://{host}/hook" for host in PRIVATE),
    "",
    "/hook",
    "hooks.example.com",
    "//hooks.example.com/",
    "http:hooks.example.com",
    "http://",
    "http:///hook",
    "file:///etc/passwd",
    "gopher://hooks.example.com/",
    "http+unix://%2Frun%2Fdocker.sock/",
    "ftp://hooks.example.com/",
    "javascript:alert(1)",
    "https://user@hooks.example.com/",
    "https://user:password@hooks.example.com/",
    "https://@hooks.example.com/",
    "https://ok@127.0.0.1/",
    "https://hooks.example.com\\@127.0.0.1/",
    "https://hooks.example.com/#part",
    "https://hooks.example.com/#",
    "https://hooks.example.com/ x",
    " https://hooks.example.com/",
    "https://hooks.example.com/\r\nHost: inside",
    "https://hooks.example.com/\0",
    "https://hooks.example.com/\ud800",
    "https://hooks.example.com/\u202e",
    "https://hooks.example.com:22/",
    "https://hooks.example.com:25/",
    "https://hooks.example.com:5432/",
    "https://hooks.example.com:6379/",
    "https://hooks.example.com:0/",
    "https://hooks.example.com:65536/",
    "https://hooks.example.com:-1/",
    "https://hooks.example.com:٣/",
    f"https://hooks.example.com/{'x' * 2048}",
    f"https://hooks.example.com/{'ü' * 1024}",
    f"https://{'a' * 254}.example.com/",
]
GOOD = [
    "https://hooks.example.com/run?key=1&b=%20",
    "http://hooks.example.com",
    "HTTPS://Hooks.Example.Com./",
    "https://hooks.example.com:8443/",
    "http://8.8.8.8/",
    "http://[2606:4700::1111]:8080/",
    "https://bücher.example/ü",
    "https://my_hooks.example.com/",
]


@pytest.mark.parametrize("url", BAD)
def test_an_address_that_leads_inside_or_nowhere_is_refused(url: str) -> None:
    with pytest.raises(AddressRefused, match=r"^must \S+ "):
        check_address(url)


@pytest.mark.parametrize("url", GOOD)
def test_an_address_of_the_public_web_is_taken(url: str) -> None:
    check_address(url)


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "redis:8000"])
def test_a_developer_may_call_the_own_machine(settings: Settings, host: str) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE = True
    check_address(f"http://{host}/")


@pytest.mark.parametrize("url", ["http://user@localhost:8000/", "file:///etc/passwd", "http://localhost:22/"])
def test_a_developer_may_not_do_the_rest(settings: Settings, url: str) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE = True
    with pytest.raises(AddressRefused):
        check_address(url)


@pytest.mark.parametrize(
    ("rules", "good", "bad"),
    [
        (AddressRules(require_https=True), "https://a.example.com/", "http://a.example.com/"),
        (AddressRules(allowed_domains=("a.example.com",)), "https://A.example.com/", "https://b.example.com/"),
        (AddressRules(allowed_domains=("*.example.com",)), "https://b.example.com/", "https://example.com/"),
        (AddressRules(allowed_domains=("*.example.com",)), "https://b.a.example.com/", "https://badexample.com/"),
        (AddressRules(allowed_ports=frozenset({443})), "https://a.example.com/", "https://a.example.com:8443/"),
        (AddressRules(allowed_ports=frozenset({5432})), "https://a.example.com:5432/", "https://a.example.com/"),
        (AddressRules(max_length=23), "https://a.example.com/1", "https://a.example.com/12"),
    ],
)
def test_the_operator_may_allow_less(rules: AddressRules, good: str, bad: str) -> None:
    check_address(good, rules)
    with pytest.raises(AddressRefused):
        check_address(bad, rules)


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "::1", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_what_a_name_stands_for_is_held_to_the_same(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


def test_a_receiver_is_known_by_its_host_and_port() -> None:
    assert receiver_of("https://Hooks.example.com./a") == receiver_of("https://hooks.example.com:443/b")
    assert receiver_of("http://hooks.example.com/") != receiver_of("https://hooks.example.com/")
    assert receiver_of("nowhere at all") == ""
