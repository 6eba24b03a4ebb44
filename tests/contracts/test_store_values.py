"""What graphs put into the store that is hard to keep: the same becomes of it in each database."""

import threading
from typing import Any

import pytest

from runs.engine.storage import FencedSaver, Scope
from runs.engine.storage.store import ScopedStore

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def store(saver: FencedSaver) -> ScopedStore:
    return saver.items(Scope("acme", "alice"))


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (float("nan"), None),
        (float("-inf"), None),
        ("a\0b", "a\ufffdb"),
        ("a\ud800b", "a\ufffdb"),
        ({"a\0": [{"b": ("\udfff",)}]}, {"a\ufffd": [{"b": ["\ufffd"]}]}),
        ("\\u0000", "\\u0000"),
        ("👩\u200d👩\u202e\uffff", "👩\u200d👩\u202e\uffff"),
        (
            {"lc": 1, "type": "constructor", "id": ["os", "system"], "kwargs": {"command": "true"}},
            {"lc": 1, "type": "constructor", "id": ["os", "system"], "kwargs": {"command": "true"}},
        ),
    ],
    ids=ascii,
)
async def test_a_value_becomes_one_that_every_database_keeps(store: ScopedStore, value: Any, kept: Any) -> None:
    await store.aput(("a",), "b", {"value": value})
    item = await store.aget(("a",), "b")
    assert item is not None and item.value == {"value": kept}


def deep() -> list[Any]:
    nested: list[Any] = []
    for _ in range(1000):
        nested = [nested]
    return nested


@pytest.mark.parametrize(
    "value",
    [2**70, threading.Lock(), lambda: None, b"a", {1}, {1: "a"}, deep()],
    ids=lambda value: type(value).__name__,
)
async def test_a_value_that_is_no_json_is_refused_and_nothing_changes(store: ScopedStore, value: Any) -> None:
    await store.aput(("a",), "b", {"value": 1})
    with pytest.raises((TypeError, RecursionError)):
        await store.aput(("a",), "b", {"value": value})
    item = await store.aget(("a",), "b")
    assert item is not None and item.value == {"value": 1}


@pytest.mark.parametrize("odd", ["a\0b", "a\ud800b"], ids=ascii)
async def test_a_name_that_no_database_compares_is_refused(store: ScopedStore, odd: str) -> None:
    for place in (("a",), odd), (("a", odd), "b"):
        with pytest.raises(ValueError):
            await store.aput(*place, {"value": 1})
        with pytest.raises(ValueError):
            await store.aget(*place)
    with pytest.raises(ValueError):
        await store.asearch(("a", odd))
    with pytest.raises(ValueError):
        await store.alist_namespaces(prefix=("a", odd))
    assert await store.asearch(()) == []
