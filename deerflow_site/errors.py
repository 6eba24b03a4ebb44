"""Answers for requests that no view answered: JSON `{"detail": ...}` for the API, Django's plain pages for people."""

import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults

from deerflow_site.audience import is_page


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_page(request.path_info):
        return defaults.bad_request(request, exception)
    return JsonResponse({"detail": "Bad Request"}, status=400)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_page(request.path_info):
        return defaults.permission_denied(request, exception)
    return JsonResponse({"detail": "Forbidden"}, status=403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if is_page(request.path_info):
        return defaults.page_not_found(request, exception)
    return JsonResponse({"detail": "Not Found"}, status=404)


def server_error(request: HttpRequest) -> HttpResponse:
    if isinstance(sys.exc_info()[1], OperationalError | InterfaceError):
        detail = "The database does not answer; try again."
        return JsonResponse({"detail": detail}, status=503, headers={"Retry-After": "1"})
    if is_page(request.path_info):
        return defaults.server_error(request)
    return JsonResponse({"detail": "Internal Server Error"}, status=500)
