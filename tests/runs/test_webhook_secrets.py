"""What webhooks are signed with: made when it is needed, changed without a gap, told to the operator alone."""

from datetime import timedelta

import pytest
from django.contrib import admin
from django.core.management import CommandError, call_command
from django.utils import timezone
from standardwebhooks import Webhook

from accounts.models import Organization
from runs.lifecycle.webhook_secrets import current_secret, rotate_secret, signing_secrets
from runs.models import WebhookSecret

pytestmark = pytest.mark.django_db


def test_each_organization_has_one_of_its_own_and_keeps_it(acme: Organization, other: Organization) -> None:
    assert signing_secrets(acme.pk) == [current_secret(acme.pk)] == signing_secrets(acme.pk)
    assert current_secret(acme.pk) != current_secret(other.pk)
    assert current_secret(acme.pk).startswith("whsec_")
    assert len(Webhook(current_secret(acme.pk))._whsecret) == 32


def test_the_one_before_signs_for_a_day(acme: Organization) -> None:
    first = current_secret(acme.pk)
    second = rotate_secret(acme.pk)
    assert first != second == current_secret(acme.pk)
    assert signing_secrets(acme.pk) == [second, first]
    WebhookSecret.objects.update(rotated_at=timezone.now() - timedelta(hours=24, seconds=1))
    assert signing_secrets(acme.pk) == [second]


def test_one_that_was_changed_twice_is_worth_nothing(acme: Organization) -> None:
    first = current_secret(acme.pk)
    second, third = rotate_secret(acme.pk), rotate_secret(acme.pk)
    assert signing_secrets(acme.pk) == [third, second]
    assert first not in (second, third)


def test_the_command_prints_it_alone(acme: Organization, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("webhooksecret", organization="acme")
    out, err = capsys.readouterr()
    assert out == current_secret(acme.pk) + "\n"
    assert "acme" in err and out.strip() not in err


def test_the_command_changes_it(acme: Organization, capsys: pytest.CaptureFixture[str]) -> None:
    before = current_secret(acme.pk)
    call_command("webhooksecret", organization=str(acme.pk), rotate=True)
    assert capsys.readouterr().out == current_secret(acme.pk) + "\n"
    assert signing_secrets(acme.pk)[1] == before


def test_it_is_not_told_to_one_of_several_namesakes(acme: Organization) -> None:
    Organization.objects.create(name="acme")
    with pytest.raises(CommandError, match="Several organizations"):
        call_command("webhooksecret", organization="acme")
    with pytest.raises(CommandError, match="no organization"):
        call_command("webhooksecret", organization="nobody")
    assert not WebhookSecret.objects.exists()


def test_operators_pages_do_not_have_it(acme: Organization) -> None:
    assert WebhookSecret not in admin.site._registry
    assert current_secret(acme.pk) not in f"{WebhookSecret.objects.get()} {WebhookSecret.objects.get()!r}"
