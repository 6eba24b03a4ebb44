"""The store by the official SDKs: what callers put their graphs find, what graphs put their callers."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from langgraph_sdk import get_client, get_sync_client
from langgraph_sdk.client import LangGraphClient

from tests.e2e.server import GRAPHS, Server
from tests.e2e.servers import MakeServer
from tests.e2e.waiting import eventually

PLACE = ["notes", "said"]


@pytest.fixture(params=["", "/api"], ids=["root", "api"])
async def client(server: Server, key: str, request: pytest.FixtureRequest) -> AsyncIterator[LangGraphClient]:
    async with get_client(url=f"{server.url}{request.param}", api_key=key) as client:
        yield client


async def test_items_are_put_got_found_and_deleted(client: LangGraphClient) -> None:
    root = str(uuid4())
    place = [root, "food"]
    await client.store.put_item(place, key="a b/ü?&", value={"text": "plums", "n": 3})
    await client.store.put_item([root, "colours"], key="red", value={"n": 4}, index=False, ttl=60)
    item = await client.store.get_item(place, key="a b/ü?&")
    assert (item["namespace"], item["key"], item["value"]) == (place, "a b/ü?&", {"text": "plums", "n": 3})
    assert await client.store.get_item(place, key="a b/ü?&", refresh_ttl=False) == item
    found = await client.store.search_items([root], filter={"n": {"$gt": 3}})
    assert [(each["key"], each["namespace"], each["score"]) for each in found["items"]] == [
        ("red", [root, "colours"], None)
    ]
    listed = await client.store.list_namespaces(prefix=[root], max_depth=2)
    assert listed == {"namespaces": [[root, "colours"], [root, "food"]]}
    await client.store.delete_item(place, key="a b/ü?&")
    await client.store.delete_item(place, key="a b/ü?&")
    assert await client.store.get_item(place, key="a b/ü?&") is None
    assert (await client.store.search_items(place))["items"] == []


async def test_a_graph_and_its_caller_share_them(client: LangGraphClient) -> None:
    mine, graphs = str(uuid4()), str(uuid4())
    await client.store.put_item(PLACE, key=mine, value={"text": "from the caller"})
    values = await client.runs.wait(None, "remember", input={"key": graphs, "text": "from the graph"})
    assert isinstance(values, dict)
    assert values["found"][mine] == {"text": "from the caller"} and PLACE in values["namespaces"]
    item = await client.store.get_item(PLACE, key=graphs)
    assert item["value"] == {"text": "from the graph"}


async def test_another_user_sees_and_changes_nothing(server: Server, client: LangGraphClient) -> None:
    item_key = str(uuid4())
    await client.store.put_item(PLACE, key=item_key, value={"text": "private"})
    for email, organization in (("bob@acme.test", "acme"), ("charlie@other.test", "other")):
        async with get_client(url=server.url, api_key=server.key(email, organization)) as other:
            assert await other.store.get_item(PLACE, key=item_key) is None
            assert (await other.store.search_items([]))["items"] == []
            assert (await other.store.list_namespaces()) == {"namespaces": []}
            values = await other.runs.wait(None, "remember", input={"key": email[:3], "text": "own"})
            assert isinstance(values, dict) and list(values["found"]) == [email[:3]]
            await other.store.delete_item(PLACE, key=item_key)
            await other.store.delete_item(PLACE, key=email[:3])
    assert (await client.store.get_item(PLACE, key=item_key))["value"] == {"text": "private"}


def test_the_synchronous_sdk_does_the_same(server: Server, key: str) -> None:
    place = [str(uuid4())]
    with get_sync_client(url=server.url, api_key=key) as client:
        client.store.put_item(place, key="k", value={"n": 1})
        assert client.store.get_item(place, key="k")["value"] == {"n": 1}
        assert [item["key"] for item in client.store.search_items(place, filter={"n": 1})["items"]] == ["k"]
        assert client.store.list_namespaces(suffix=place) == {"namespaces": [place]}
        client.store.delete_item(place, key="k")
        assert client.store.get_item(place, key="k") is None


async def test_items_outlive_the_server_and_are_found_by_meaning(make_server: MakeServer, key: str) -> None:
    server = make_server(LANGGRAPH_CONFIG=str(Path(GRAPHS).with_name("indexed.json"))).start()
    async with get_client(url=server.url, api_key=key) as client:
        await client.store.put_item(PLACE, key="dog", value={"text": "a dog barks"})
        await client.store.put_item(PLACE, key="car", value={"text": "an engine starts"})
    server.kill()
    server.start()
    async with get_client(url=server.url, api_key=key) as client:
        [found] = (await client.store.search_items([], query="the dog barks", limit=1))["items"]
        assert found["key"] == "dog" and found["score"] is not None and found["score"] > 0.5
        told = {"key": "cat", "text": "a cat sleeps", "query": "engine"}
        values = await client.runs.wait(None, "remember", input=told)
        assert isinstance(values, dict) and next(iter(values["found"])) == "car"
        assert (await client.store.search_items([], query="cat sleeps", limit=1))["items"][0]["key"] == "cat"


async def test_items_go_by_themselves(make_server: MakeServer, key: str) -> None:
    server = make_server(LANGGRAPH_CONFIG=str(Path(GRAPHS).with_name("indexed.json"))).start()
    async with get_client(url=server.url, api_key=key) as client:
        for number in range(5):
            await client.store.put_item(PLACE, key=f"k{number}", value={})
        told = {"key": "short", "text": "soon gone", "ttl": -1}
        await client.runs.wait(None, "remember", input=told)

        async def left() -> bool:
            found = await client.store.search_items(PLACE, refresh_ttl=False)
            return {item["key"] for item in found["items"]} == {f"k{number}" for number in range(5)}

        assert await eventually(left)
