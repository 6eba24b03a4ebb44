"""The site's own middleware: the language of pages, and the client behind a trusted proxy."""

import ipaddress
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.middleware.locale import LocaleMiddleware
from django.utils import translation

from deerflow_site.audience import is_page

FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST", "HTTP_X_FORWARDED_PORT")


class PageLocaleMiddleware(LocaleMiddleware):
    """Chooses the language of pages by the browser's preference. The API always answers in the default language."""

    def process_request(self, request: HttpRequest) -> None:
        if is_page(request.path_info):
            super().process_request(request)
        else:
            # The thread may still have the language of the page it served before.
            translation.activate(settings.LANGUAGE_CODE)

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        return super().process_response(request, response) if is_page(request.path_info) else response


class TrustedProxyMiddleware:
    """Makes REMOTE_ADDR the address of the client, as the trusted proxies report it, and forgets every forwarded header
    that somebody else sent.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        believe_trusted_proxies(request.META)
        return self.get_response(request)


def believe_trusted_proxies(meta: dict[str, Any]) -> None:
    peer = meta.get("REMOTE_ADDR", "")
    if is_trusted(peer):
        meta["REMOTE_ADDR"] = client_address(peer, meta.get("HTTP_X_FORWARDED_FOR", ""))
    else:
        for header in FORWARDED:
            meta.pop(header, None)


def client_address(peer: str, forwarded_for: str) -> str:
    """Walk back from the peer for as long as a trusted proxy vouches for the hop before it."""
    client = peer
    for hop in reversed(forwarded_for.split(",")):
        if not is_trusted(client) or not is_address(hop.strip()):
            break
        client = hop.strip()
    return client


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_trusted(address: str) -> bool:
    if not is_address(address):
        return False
    parsed = ipaddress.ip_address(address)
    return any(parsed in network for network in settings.TRUSTED_PROXIES)
