"""Users: one spelling of an address, and a token version that new passwords raise."""

from io import StringIO

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.db import IntegrityError
from pytest_django import Settings

from accounts.models import User
from accounts.services import revoke_tokens

pytestmark = pytest.mark.django_db


def test_address_is_stored_in_lower_case() -> None:
    user = User.objects.create_user(" Alice@Acme.Test ")
    assert (user.email, User.objects.get().email) == ("alice@acme.test", "alice@acme.test")


def test_user_is_found_by_an_address_in_any_case() -> None:
    user = User.objects.create_user("alice@acme.test")
    assert User.objects.get_by_natural_key("ALICE@acme.test") == user


def test_same_address_in_another_case_is_refused() -> None:
    User.objects.create_user("alice@acme.test")
    with pytest.raises(IntegrityError):
        User.objects.create(email="ALICE@acme.test")


def test_database_refuses_what_goes_round_the_model() -> None:
    User.objects.create_user("alice@acme.test")
    bob = User.objects.create_user("bob@acme.test")
    with pytest.raises(IntegrityError):
        User.objects.filter(pk=bob.pk).update(email="ALICE@acme.test")


def test_validation_names_a_taken_address_whatever_its_case() -> None:
    User.objects.create_user("alice@acme.test")
    with pytest.raises(ValidationError, match="already exists"):
        User(email="ALICE@acme.test", password="!").full_clean()


def test_address_is_required() -> None:
    with pytest.raises(ValueError, match="e-mail"):
        User.objects.create_user("")


def test_user_made_without_a_password_has_none() -> None:
    assert not User.objects.create_user("alice@acme.test").has_usable_password()


def test_createsuperuser_command_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", "correct horse battery")
    call_command("createsuperuser", "--noinput", "--email", "Root@Acme.Test", stdout=StringIO())
    root = User.objects.get_by_natural_key("root@acme.test")
    assert root.is_staff and root.is_superuser and root.check_password("correct horse battery")


def test_new_password_raises_the_token_version() -> None:
    user = User.objects.create_user("alice@acme.test", "old")
    user.set_password("new")
    user.save()
    assert (user.token_version, User.objects.get().token_version) == (2, 2)


def test_new_password_raises_the_token_version_even_if_only_the_password_is_saved() -> None:
    user = User.objects.create_user("alice@acme.test", "old")
    user.set_password("new")
    user.save(update_fields=["password"])
    assert User.objects.get().token_version == 2


def test_upgrade_of_a_password_hash_keeps_the_token_version(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    user = User.objects.create_user("alice@acme.test", "old")
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.PBKDF2PasswordHasher",
        "django.contrib.auth.hashers.MD5PasswordHasher",
    ]
    assert user.check_password("old")
    assert User.objects.get().password.startswith("pbkdf2")
    assert (user.token_version, User.objects.get().token_version) == (1, 1)


def test_saving_anything_else_keeps_the_token_version() -> None:
    user = User.objects.create_user("alice@acme.test", "old")
    user.is_staff = True
    user.save()
    assert User.objects.get().token_version == 1


def test_revoke_tokens_counts_from_the_row_and_not_from_a_stale_copy() -> None:
    user = User.objects.create_user("alice@acme.test")
    stale = User.objects.get()
    revoke_tokens(user)
    revoke_tokens(stale)
    assert stale.token_version == 3


def test_ids_grow_with_time() -> None:
    ids = [User.objects.create_user(f"u{number}@acme.test").pk for number in range(3)]
    assert ids == sorted(ids) and all(user_id.version == 7 for user_id in ids)
