from collections.abc import Callable
from typing import TypeVar

from rest_framework.request import Request
from rest_framework.response import Response

from runs.api import schema
from runs.api.base import ApiViewSet
from runs.api.query import body_of, flag, tenant_of
from runs.api.schema import operation
from runs.exceptions import Invalid
from runs.protocol.requests.store import (
    ItemDelete,
    ItemPut,
    ItemSearch,
    NamespaceSearch,
    check_key,
    check_place,
)
from runs.services import store

V = TypeVar("V")


class StoreViewSet(ApiViewSet):
    required_permissions = {
        "update": "threads:write",
        "retrieve": "threads:read",
        "destroy": "threads:write",
        "search": "threads:read",
        "namespaces": "threads:read",
    }

    @operation("put_item", "Put or replace an item of the store", body=ItemPut, answers={204: schema.EMPTY})
    def update(self, request: Request) -> Response:
        store.put_item(tenant_of(request), body_of(request, ItemPut))
        return Response(status=204)

    @operation(
        "get_item",
        "Get an item of the store",
        answers={200: schema.MaybeItem},
        parameters=[schema.NAMESPACE, schema.KEY, schema.REFRESH],
    )
    def retrieve(self, request: Request) -> Response:
        namespace = _checked(request, "namespace", lambda text: check_place(text.split(".") if text else []))
        key = _checked(request, "key", check_key)
        refresh = flag(request, "refresh_ttl") if "refresh_ttl" in request.query_params else None
        return Response(store.get_item(tenant_of(request), namespace, key, refresh_ttl=refresh))

    @operation(
        "delete_item", "Delete an item of the store, if it is there", body=ItemDelete, answers={204: schema.EMPTY}
    )
    def destroy(self, request: Request) -> Response:
        store.delete_item(tenant_of(request), body_of(request, ItemDelete))
        return Response(status=204)

    @operation("search_items", "Find items of the store", body=ItemSearch, answers={200: schema.FoundItems})
    def search(self, request: Request) -> Response:
        return Response(store.search_items(tenant_of(request), body_of(request, ItemSearch)))

    @operation(
        "list_namespaces",
        "List the namespaces of the store that have items",
        body=NamespaceSearch,
        answers={200: schema.Namespaces},
    )
    def namespaces(self, request: Request) -> Response:
        return Response(store.list_namespaces(tenant_of(request), body_of(request, NamespaceSearch)))


def _checked(request: Request, name: str, check: Callable[[str], V]) -> V:
    """A parameter of the query that must be there. Raises Invalid."""
    text = request.query_params.get(name, "")
    if "\0" in text:
        raise Invalid(("query", name), "must not hold a NUL")
    try:
        return check(text)
    except ValueError as exc:
        raise Invalid(("query", name), str(exc)) from None
