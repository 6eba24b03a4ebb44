"""The store in each database: a run writes its tenant's items while its claim holds, and sees no one else's."""

import asyncio
import os
from typing import Any

import psycopg
import pytest
from django.conf import settings
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.base import BaseStore

from runs.engine.storage import WRITER_KEY, FencedSaver, ReadOnly, Scope, StaleAttempt
from tests.contracts.benches import Bench, attempt_of

pytestmark = pytest.mark.django_db(transaction=True)

FIRST, SECOND = attempt_of(1, 1), attempt_of(1, 2)
ALICE, BOB, CHARLIE = Scope("acme", "alice"), Scope("acme", "bob"), Scope("other", "charlie")
FOOD, COLOURS = ("memories", "food"), ("memories", "colours")


@pytest.fixture
async def store(bench: Bench, saver: FencedSaver) -> BaseStore:
    """Alice's, of a run that may write."""
    await bench.begin(saver, FIRST)
    return saver.store(ALICE, FIRST)


async def test_an_item_comes_back_under_the_namespace_that_its_graph_chose(store: BaseStore) -> None:
    await store.aput(FOOD, "likes", {"text": "plums"})
    found = await store.aget(FOOD, "likes")
    assert found is not None and (found.namespace, found.key, found.value) == (FOOD, "likes", {"text": "plums"})
    await store.aput(FOOD, "likes", {"text": "pears"})
    [item] = await store.asearch(("memories",), filter={"text": "pears"})
    assert (item.namespace, item.value) == (FOOD, {"text": "pears"})
    await store.adelete(FOOD, "likes")
    assert await store.aget(FOOD, "likes") is None


async def test_namespaces_are_listed_as_the_graph_knows_them(store: BaseStore) -> None:
    for namespace in (FOOD, COLOURS, ("other",)):
        await store.aput(namespace, "k", {})
    assert await store.alist_namespaces() == [COLOURS, FOOD, ("other",)]
    assert await store.alist_namespaces(prefix=("memories",)) == [COLOURS, FOOD]
    assert await store.alist_namespaces(suffix=("food",)) == [FOOD]
    assert await store.alist_namespaces(max_depth=1) == [("memories",), ("other",)]


async def test_nobody_sees_the_items_of_another(saver: FencedSaver, store: BaseStore) -> None:
    await store.aput(FOOD, "likes", {"text": "plums"})
    for scope in (BOB, CHARLIE, Scope("acme", None)):
        stranger = saver.store(scope)
        assert await stranger.aget(FOOD, "likes") is None
        assert await stranger.asearch(()) == [] and await stranger.alist_namespaces() == []
        assert await stranger.aget(("acme", "alice", *FOOD), "likes") is None
    assert len(await saver.store(ALICE).asearch(())) == 1


@pytest.mark.parametrize(
    "path", [("acme",), ("alice",), ("acme", "alice"), ("alice", "memories"), ("*", "*", "*", "*")]
)
async def test_the_part_that_tells_tenants_apart_is_not_matched(store: BaseStore, path: tuple[str, ...]) -> None:
    await store.aput(FOOD, "likes", {})
    await store.aput(("memories",), "likes", {})
    assert await store.alist_namespaces(suffix=path) == []
    assert await store.alist_namespaces(prefix=path) == []


async def test_a_star_stands_for_one_label(saver: FencedSaver, store: BaseStore) -> None:
    await saver.items(BOB).aput(("secret", "food"), "k", {})
    for namespace in (FOOD, COLOURS, ("memories", "food", "old")):
        await store.aput(namespace, "k", {})
    assert await store.alist_namespaces(prefix=("*", "food")) == [FOOD, (*FOOD, "old")]
    assert await store.alist_namespaces(suffix=("*", "food")) == [FOOD]
    assert await store.alist_namespaces(prefix=("*",), suffix=("*",), max_depth=1) == [("memories",)]
    assert await store.alist_namespaces(prefix=("*",), max_depth=2, limit=1, offset=1) == [FOOD]


async def test_a_caller_writes_what_the_graphs_of_the_same_user_see(saver: FencedSaver, store: BaseStore) -> None:
    await saver.items(ALICE).aput(FOOD, "likes", {"text": "plums"})
    found = await store.aget(FOOD, "likes")
    assert found is not None and found.value == {"text": "plums"}
    await store.aput(FOOD, "hates", {"text": "stones"})
    assert {item.key for item in await saver.items(ALICE).asearch(FOOD)} == {"likes", "hates"}
    await saver.items(ALICE).adelete(FOOD, "hates")
    assert await store.aget(FOOD, "hates") is None
    assert await saver.items(BOB).asearch(()) == []
    await saver.items(BOB).adelete(FOOD, "likes")
    assert await store.aget(FOOD, "likes") is not None


async def test_of_two_who_put_at_once_one_stays(saver: FencedSaver) -> None:
    async with asyncio.timeout(20):
        await asyncio.gather(*(saver.items(ALICE).aput(FOOD, f"k{n % 3}", {"n": n}) for n in range(60)))
    assert len(await saver.items(ALICE).asearch(FOOD)) == 3


async def test_a_change_keeps_the_time_when_an_item_was_made(saver: FencedSaver) -> None:
    items = saver.items(ALICE)
    await items.aput(FOOD, "likes", {"n": 1})
    made = await items.aget(FOOD, "likes")
    await items.aput(FOOD, "other", {"n": 1})
    await items.aput(FOOD, "likes", {"n": 2})
    changed = await items.aget(FOOD, "likes")
    assert made is not None and changed is not None
    assert (changed.created_at, changed.value) == (made.created_at, {"n": 2})
    assert changed.updated_at > made.updated_at
    assert [item.key for item in await items.asearch(FOOD)] == ["likes", "other"]


async def test_a_run_that_was_taken_over_writes_no_item(bench: Bench, saver: FencedSaver, store: BaseStore) -> None:
    await store.aput(FOOD, "likes", {"text": "plums"})
    await bench.begin(saver, SECOND)
    with pytest.raises(StaleAttempt):
        await store.aput(FOOD, "likes", {"text": "stones"})
    with pytest.raises(StaleAttempt):
        await store.adelete(FOOD, "likes")
    found = await saver.store(ALICE, SECOND).aget(FOOD, "likes")
    assert found is not None and found.value == {"text": "plums"}


async def test_a_question_about_state_writes_nothing(saver: FencedSaver, store: BaseStore) -> None:
    with pytest.raises(ReadOnly):
        await saver.store(ALICE).aput(FOOD, "likes", {})
    assert await store.asearch(()) == []


async def test_nodes_reach_it_from_threads_and_from_coroutines(saver: FencedSaver, store: BaseStore) -> None:
    def in_a_thread(state: MessagesState, runtime: Runtime[Any]) -> None:
        assert runtime.store is not None
        runtime.store.put(FOOD, "sync", {"n": 1})

    async def on_the_loop(state: MessagesState, runtime: Runtime[Any]) -> None:
        assert runtime.store is not None
        await asyncio.gather(*(runtime.store.aput(COLOURS, str(n), {"n": n}) for n in range(20)))

    builder = StateGraph(MessagesState).add_node(in_a_thread).add_node(on_the_loop)
    builder.add_edge(START, "in_a_thread").add_edge("in_a_thread", "on_the_loop")
    graph = builder.compile(checkpointer=saver, store=store)
    await graph.ainvoke({"messages": []}, {"configurable": {"thread_id": "thread", WRITER_KEY: FIRST}})
    assert len(await store.asearch((), limit=50)) == 21


async def test_a_key_that_the_database_can_not_hold_is_its_runs_own_affair(
    bench: Bench, saver: FencedSaver, store: BaseStore
) -> None:
    other = attempt_of(1, 1, "other")
    await bench.begin(saver, other)
    async with asyncio.timeout(20):
        # PostgreSQL refuses what its index can not hold; SQLite takes it.
        huge, small = await asyncio.gather(
            store.aput(FOOD, os.urandom(20_000).hex(), {}),
            saver.store(BOB, other).aput(FOOD, "likes", {}),
            return_exceptions=True,
        )
    assert small is None
    assert isinstance(huge, psycopg.Error) if settings.POSTGRES else huge is None
    await store.aput(FOOD, "likes", {})
