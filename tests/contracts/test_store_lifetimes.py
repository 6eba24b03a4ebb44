"""Items with a lifetime, in each database: it begins anew when they are read, and ends with a sweep."""

import asyncio

import pytest
from langgraph.store.base import TTLConfig

from runs.engine.storage import FencedSaver, Keeping, Scope, Writer, open_saver
from runs.engine.storage.store import ScopedStore
from tests.contracts.benches import Bench, attempt_of

pytestmark = pytest.mark.django_db(transaction=True)

ALICE = Scope("acme", "alice")
PLACE = ("notes",)


@pytest.fixture
def items(saver: FencedSaver) -> ScopedStore:
    return saver.items(ALICE)


async def written(saver: FencedSaver) -> None:
    """All that was handed in before."""
    await asyncio.wrap_future(saver.pen.submit(lambda _: None))


async def keys(saver: FencedSaver, bench: Bench, *, minutes: int) -> set[str]:
    """What a sweep leaves after as many minutes."""
    await written(saver)
    for _ in range(minutes):
        bench.ending_lifetimes()
    await saver.sweep_items()
    return {item.key for item in await saver.items(ALICE).asearch((), refresh_ttl=False)}


async def test_an_item_goes_when_its_lifetime_has_ended(bench: Bench, saver: FencedSaver, items: ScopedStore) -> None:
    await items.aput(PLACE, "short", {}, ttl=2)
    await items.aput(PLACE, "long", {}, ttl=60)
    await items.aput(PLACE, "fraction", {}, ttl=2.5)
    await items.aput(PLACE, "for ever", {})
    assert await keys(saver, bench, minutes=1) == {"short", "long", "fraction", "for ever"}
    assert await keys(saver, bench, minutes=1) == {"long", "fraction", "for ever"}
    assert await keys(saver, bench, minutes=1) == {"long", "for ever"}


async def test_reading_lets_it_begin_anew(bench: Bench, saver: FencedSaver, items: ScopedStore) -> None:
    for key in ("got", "got without", "found", "untouched"):
        await items.aput((key,), key, {}, ttl=3)
    await written(saver)
    bench.ending_lifetimes()
    assert await items.aget(("got",), "got") is not None
    assert await items.aget(("got without",), "got without", refresh_ttl=False) is not None
    assert len(await items.asearch(("found",))) == 1
    await items.alist_namespaces()
    assert await keys(saver, bench, minutes=2) == {"got", "found"}


async def test_a_put_sets_it_anew(bench: Bench, saver: FencedSaver, items: ScopedStore) -> None:
    for key in ("longer", "for ever"):
        await items.aput(PLACE, key, {}, ttl=1)
    await items.aput(PLACE, "longer", {}, ttl=9)
    await items.aput(PLACE, "for ever", {}, ttl=None)
    assert await keys(saver, bench, minutes=3) == {"longer", "for ever"}


async def test_the_site_has_a_default(bench: Bench) -> None:
    ttl: TTLConfig = {"default_ttl": 2, "refresh_on_read": False}
    async with open_saver(bench.database, Keeping(ttl=ttl)) as saver:
        items = saver.items(ALICE)
        await items.aput(PLACE, "default", {})
        await items.aput(PLACE, "read anew", {})
        await items.aput(PLACE, "for ever", {}, ttl=None)
        bench.ending_lifetimes()
        await items.aget(PLACE, "default")
        await items.aget(PLACE, "read anew", refresh_ttl=True)
        assert await keys(saver, bench, minutes=1) == {"read anew", "for ever"}


async def test_runs_give_lifetimes_too(bench: Bench, saver: FencedSaver) -> None:
    writer: Writer = attempt_of(1, 1)
    await bench.begin(saver, writer)
    store = saver.store(ALICE, writer)
    await store.aput(PLACE, "short", {}, ttl=1)
    await store.aput(PLACE, "long", {}, ttl=5)
    await store.aput(PLACE, "over", {}, ttl=-5)
    assert await keys(saver, bench, minutes=2) == {"long"}


async def test_a_question_about_state_renews_too(bench: Bench, saver: FencedSaver, items: ScopedStore) -> None:
    """It reads: so it would be surprised that an item went that it has just seen."""
    await items.aput(PLACE, "seen", {}, ttl=2)
    bench.ending_lifetimes()
    await saver.store(ALICE).aget(PLACE, "seen")
    assert await keys(saver, bench, minutes=1) == {"seen"}


async def test_reading_does_not_wait_for_a_writer(bench: Bench, saver: FencedSaver, items: ScopedStore) -> None:
    await bench.begin(saver, attempt_of(1, 1))
    await items.aput(PLACE, "seen", {}, ttl=2)
    with bench.held_up():
        async with asyncio.timeout(10):
            assert await items.aget(PLACE, "seen") is not None
