"""The tenant's items of the store, which its graphs see too: kept by whoever keeps their checkpoints."""

from typing import Any

from accounts.tenancy import Tenant
from runs import calls
from runs.exceptions import Invalid, Unavailable
from runs.protocol.requests.store import ItemDelete, ItemPut, ItemSearch, NamespaceSearch


def put_item(tenant: Tenant, body: ItemPut) -> None:
    """Put or replace an item; of two at once the last one stays. Raises Invalid and Unavailable."""
    _ask("put_item", tenant, **body.model_dump())


def get_item(tenant: Tenant, namespace: list[str], key: str, *, refresh_ttl: bool | None) -> bytes:
    """The item as JSON, or `null`. Raises Unavailable."""
    return _ask("get_item", tenant, namespace=namespace, key=key, refresh_ttl=refresh_ttl)


def delete_item(tenant: Tenant, body: ItemDelete) -> None:
    """Delete an item, if it is there. Raises Unavailable."""
    _ask("delete_item", tenant, **body.model_dump())


def search_items(tenant: Tenant, query: ItemSearch) -> bytes:
    """`{"items": […]}`, the latest first or, where it is configured, those closest in meaning. Raises Unavailable."""
    return _ask("search_items", tenant, **query.model_dump())


def list_namespaces(tenant: Tenant, query: NamespaceSearch) -> bytes:
    """`{"namespaces": [[…]]}`. Raises Unavailable."""
    return _ask("list_namespaces", tenant, **query.model_dump())


def _ask(method: str, tenant: Tenant, **params: Any) -> bytes:
    try:
        return calls.ask(method, organization_id=str(tenant.organization_id), user_id=str(tenant.user_id), **params)
    except calls.NoEngine:
        raise Unavailable("The store can not answer at the moment; try again.") from None
    except calls.CallRefused as exc:
        raise Invalid(("body",), exc.detail) from None
