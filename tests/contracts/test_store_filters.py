"""What a search of the store compares, the same in each database."""

import itertools
from typing import Any

import pytest

from runs.engine.storage import FencedSaver, Scope
from runs.engine.storage.store import ScopedStore

pytestmark = pytest.mark.django_db(transaction=True)

PLACE = ("things",)
THINGS: dict[str, dict[str, Any]] = {
    "nine": {"n": 9, "name": "nine", "a.b": 1, "even": False, "tags": ["x", "y"]},
    "ten": {"n": 10, "name": "ten", "a": {"b": 1}, "even": True, "tags": ["x"]},
    "half": {"n": 0.5, "name": "half", "none": None, "deep": {"x": {"y": 1}}, "pair": {"a": 1, "b": 2}},
    "text": {"n": "10", "name": 'it\'s "odd"', "even": "true", "a-b": 1},
    "big": {"n": 2**53 + 1, "even": 1},
}


@pytest.fixture
async def things(saver: FencedSaver) -> ScopedStore:
    store = saver.items(Scope("acme", "alice"))
    for key, value in THINGS.items():
        await store.aput(PLACE, key, value)
    await saver.items(Scope("other", "charlie")).aput(PLACE, "secret", {"n": 9, "secret": True})
    return store


FOUND: list[tuple[dict[str, Any], set[str]]] = [
    ({"n": 10}, {"ten"}),
    ({"n": 10.0}, {"ten"}),
    ({"n": "10"}, {"text"}),
    ({"n": 2**53 + 1}, {"big"}),
    ({"n": 2**53 + 2}, set()),
    ({"n": {"$eq": 9}}, {"nine"}),
    ({"n": {"$gt": 9}}, {"ten", "big"}),
    ({"n": {"$gte": 9}}, {"nine", "ten", "big"}),
    ({"n": {"$lt": 9}}, {"half"}),
    ({"n": {"$gt": 0.5, "$lte": 10}}, {"nine", "ten"}),
    ({"n": {"$gt": "1"}}, {"text"}),
    ({"name": {"$lt": "nine"}}, {"half", "text"}),
    ({"n": {"$ne": 10}}, {"nine", "half", "text", "big"}),
    ({"name": {"$ne": "ten"}}, {"nine", "half", "text", "big"}),
    ({"even": True}, {"ten"}),
    ({"even": 1}, {"big"}),
    ({"even": "true"}, {"text"}),
    ({"even": None}, {"half"}),
    ({"even": {"$ne": None}}, {"nine", "ten", "text", "big"}),
    ({"name": 'it\'s "odd"'}, {"text"}),
    ({"tags": ["x", "y"]}, {"nine"}),
    ({"tags": {"$eq": ["x"]}}, {"ten"}),
    ({"tags": {"$ne": ["x"]}}, {"nine", "half", "text", "big"}),
    ({"a": {"b": 1}}, {"ten"}),
    ({"deep": {"x": {"y": 1}}}, {"half"}),
    ({"deep": {"x": {"y": 1.0}}}, {"half"}),
    ({"deep": {"x": {"y": True}}}, set()),
    ({"pair": {"b": 2, "a": 1}}, {"half"}),
    ({"pair": {"$ne": {"b": 2, "a": 1.0}}}, {"nine", "ten", "text", "big"}),
    ({"a.b": 1}, {"nine"}),
    ({"a-b": 1}, {"text"}),
    ({"n": {"$gt": 0}, "even": False}, {"nine"}),
    ({"n": {"$gt": True}}, set()),
    ({"nowhere": 1}, set()),
]


async def test_a_filter_finds(things: ScopedStore) -> None:
    for filter, expected in FOUND:
        found = {item.key for item in await things.asearch((), filter=filter, limit=100)}
        assert found == expected, filter


KEYS = ["') OR 1=1--", "x') = 1 OR ('a", '"', "'", "$", "..", "[", "a[0]", "%s", "%", "?", "\\", "n\n", "", " "]


async def test_a_key_of_a_filter_is_never_a_part_of_the_query(things: ScopedStore) -> None:
    conditions: list[Any] = [1, {"$eq": True}, {"$gt": 0}, {"$ne": 1}]
    for key, condition in itertools.product(KEYS, conditions):
        try:
            found = await things.asearch((), filter={key: condition}, limit=100)
        except ValueError:  # SQLite takes names only.
            found = []
        allowed = set(THINGS) if condition == {"$ne": 1} else set()
        assert {item.key for item in found} <= allowed, (key, condition)


async def test_a_value_of_a_filter_is_a_value(things: ScopedStore) -> None:
    for value in ("') OR 1=1--", "%s", "?", "'", '"', "\\", "null", "true", "[]", "é", "\u2028"):
        await things.aput(PLACE, "odd", {"word": value})
        for filter in ({"word": value}, {"word": {"$gte": value}}, {"word": {"$eq": value, "$lte": value}}):
            assert [item.key for item in await things.asearch((), filter=filter)] == ["odd"], filter
        assert await things.asearch((), filter={"name": value}) == [], value


async def test_an_unknown_operator_is_an_error(things: ScopedStore) -> None:
    for operator in ("$where", "$", "$or", "$GT"):
        with pytest.raises(ValueError, match="operator"):
            await things.asearch((), filter={"n": {operator: 1}})


async def test_a_label_is_compared_as_it_is(saver: FencedSaver) -> None:
    for label in ("%", "_", "*", "?", "[a]", "'", '"', "\\", " ", "é", "A", "a-b", "$", "(", "\n"):
        # Each for a user who has nothing else.
        items = saver.items(Scope("acme", f"user of {label}"))
        await items.aput((label, "x"), label, {})
        await items.aput(("a", "x"), "other", {})
        assert [item.key for item in await items.asearch((label,))] == [label]
        assert (await items.aget((label, "x"), label)) is not None
        expected = [(label, "x")] if label != "*" else sorted([("*", "x"), ("a", "x")])
        assert sorted(await items.alist_namespaces(prefix=(label,))) == expected
        assert sorted(await items.alist_namespaces(suffix=(label, "x"))) == expected
        assert {label, "a"} == {first for first, *_ in await items.alist_namespaces(max_depth=1)}
