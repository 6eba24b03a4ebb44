"""Reading a request: its body as a model, its query as values. What is wrong is named."""

from typing import TypeVar

from pydantic import BaseModel
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request

from accounts.permissions import lacking
from accounts.tenancy import Tenant
from runs.exceptions import Invalid
from runs.states import CancelAction

M = TypeVar("M", bound=BaseModel)

_TRUE = {"1", "true", "yes"}
_MAX_EVENT_ID = 2**63 - 1
_FALSE = {"0", "false", "no", ""}
_WORDS = {"true": True, "yes": True, "false": False, "no": False, "": False}


def tenant_of(request: Request) -> Tenant:
    tenant = request.auth
    assert isinstance(tenant, Tenant)
    return tenant


def demand(tenant: Tenant, permission: str) -> None:
    """For what only some requests of an action do. Raises PermissionDenied."""
    if not tenant.can(permission):
        raise PermissionDenied(lacking(permission))


def body_of(request: Request, model: type[M]) -> M:
    """Raises pydantic's ValidationError, which is answered with 422."""
    return model.model_validate(request.data)


def flag(request: Request, name: str) -> bool:
    value = request.query_params.get(name, "").lower()
    if value not in _TRUE | _FALSE:
        raise Invalid(("query", name), "must be true or false")
    return value in _TRUE


def depth(request: Request, name: str, *, at_most: int = 100) -> bool | int:
    """How deep to go: true for all the way, false for not at all, or as many levels."""
    text = request.query_params.get(name, "").lower()
    if text in _WORDS:
        return _WORDS[text]
    return integer(request, name, 0, at_least=0, at_most=at_most)


def integer(request: Request, name: str, default: int, *, at_least: int, at_most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) < 20):
        raise Invalid(("query", name), "must be an integer")
    if not at_least <= int(text) <= at_most:
        raise Invalid(("query", name), f"must be an integer from {at_least} to {at_most}")
    return int(text)


def choices(request: Request, name: str, known: frozenset[str]) -> list[str]:
    """The values of a parameter that may be repeated, or hold several with commas between them."""
    values = [value for item in request.query_params.getlist(name) for value in item.split(",") if value]
    if unknown := set(values) - known:
        raise Invalid(("query", name), f"does not know {', '.join(sorted(unknown))[:100]}")
    return values


def choice(request: Request, name: str, choices: frozenset[str]) -> str | None:
    value = request.query_params.get(name)
    if value is not None and value not in choices:
        raise Invalid(("query", name), f"must be one of {', '.join(sorted(choices))}")
    return value


def action_of(request: Request) -> CancelAction | None:
    """How a run is to be cancelled; None: it is not, as never by a HEAD."""
    action = choice(request, "action", frozenset(CancelAction.values))
    return CancelAction(action) if action and request.method != "HEAD" else None


def last_event_id(request: Request) -> int | None:
    """The reader's cursor: None without one, 0 for the beginning."""
    text = request.headers.get("Last-Event-ID", "").strip() or request.query_params.get("last_event_id", "").strip()
    if not text:
        return None
    if text in ("-1", "0", "0-0"):
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= _MAX_EVENT_ID):
        raise Invalid(("header", "Last-Event-ID"), "must be the id of an event, 0 or -1")
    return int(text)
