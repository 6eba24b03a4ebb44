"""`manage.py webhooksecret`: what the receivers of an organization's webhooks verify them with."""

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from accounts.models import Organization
from runs.identifiers import is_uuid
from runs.lifecycle.webhook_secrets import current_secret, rotate_secret
from runs.models import WebhookSecret


class Command(BaseCommand):
    help = (
        "Print the secret that an organization's webhooks are signed with, alone, on standard output. Made when it is "
        "needed for the first time."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--organization", required=True, help="name or id of the organization")
        parser.add_argument(
            "--rotate", action="store_true", help="make a new one; the one before signs too for 24 hours"
        )

    def handle(self, *args: Any, organization: str, rotate: bool, **options: Any) -> None:
        if WebhookSecret._meta.db_table not in connection.introspection.table_names():
            raise CommandError("There is no database here yet: start the server once, or run `manage.py migrate`.")
        found = _organization(organization)
        self.stderr.write(f"This secret is that of {found.name} ({found.pk}).")
        self.stdout.write(rotate_secret(found.pk) if rotate else current_secret(found.pk))


def _organization(text: str) -> Organization:
    """Raises CommandError: names need not be unique, and a secret must not be told to the wrong one."""
    by = {"pk": text} if is_uuid(text) else {"name": text}
    found = list(Organization.objects.filter(**by)[:2])
    if not found:
        raise CommandError(f"There is no organization {text!r}.")
    if len(found) > 1:
        raise CommandError(f"Several organizations are called {text!r}: give the id of one.")
    return found[0]
