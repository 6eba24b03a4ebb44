from ipaddress import ip_network

import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from deerflow_site.middleware import TrustedProxyMiddleware


@pytest.fixture(autouse=True)
def behind_a_proxy(settings):
    settings.TRUSTED_PROXIES = [ip_network("10.0.0.0/8")]
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")


def passed_on(**meta):
    request = RequestFactory().get("/", **meta)
    TrustedProxyMiddleware(lambda request: HttpResponse())(request)
    return request


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "198.51.100.7, 10.0.0.2", "198.51.100.7"),
        ("10.0.0.1", "203.0.113.9, 198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.7, unknown", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.7:5000", "10.0.0.1"),
        ("198.51.100.7", "203.0.113.9", "198.51.100.7"),
        ("", "203.0.113.9", ""),
    ],
)
def test_the_client_is_the_last_address_that_no_trusted_proxy_has(peer, forwarded, client):
    request = passed_on(REMOTE_ADDR=peer, HTTP_X_FORWARDED_FOR=forwarded)
    assert request.META["REMOTE_ADDR"] == client


def test_a_trusted_proxy_says_whether_the_client_came_by_https():
    assert passed_on(REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_PROTO="https").is_secure()


def test_nobody_else_says_so():
    assert not passed_on(REMOTE_ADDR="198.51.100.7", HTTP_X_FORWARDED_PROTO="https").is_secure()
