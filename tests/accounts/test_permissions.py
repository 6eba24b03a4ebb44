"""What roles may do, and how views are held to it."""

from typing import Any, ClassVar
from uuid import UUID

import pytest
from rest_framework.authentication import BaseAuthentication
from rest_framework.parsers import JSONParser
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.viewsets import ViewSet

from accounts.models import Role
from accounts.permissions import ALL_PERMISSIONS, ROLE_PERMISSIONS, TenantPermission
from accounts.tenancy import Tenant

READS = {"threads:read", "runs:read", "workflows:read"}
WRITES = {"threads:write", "threads:delete", "runs:create", "runs:cancel", "feedback:write", "workflows:write"}
MANAGES = {"members:manage", "keys:manage"}


@pytest.mark.parametrize(
    ("role", "permissions"),
    [
        (Role.VIEWER, READS),
        (Role.MEMBER, READS | WRITES),
        (Role.ADMIN, READS | WRITES | MANAGES),
        (Role.OWNER, READS | WRITES | MANAGES),
    ],
)
def test_role_gives_exactly_its_permissions(role: Role, permissions: set[str]) -> None:
    assert ROLE_PERMISSIONS[role] == permissions


def test_every_role_and_every_permission_is_in_the_table() -> None:
    assert set(ROLE_PERMISSIONS) == set(Role)
    assert frozenset().union(*ROLE_PERMISSIONS.values()) == ALL_PERMISSIONS


class AsTenant(BaseAuthentication):
    """Whoever asks is the tenant given, or nobody."""

    def __init__(self, tenant: Any) -> None:
        self.tenant = tenant

    def authenticate(self, request: Request) -> tuple[str, Any] | None:
        return None if self.tenant is None else ("somebody", self.tenant)

    def authenticate_header(self, request: Request) -> str:
        return "Test"


class Threads(ViewSet):
    permission_classes = (TenantPermission,)
    parser_classes = (JSONParser,)
    renderer_classes = (JSONRenderer,)
    required_permissions: ClassVar[dict[str, str]] = {
        "list": "threads:read",
        "post": "threads:write",
        "delete": "threads:write",
        "destroy": "threads:delete",
    }
    tenant: Any = None

    def get_authenticators(self) -> list[BaseAuthentication]:
        return [AsTenant(self.tenant)]

    def answer(self, request: Request) -> Response:
        return Response("done")

    list = create = destroy = partial_update = answer


ACTIONS: dict[str, Any] = {"get": "list", "post": "create", "delete": "destroy", "patch": "partial_update"}


def ask(method: str, tenant: Any) -> Response:
    view = Threads.as_view(ACTIONS, tenant=tenant)
    return view(APIRequestFactory().generic(method.upper(), "/"))


def tenant(*permissions: str) -> Tenant:
    return Tenant(UUID(int=1), UUID(int=2), frozenset(permissions))


@pytest.mark.parametrize(
    ("method", "permission"),
    [("get", "threads:read"), ("head", "threads:read"), ("post", "threads:write"), ("delete", "threads:delete")],
)
def test_view_asks_for_the_permission_of_its_table(method: str, permission: str) -> None:
    assert ask(method, tenant(permission)).status_code == 200
    refused = ask(method, tenant(*ALL_PERMISSIONS - {permission}))
    assert refused.status_code == 403
    assert permission in refused.data["detail"]


@pytest.mark.parametrize("method", ["patch", "options"])
def test_action_without_an_entry_is_closed_to_everybody(method: str) -> None:
    response = ask(method, tenant(*ALL_PERMISSIONS))
    assert (response.status_code, response.data) == (403, {"detail": "This is not open to anybody."})


def test_view_without_a_table_is_closed_to_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Threads, "required_permissions")
    assert ask("get", tenant(*ALL_PERMISSIONS)).status_code == 403


@pytest.mark.parametrize("method", ["put", "trace"])
def test_method_that_no_action_serves_is_not_allowed(method: str) -> None:
    assert ask(method, tenant(*ALL_PERMISSIONS)).status_code == 405


@pytest.mark.parametrize("method", ["get", "patch", "put"])
def test_anonymous_is_asked_to_sign_in(method: str) -> None:
    assert ask(method, None).status_code == 401


def test_other_kinds_of_sign_in_are_no_tenant() -> None:
    assert ask("get", "a token of some other scheme").status_code == 403
