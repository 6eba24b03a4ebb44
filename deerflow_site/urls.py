"""The map of addresses. The API is served twice by the same patterns: at the root and under /api."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularJSONAPIView

from deerflow_site import pages
from deerflow_site.about import HealthView, InfoView
from deerflow_site.metrics import metrics

urlpatterns = [
    path("", pages.front_page, name="front-page"),
    path("ok", HealthView.as_view(), name="ok"),
    path("info", InfoView.as_view(), name="info"),
    path("api/ok", HealthView.as_view()),
    path("api/info", InfoView.as_view()),
    path("openapi.json", SpectacularJSONAPIView.as_view(), name="openapi"),
    path("metrics", metrics, name="metrics"),
    path("docs", pages.api_reference, name="docs"),
    path("admin", RedirectView.as_view(url="/admin/")),
    path("admin/", admin.site.urls),
    path("", include("runs.api.urls")),
    path("api/v1/", include("accounts.urls")),
    path("api/", include("runs.api.urls")),
]

handler400 = "deerflow_site.errors.bad_request"
handler403 = "deerflow_site.errors.permission_denied"
handler404 = "deerflow_site.errors.not_found"
handler500 = "deerflow_site.errors.server_error"
