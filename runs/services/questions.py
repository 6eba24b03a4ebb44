"""Questions that only an engine can answer, asked for a tenant."""

from typing import Any

from accounts.tenancy import Tenant
from runs import calls
from runs.exceptions import Conflict, Invalid, NotFound, Refusal, Unavailable

NO_ENGINE = "No engine can answer at the moment; try again."


def ask(method: str, tenant: Tenant, graph_id: str, *, loc: tuple[str, ...] = ("body",), **params: Any) -> bytes:
    """The answer as JSON. Raises what the engine refuses as a Refusal, a wrong request at `loc`, and Unavailable.

    Raises PermitNeeded too, where a command of a socket asks.
    """
    try:
        return calls.ask(
            method,
            graph_id=graph_id,
            organization_id=str(tenant.organization_id),
            user_id=str(tenant.user_id),
            **params,
        )
    except calls.NoEngine:
        raise Unavailable(NO_ENGINE) from None
    except calls.CallRefused as exc:
        raise _refusal(exc, loc) from None


def _refusal(refused: calls.CallRefused, loc: tuple[str, ...]) -> Refusal:
    kinds: dict[int, type[Refusal]] = {404: NotFound, 409: Conflict, 503: Unavailable}
    kind = kinds.get(refused.status)
    return kind(refused.detail) if kind else Invalid(loc, refused.detail)
