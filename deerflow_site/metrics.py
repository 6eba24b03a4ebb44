"""What this installation is doing, for Prometheus: read from the database when asked, and of this process."""

import hmac
from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from runs.figures import Figures, figures


class _Installation(Collector):
    """Gauges of what all processes on this database share."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        seen: Figures = figures()
        runs = GaugeMetricFamily("deerflow_runs", "Runs that have not ended.", labels=["status"])
        for status, count in seen.active_runs.items():
            runs.add_metric([status], count)
        yield runs
        oldest = timezone.now() - seen.oldest_due if seen.oldest_due else timedelta()
        yield GaugeMetricFamily(
            "deerflow_oldest_due_run_seconds", "For how long the next run has been due.", value=oldest.total_seconds()
        )
        yield GaugeMetricFamily(
            "deerflow_expired_leases", "Running runs whose process seems lost.", value=seen.expired_leases
        )
        yield GaugeMetricFamily(
            "deerflow_webhooks_pending", "Webhooks that are still to be delivered.", value=seen.pending_deliveries
        )
        yield GaugeMetricFamily(
            "deerflow_threads_to_purge", "Deleted threads whose checkpoints are still there.", value=seen.purges
        )


_registry = CollectorRegistry()
_registry.register(_Installation())
ProcessCollector(registry=_registry)
PlatformCollector(registry=_registry)


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """For whoever sends METRICS_TOKEN as a bearer; without one configured there is nothing here."""
    if not settings.METRICS_TOKEN:
        return HttpResponse("METRICS_TOKEN is not set.\n", status=404, content_type="text/plain")
    sent = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not hmac.compare_digest(sent.encode(), settings.METRICS_TOKEN.encode()):
        return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    answer = HttpResponse(generate_latest(_registry), content_type=CONTENT_TYPE_LATEST)
    answer["Cache-Control"] = "no-store"
    return answer
