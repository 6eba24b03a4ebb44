"""Assistants by the official clients: their versions, and what their graphs look like, out of a real engine."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from langgraph.pregel.remote import RemoteGraph
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIStatusError, ConflictError, NotFoundError, UnprocessableEntityError
from langgraph_sdk.schema import Assistant

from tests.e2e.server import Server

HELLO = {"messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(params=["", "/api"], ids=["root", "api"])
async def client(server: Server, key: str, request: pytest.FixtureRequest) -> AsyncIterator[LangGraphClient]:
    async with get_client(url=f"{server.url}{request.param}", api_key=key) as client:
        yield client


@pytest.fixture
async def assistant(client: LangGraphClient) -> Assistant:
    return await client.assistants.create(
        "tokens", {"configurable": {"n": 2}}, name="brief", metadata={"mark": str(uuid4())}
    )


async def test_assistants_are_made_found_counted_and_deleted(client: LangGraphClient, assistant: Assistant) -> None:
    mine, assistant_id = assistant["metadata"], assistant["assistant_id"]
    assert (assistant["name"], assistant["version"], assistant["context"]) == ("brief", 1, {"n": 2})
    assert await client.assistants.get(assistant_id) == assistant
    with pytest.raises(ConflictError):
        await client.assistants.create("tokens", assistant_id=assistant_id)
    again = await client.assistants.create("echo", assistant_id=assistant_id, if_exists="do_nothing")
    assert again == assistant
    for _ in range(2):
        await client.assistants.create("tokens", metadata=mine)
    assert await client.assistants.count(metadata=mine, graph_id="tokens") == 3
    page = await client.assistants.search(metadata=mine, limit=2, response_format="object")
    assert (len(page["assistants"]), page["next"]) == (2, "2")
    page = await client.assistants.search(metadata=mine, limit=2, offset=2, response_format="object")
    assert (page["assistants"], page["next"]) == ([assistant], None)
    await client.assistants.delete(assistant_id)
    with pytest.raises(NotFoundError):
        await client.assistants.get(assistant_id)
    with pytest.raises(NotFoundError, match="Graph 'zzz' not found"):
        await client.assistants.create("zzz")


async def test_versions_are_made_listed_and_chosen(client: LangGraphClient, assistant: Assistant) -> None:
    assistant_id = assistant["assistant_id"]

    async def words() -> int:
        values = await client.runs.wait(None, assistant_id, input=HELLO)
        return len(values["messages"][-1]["content"].split())

    assert await words() == 2
    second = await client.assistants.update(assistant_id, context={"n": 3}, metadata={"color": "red"})
    assert (second["version"], second["config"], second["name"]) == (2, {"configurable": {"n": 3}}, "brief")
    assert second["metadata"] == {**assistant["metadata"], "color": "red"}
    assert await words() == 3
    assert [version["version"] for version in await client.assistants.get_versions(assistant_id)] == [2, 1]
    [red] = await client.assistants.get_versions(assistant_id, metadata={"color": "red"}, limit=1)
    assert red["version"] == 2
    assert (await client.assistants.set_latest(assistant_id, 1))["version"] == 1
    assert await words() == 2
    with pytest.raises(NotFoundError):
        await client.assistants.set_latest(assistant_id, 7)


async def test_the_threads_of_an_assistant_are_deleted_with_it(client: LangGraphClient, assistant: Assistant) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    other_id = (await client.threads.create())["thread_id"]
    await client.runs.wait(thread_id, assistant["assistant_id"], input=HELLO)
    await client.runs.wait(other_id, "echo", input=HELLO)
    await client.assistants.delete(assistant["assistant_id"], delete_threads=True)
    with pytest.raises(NotFoundError):
        await client.threads.get(thread_id)
    assert (await client.threads.get(other_id))["thread_id"] == other_id


async def test_the_systems_assistant_stays(client: LangGraphClient) -> None:
    with pytest.raises(ConflictError):
        await client.assistants.update("echo", name="mine")
    with pytest.raises(ConflictError):
        await client.assistants.delete("echo")
    assert (await client.assistants.get_versions("echo"))[0]["version"] == 1


async def test_a_graph_is_drawn(client: LangGraphClient) -> None:
    drawn = await client.assistants.get_graph("custom")
    assert {node["id"] for node in drawn["nodes"]} == {"__start__", "report", "child", "__end__"}
    assert {"source": "report", "target": "child"} in drawn["edges"]
    for xray in (True, 1):
        drawn = await client.assistants.get_graph("custom", xray=xray)
        assert "child:say" in {node["id"] for node in drawn["nodes"]}


async def test_a_remote_graph_is_drawn_by_its_name(client: LangGraphClient) -> None:
    remote = await RemoteGraph("custom", client=client).aget_graph(xray=True)
    assert "child:say" in remote.draw_mermaid().replace("\\3a", ":")


@pytest.mark.parametrize("graph", ["lead_agent", "custom", "slow", "builder", "factory_config", "factory_managed"])
async def test_graphs_have_schemas(client: LangGraphClient, graph: str) -> None:
    schemas = await client.assistants.get_schemas(graph)
    assert schemas["graph_id"] == graph
    for name in ("input_schema", "output_schema", "state_schema"):
        assert "messages" in schemas[name]["properties"]  # type: ignore[literal-required]


async def test_subgraphs_are_found(client: LangGraphClient) -> None:
    every = await client.assistants.get_subgraphs("custom", recurse=True)
    assert list(every) == ["child"]
    assert await client.assistants.get_subgraphs("custom", "child") == every
    assert await client.assistants.get_subgraphs("custom", "nobody") == {}
    assert await client.assistants.get_subgraphs("echo") == {}


@pytest.mark.parametrize(
    ("graph", "reason"), [("broken", "package_that_nobody_has"), ("factory_fails", "this factory always fails")]
)
async def test_a_graph_that_can_not_be_loaded_says_why(client: LangGraphClient, graph: str, reason: str) -> None:
    with pytest.raises(UnprocessableEntityError) as refused:
        await client.assistants.get_graph(graph)
    assert reason in refused.value.response.text


async def test_a_question_that_can_not_be_is_refused(client: LangGraphClient) -> None:
    with pytest.raises(APIStatusError) as refused:
        await client.assistants.get_graph("echo", xray=-1)
    assert refused.value.response.status_code == 422
