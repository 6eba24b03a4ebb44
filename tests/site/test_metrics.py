"""Figures for those who watch the installation, and for nobody else."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from accounts.models import User
from runs.models import Purge, Run
from runs.states import RunStatus
from tests.factories import make_run, tenant_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def token(settings):
    settings.METRICS_TOKEN = "secret"
    return "secret"


def read(token):
    return Client().get("/metrics", headers={"Authorization": f"Bearer {token}"})


def test_without_a_token_of_the_site_there_is_nothing():
    assert read("").status_code == read("secret").status_code == 404


@pytest.mark.parametrize("sent", ["", "other", "secre", "sécret"])
def test_without_the_token_nothing_is_told(token, sent):
    response = read(sent)
    assert (response.status_code, response.content) == (401, b"")


def samples_of(token):
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(read(token).content.decode())
        for sample in family.samples
    }


def test_the_figures_are_those_of_now(token, alice: User, acme):
    tenant = tenant_of(alice)
    lost = make_run(tenant, status=RunStatus.RUNNING)
    Run.objects.filter(pk=lost.pk).update(lease_until=timezone.now() - timedelta(hours=1))
    waiting = make_run(tenant)
    Run.objects.filter(pk=waiting.pk).update(created_at=timezone.now() - timedelta(seconds=100))
    make_run(tenant, not_before=timezone.now() + timedelta(hours=1))
    make_run(tenant, status=RunStatus.SUCCESS)
    Purge.objects.create(thread_id="gone")
    samples = samples_of(token)
    assert (samples["deerflow_runs", "pending"], samples["deerflow_runs", "running"]) == (2, 1)
    assert 100 <= samples["deerflow_oldest_due_run_seconds",] < 1000
    assert (samples["deerflow_expired_leases",], samples["deerflow_threads_to_purge",]) == (1, 1)
    assert samples["deerflow_webhooks_pending",] == 0
    assert samples["process_resident_memory_bytes",] > 0


def test_a_run_is_due_when_its_time_has_come_and_its_turn(token, alice: User, acme):
    tenant, now = tenant_of(alice), timezone.now()

    def oldest():
        return samples_of(token)["deerflow_oldest_due_run_seconds",]

    busy = make_run(tenant, status=RunStatus.RUNNING)
    behind = make_run(tenant, busy.thread)
    delayed = make_run(tenant, not_before=now - timedelta(seconds=100))
    Run.objects.filter(pk__in=[behind.pk, delayed.pk]).update(created_at=now - timedelta(seconds=5000))
    assert 100 <= oldest() < 1000
    Run.objects.filter(pk=busy.pk).update(status=RunStatus.SUCCESS)
    assert oldest() >= 5000


def test_nothing_is_told_of_anybody(token, alice: User, acme):
    make_run(tenant_of(alice), metadata={"word": "canary"})
    text = read(token).content.decode()
    assert "canary" not in text and "acme" not in text and str(acme.pk) not in text
