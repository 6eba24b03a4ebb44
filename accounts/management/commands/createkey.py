"""`manage.py createkey`: from nothing to a working API key, for operators and scripts."""

import argparse
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction

from accounts.exceptions import AccountsError
from accounts.models import ApiKey
from accounts.services import find_or_create_owner, issue_api_key


class Command(BaseCommand):
    help = (
        "Print a new API key, alone, on standard output. Makes the user, without a password, and the organization "
        "if they are missing, with the user as owner; an existing organization of that name is joined as owner."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--email", required=True, help="whose key it is")
        parser.add_argument("--organization", help="name of the organization that the key acts in")
        parser.add_argument("--name", default="createkey", help="what the key is called in lists")

    def handle(self, *args: Any, email: str, organization: str | None, name: str, **options: Any) -> None:
        if ApiKey._meta.db_table not in connection.introspection.table_names():
            raise CommandError("There is no database here yet: start the server once, or run `manage.py migrate`.")
        try:
            with transaction.atomic():
                user, acts_in = find_or_create_owner(email, organization)
                _, plaintext = issue_api_key(user, acts_in, name)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        except AccountsError as error:
            raise CommandError(str(error)) from error
        self.stderr.write(f"This key acts as {user.email} in {acts_in.name}. It is not shown again.")
        self.stdout.write(plaintext)
