"""Items found by meaning, in each database: vectors are made before anybody who writes is held up."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from langchain_core.embeddings import Embeddings
from langgraph.store.base import BaseStore
from langgraph.store.postgres.base import Migration

from runs.engine.storage import FencedSaver, Index, Keeping, NotEmbedded, NoVectors, Scope, TooManyTexts, open_saver
from runs.engine.storage.postgres_items import PostgresItems
from runs.engine.storage.store import ScopedStore
from runs.langgraph_json import IndexSpec
from runs.postgres import connection_parameters
from tests.contracts.benches import Bench, attempt_of
from tests.graphs.embedding import DIMS, embed

pytestmark = pytest.mark.django_db(transaction=True)

ALICE, CHARLIE = Scope("acme", "alice"), Scope("other", "charlie")
PLACE = ("notes",)
SPEC = IndexSpec(DIMS, "tests:embedding", ("text", "more[*]"))


class CountingEmbeddings(Embeddings):
    """Answers when `open` is set, with what `vectors` makes; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.vectors: Any = embed

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.asked.append(texts)
        made: list[list[float]] = self.vectors(texts)
        return made

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        await self.open.wait()
        return self.embed_documents(texts)

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


@pytest.fixture
def model() -> CountingEmbeddings:
    return CountingEmbeddings()


@pytest.fixture
async def indexed(bench: Bench, model: CountingEmbeddings) -> AsyncIterator[FencedSaver]:
    keeping = Keeping(Index(model, SPEC.dims, SPEC.fields))
    async with open_saver(bench.with_index(SPEC), keeping) as saver:
        yield saver


@pytest.fixture
async def items(indexed: FencedSaver) -> ScopedStore:
    store = indexed.items(ALICE)
    await store.aput(PLACE, "dog", {"text": "a dog barks at night", "kind": "pet"})
    await store.aput(PLACE, "cat", {"text": "a cat sleeps all day", "kind": "pet"})
    await store.aput(PLACE, "car", {"text": "the engine of a car", "kind": "thing"})
    return store


async def found(store: BaseStore, query: str, **options: Any) -> list[str]:
    return [item.key for item in await store.asearch((), query=query, **options)]


async def test_the_closest_come_first_with_their_scores(items: ScopedStore) -> None:
    first, *others = await items.asearch(PLACE, query="dog barks")
    assert (first.key, first.namespace, len(others)) == ("dog", PLACE, 2)
    assert first.score is not None and 0 < first.score <= 1.0001
    assert all(other.score is not None and other.score < first.score for other in others)
    assert (await found(items, "engine car"))[0] == "car"
    [same] = await items.asearch(PLACE, query="a cat sleeps all day", limit=1)
    assert same.score == pytest.approx(1.0, abs=1e-5)


async def test_filters_and_pages_hold_for_them_too(items: ScopedStore) -> None:
    assert set(await found(items, "car", filter={"kind": "pet"})) == {"dog", "cat"}
    for number in range(30):
        await items.aput(PLACE, f"n{number}", {"text": f"dog {'word ' * number}"})
    every = await found(items, "dog", limit=33)
    assert len(every) == 33
    assert [key for offset in range(0, 33, 5) for key in await found(items, "dog", limit=5, offset=offset)] == every


async def test_without_a_query_nothing_is_embedded(items: ScopedStore, model: CountingEmbeddings) -> None:
    before = len(model.asked)
    everything = await items.asearch(())
    assert len(everything) == 3 and {item.score for item in everything} == {None}
    await items.aget(PLACE, "dog")
    await items.adelete(PLACE, "dog")
    assert len(model.asked) == before


async def test_what_was_replaced_or_deleted_is_not_found_by_what_it_was(items: ScopedStore) -> None:
    await items.aput(PLACE, "dog", {"text": "bread and butter", "more": ["one", "two"]})
    await items.aput(PLACE, "dog", {"text": "bread and butter"})
    await items.aput(PLACE, "cat", {"text": "a cat sleeps"}, index=False)
    await items.adelete(PLACE, "car")
    scores = {item.key: item.score for item in await items.asearch(PLACE, query="two")}
    assert list(scores) == ["dog"] and scores["dog"] == pytest.approx(0.0, abs=1e-5)
    assert {item.key for item in await items.asearch(PLACE)} == {"dog", "cat"}


async def test_an_item_may_name_its_own_texts(items: ScopedStore) -> None:
    await items.aput(PLACE, "own", {"text": "nothing", "title": "purple submarine"}, index=["title"])
    await items.aput(PLACE, "none", {"text": 5, "more": [None]})
    assert (await found(items, "purple submarine"))[0] == "own"


async def test_nobody_finds_the_items_of_another(indexed: FencedSaver, items: ScopedStore) -> None:
    stranger = indexed.items(CHARLIE)
    assert await found(stranger, "dog barks") == []
    await stranger.aput(PLACE, "own", {"text": "dog barks"})
    assert await found(stranger, "dog barks") == ["own"]
    assert "own" not in await found(items, "dog barks")


async def test_a_slow_model_holds_up_nobody_else(
    bench: Bench, indexed: FencedSaver, items: ScopedStore, model: CountingEmbeddings
) -> None:
    writer = attempt_of(1, 1)
    await bench.begin(indexed, writer)
    model.open.clear()
    slow = asyncio.ensure_future(indexed.store(ALICE, writer).aput(PLACE, "slow", {"text": "late"}))
    searching = asyncio.ensure_future(items.asearch(PLACE, query="late"))
    async with asyncio.timeout(10):
        await indexed.items(CHARLIE).aput(PLACE, "quick", {"text": "early"}, index=False)
        assert len(await items.asearch(PLACE)) == 3
        await bench.begin(indexed, attempt_of(1, 1, "other"))
    assert not slow.done() and not searching.done()
    model.open.set()
    await asyncio.gather(slow, searching)
    assert (await found(items, "late"))[0] == "slow"


@pytest.mark.parametrize(
    "vectors",
    [
        lambda texts: 1 / 0,
        lambda texts: [[0.5] * (DIMS - 1) for _ in texts],
        lambda texts: [],
    ],
    ids=["fails", "too short", "too few"],
)
async def test_a_model_that_fails_writes_nothing(items: ScopedStore, model: CountingEmbeddings, vectors: Any) -> None:
    model.vectors = vectors
    with pytest.raises(NotEmbedded):
        await items.aput(PLACE, "dog", {"text": "new"})
    with pytest.raises(NotEmbedded):
        await items.asearch(PLACE, query="dog")
    with pytest.raises(NotEmbedded):
        await asyncio.to_thread(items.put, PLACE, "dog", {"text": "new"})
    kept = await items.aget(PLACE, "dog")
    assert kept is not None and kept.value["text"] == "a dog barks at night"


async def test_an_item_has_no_more_texts_than_it_may(items: ScopedStore, model: CountingEmbeddings) -> None:
    before = len(model.asked)
    with pytest.raises(TooManyTexts):
        await items.aput(PLACE, "many", {"more": ["x"] * 501})
    assert len(model.asked) == before and await items.aget(PLACE, "many") is None


async def test_items_put_before_there_was_an_index_stay(bench: Bench, saver: FencedSaver) -> None:
    await saver.items(ALICE).aput(PLACE, "old", {"text": "dog"})
    plain = await saver.items(ALICE).asearch(PLACE, query="anything")
    assert [(item.key, item.score) for item in plain] == [("old", None)]
    keeping = Keeping(Index(CountingEmbeddings(), SPEC.dims, SPEC.fields))
    async with open_saver(bench.with_index(SPEC), keeping) as later:
        assert [item.key for item in await later.items(ALICE).asearch(PLACE)] == ["old"]
        assert await found(later.items(ALICE), "dog") == []
        await later.items(ALICE).aput(PLACE, "new", {"text": "dog"})
        assert await found(later.items(ALICE), "dog") == ["new"]


@pytest.mark.many_machines
async def test_a_database_without_the_extension_is_told_in_one_sentence(bench: Bench) -> None:
    class Without(PostgresItems):
        VECTOR_MIGRATIONS = (*[Migration("CREATE EXTENSION nowhere")] * 9,)

    with (
        psycopg.connect(**connection_parameters("tests"), autocommit=True) as connection,
        pytest.raises(NoVectors, match="does not have the extension pgvector"),
    ):
        Without(connection, SPEC).make()


@pytest.mark.many_machines
async def test_vectors_of_another_length_are_told_when_the_tables_are_made(bench: Bench) -> None:
    bench.with_index(SPEC)
    with pytest.raises(NoVectors, match=f"{DIMS} numbers, not of {DIMS + 1}"):
        bench.with_index(IndexSpec(DIMS + 1, SPEC.embed))
