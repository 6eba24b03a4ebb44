"""The store's items, for the tenants whose they are."""

import logging
from datetime import UTC, datetime
from typing import Any

import orjson
from langgraph.store.base import NOT_PROVIDED, BaseStore, Item, SearchItem

from runs.engine.desk.questions import Answer, Means, Params, Refused
from runs.engine.encode import to_json
from runs.engine.storage import NotEmbedded, Scope, TooManyTexts

logger = logging.getLogger(__name__)

#: How many items a search reads at a time, and how many bytes of them it answers.
_PAGE = 100
_MAX_FOUND = 16 * 1024 * 1024


async def put_item(means: Means, params: Params) -> Any:
    ttl = params["ttl"]
    try:
        await _store(means, params).aput(
            tuple(params["namespace"]),
            params["key"],
            params["value"],
            index=params["index"],
            ttl=NOT_PROVIDED if ttl is None else ttl,
        )
    except TooManyTexts as exc:
        raise Refused(422, str(exc)) from exc
    except NotEmbedded as exc:
        raise _not_embedded(exc) from exc


async def get_item(means: Means, params: Params) -> Any:
    found = await _store(means, params).aget(
        tuple(params["namespace"]), params["key"], refresh_ttl=params["refresh_ttl"]
    )
    return found and _item(found)


async def delete_item(means: Means, params: Params) -> Any:
    await _store(means, params).adelete(tuple(params["namespace"]), params["key"])


async def search_items(means: Means, params: Params) -> Any:
    store, asked = _store(means, params), {name: params[name] for name in ("query", "filter", "refresh_ttl")}
    found: list[bytes] = []
    try:
        # Not all at once: each item may be large.
        for start in range(0, params["limit"], _PAGE):
            page = min(_PAGE, params["limit"] - start)
            items = await store.asearch(
                tuple(params["namespace_prefix"]), **asked, limit=page, offset=params["offset"] + start
            )
            found += [to_json(_found(item)) for item in items]
            if sum(map(len, found)) > _MAX_FOUND:
                raise Refused(422, "What was found is too large for one answer; ask for fewer items.")
            if len(items) < page:
                break
    except NotEmbedded as exc:
        raise _not_embedded(exc) from exc
    return {"items": [orjson.Fragment(item) for item in found]}


async def list_namespaces(means: Means, params: Params) -> Any:
    asked = ("prefix", "suffix", "max_depth", "limit", "offset")
    found = await _store(means, params).alist_namespaces(**{name: params[name] for name in asked})
    return {"namespaces": found}


async def sweep_items(means: Means, params: Params) -> Any:
    await means.saver.sweep_items()


def _store(means: Means, params: Params) -> BaseStore:
    return means.saver.items(Scope(params["organization_id"], params["user_id"]))


def _not_embedded(exc: NotEmbedded) -> Refused:
    logger.error("texts of the store could not be made vectors: %s", exc, exc_info=exc)
    return Refused(503, "The texts could not be made vectors.")


def _item(item: Item) -> dict[str, Any]:
    return {
        "namespace": item.namespace,
        "key": item.key,
        "value": item.value,
        "created_at": _time(item.created_at),
        "updated_at": _time(item.updated_at),
    }


def _found(item: SearchItem) -> dict[str, Any]:
    return {**_item(item), "score": item.score}


def _time(moment: datetime) -> str:
    # SQLite's times are of UTC, and do not say so.
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


ANSWERS: dict[str, Answer] = {
    "put_item": put_item,
    "get_item": get_item,
    "delete_item": delete_item,
    "search_items": search_items,
    "list_namespaces": list_namespaces,
    "sweep_items": sweep_items,
}
