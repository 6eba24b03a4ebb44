"""What each role may do, and the DRF permission that holds views to it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from accounts.models import Role
from accounts.tenancy import Tenant

if TYPE_CHECKING:  # DRF's views load this module by its settings.
    from rest_framework.views import APIView

READS: Final = frozenset({"threads:read", "runs:read", "workflows:read"})
WRITES: Final = frozenset(
    {"threads:write", "threads:delete", "runs:create", "runs:cancel", "feedback:write", "workflows:write"}
)
MANAGES: Final = frozenset({"members:manage", "keys:manage"})
ALL_PERMISSIONS: Final = READS | WRITES | MANAGES

ROLE_PERMISSIONS: Final[Mapping[Role, frozenset[str]]] = {
    Role.VIEWER: READS,
    Role.MEMBER: READS | WRITES,
    Role.ADMIN: READS | WRITES | MANAGES,
    Role.OWNER: ALL_PERMISSIONS,
}


class TenantPermission(BasePermission):
    """Let a tenant through that has the permission its view names in `required_permissions`.

    The table's keys are actions of a viewset or, for the rest, HTTP methods in lower case; HEAD counts as GET.
    What is not in the table is closed to everybody.
    """

    message = "This is not open to anybody."

    def has_permission(self, request: Request, view: "APIView") -> bool:
        if not isinstance(request.auth, Tenant):
            return False
        method = str(request.method).lower()
        if not hasattr(view, method):
            return True  # Nothing will run: the view answers 405.
        needed = required_permission(view, method)
        if needed is None:
            return False
        self.message = lacking(needed)
        return request.auth.can(needed)


def lacking(permission: str) -> str:
    return f"This needs the permission {permission}, which your role does not give."


def required_permission(view: "APIView", method: str) -> str | None:
    """Return the permission that the view's table names for what is about to run, or None if it names none."""
    table: Mapping[str, str] = getattr(view, "required_permissions", {})
    action: str | None = getattr(view, "action", None)
    if action is not None and action in table:
        return table[action]
    return table.get("get" if method == "head" else method)
