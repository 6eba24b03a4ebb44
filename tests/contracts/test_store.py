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
