"""The pages of the site that people read in a browser."""

from collections.abc import Callable
from functools import wraps

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from drf_spectacular.views import SpectacularSwaggerSplitView

from deerflow_site.texts import front_page_text
from runs.models import Graph

View = Callable[[HttpRequest], HttpResponseBase]

OWN_STYLES_ONLY = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'"
# Swagger UI styles its elements one by one and draws its icons from data: addresses.
SWAGGER = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def content_policy(policy: str) -> Callable[[View], View]:
    """Send this Content-Security-Policy with the view's answers."""

    def decorate(view: View) -> View:
        @wraps(view)
        def with_policy(request: HttpRequest) -> HttpResponseBase:
            response = view(request)
            response["Content-Security-Policy"] = policy
            return response

        return with_policy

    return decorate


@require_safe
@never_cache
@content_policy(OWN_STYLES_ONLY)
def front_page(request: HttpRequest) -> HttpResponse:
    """What runs here and how to call it, with the address under which the reader came."""
    graphs = list(Graph.objects.order_by("graph_id"))
    context = {
        "text": front_page_text(),
        "version": settings.VERSION,
        "base_url": request.build_absolute_uri("/").rstrip("/"),
        "graphs": graphs,
        "example": next((graph.graph_id for graph in graphs if not graph.error), "lead_agent"),
    }
    return render(request, "site/front.html", context)


#: Swagger UI over `/openapi.json`; its script is served by the same address with `?script=`.
api_reference = require_safe(
    content_policy(SWAGGER)(
        SpectacularSwaggerSplitView.as_view(url_name="openapi", template_name="site/reference.html")
    )
)
