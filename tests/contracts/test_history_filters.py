"""What a search of a thread's history compares, and what numbers it finds, the same in each database."""

from typing import Any

import pytest

from runs.engine.storage import FencedSaver, Scope
from tests.contracts.benches import Bench
from tests.contracts.written import FIRST, checkpoint, config, put

pytestmark = pytest.mark.django_db(transaction=True)

ABOUT: list[dict[str, Any]] = [
    {"n": 1, "word": "one", "a.b": 1, "flag": True, "tags": ["x", "y"]},
    {"n": 1.0, "word": "it's", "a": {"b": 1, "c": [1]}, "none": None, "flag": 1},
    {"n": 2**53 + 1, "word": "1", "flag": "true", "tags": ["x"]},
]
PLACE: Any = {"configurable": {"thread_id": "thread"}}


async def write(saver: FencedSaver) -> None:
    for step, about in enumerate(ABOUT):
        made = checkpoint(step, x=step)
        metadata: Any = {"source": "loop", "step": step, **about}
        await saver.aput(config(FIRST), made, metadata, made["channel_versions"])


FOUND: list[tuple[dict[str, Any], set[int]]] = [
    ({"n": 1}, {0, 1}),
    ({"n": 2**53}, set()),
    ({"word": "1"}, {2}),
    ({"word": 1}, set()),
    ({"word": "it's"}, {1}),
    ({"flag": True}, {0}),
    ({"flag": 1}, {1}),
    ({"none": None}, {1}),
    ({"nowhere": None}, set()),
    ({"a.b": 1}, {0}),
    ({"a": {"b": 1}}, {1}),
    ({"a": {"c": [1.0], "b": 1}}, {1}),
    ({"tags": ["x"]}, {0, 2}),
    ({"tags": ["y", "x"]}, {0}),
    ({"step": 2, "n": 1}, set()),
    *(({key: 1}, set()) for key in ("..", ".", "-", "a..b", "$", "x" * 255)),
]


async def test_a_history_is_filtered(bench: Bench, saver: FencedSaver) -> None:
    await bench.begin(saver, FIRST)
    await write(saver)
    for filter, found in FOUND:
        listed = [item.metadata["step"] async for item in saver.alist(PLACE, filter=filter)]
        assert listed == sorted(found, reverse=True), filter


async def test_a_filtered_history_has_its_limit_and_its_values(bench: Bench, saver: FencedSaver) -> None:
    await bench.begin(saver, FIRST)
    await write(saver)
    [latest] = [item async for item in saver.alist(PLACE, filter={"tags": ["x"]}, limit=1)]
    assert latest.checkpoint["channel_values"] == {"x": 2}
    before: Any = latest.config
    [earlier] = [item async for item in saver.alist(PLACE, filter={"tags": ["x"]}, before=before)]
    assert earlier.checkpoint["channel_values"] == {"x": 0}


NUMBERS = [1.0, 1e15, 1e16, -1e17, 1e300, -1e300, 5e-324, 2**63 - 1, -(2**63)]


async def test_a_number_is_got_as_it_was_put(bench: Bench, saver: FencedSaver) -> None:
    await bench.begin(saver, FIRST)
    numbers = {f"n{index}": number for index, number in enumerate(NUMBERS)}
    await put(saver, FIRST, **numbers)
    latest = await saver.aget_tuple(PLACE)
    assert latest is not None
    got = latest.checkpoint["channel_values"]
    assert got == numbers and {name: type(got[name]) for name in got} == {name: type(numbers[name]) for name in numbers}


async def test_an_item_has_no_number_that_is_too_long_for_others(saver: FencedSaver) -> None:
    store = saver.items(Scope("acme", "alice"))
    for number in NUMBERS:
        await store.aput(("a",), "b", {"n": number})
        item = await store.aget(("a",), "b")
        assert item is not None and item.value["n"] == number
        assert isinstance(item.value["n"], float) or item.value["n"] in range(-(2**63), 2**63)
