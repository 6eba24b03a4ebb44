"""A run that tells somebody of its end, from the official SDK to the receiver's door."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import UnprocessableEntityError
from standardwebhooks import Webhook

from tests.e2e.server import Server
from tests.e2e.servers import MakeServer
from tests.receiver import Receiver, hang, receiving, status

HELLO = {"messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(scope="module")
def webhook_server(make_module_server: MakeServer) -> Iterator[Server]:
    yield make_module_server(WEBHOOK_ALLOW_PRIVATE="1").start()


@pytest.fixture
async def client(webhook_server: Server, key: str) -> AsyncIterator[LangGraphClient]:
    async with get_client(url=webhook_server.url, api_key=key) as client:
        yield client


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def the_news(receiver: Receiver) -> dict[str, Any]:
    [got] = await receiver.received(1)
    return dict(json.loads(got.body))


async def test_the_end_of_a_run_is_told(client: LangGraphClient, receiver: Receiver) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    run = await client.runs.create(thread_id, "echo", input=HELLO, webhook=receiver.url)
    body = await the_news(receiver)
    assert (body["run_id"], body["thread_id"], body["status"]) == (run["run_id"], thread_id, "success")
    assert [message["content"] for message in body["values"]["messages"]] == ["hello", "echo: hello"]
    shown = await client.runs.get(thread_id, run["run_id"])
    assert body.items() >= dict(shown).items()


async def test_a_stateless_run_tells_it_too(client: LangGraphClient, receiver: Receiver) -> None:
    await client.runs.wait(None, "echo", input=HELLO, webhook=receiver.url)
    assert (await the_news(receiver))["values"]["messages"][-1]["content"] == "echo: hello"


async def test_a_failure_is_told(client: LangGraphClient, receiver: Receiver) -> None:
    await client.runs.create(None, "fail", input=HELLO, webhook=receiver.url)
    body = await the_news(receiver)
    assert body["status"] == "error" and set(body["error"]) == {"error", "message"}


async def test_a_cancellation_is_told(client: LangGraphClient, receiver: Receiver) -> None:
    thread_id = (await client.threads.create())["thread_id"]
    run = await client.runs.create(
        thread_id, "slow", input=HELLO, config={"configurable": {"sleep": 60}}, webhook=receiver.url
    )
    await client.runs.cancel(thread_id, run["run_id"], wait=True)
    assert (await the_news(receiver))["status"] == "interrupted"


async def test_the_receiver_verifies_it_with_what_the_command_prints(
    client: LangGraphClient, receiver: Receiver, webhook_server: Server
) -> None:
    await client.runs.create(None, "echo", input=HELLO, webhook=receiver.url)
    [got] = await receiver.received(1)
    secret = webhook_server.run_command("webhooksecret", "--organization", "acme").strip()
    Webhook(secret).verify(got.body, got.headers)
    assert secret not in webhook_server.log()


async def test_what_a_killed_server_was_sending_is_sent_again(make_server: MakeServer, key: str) -> None:
    server = make_server(WEBHOOK_ALLOW_PRIVATE="1").start()
    async with receiving(hang, status(200)) as receiver:
        async with get_client(url=server.url, api_key=key) as client:
            await client.runs.create(None, "echo", input=HELLO, webhook=receiver.url)
            await receiver.received(1)
        server.kill()
        server.start()
        first, second = await receiver.received(2)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/", "http://localhost/", "ftp://hooks.example.com/", "nowhere"])
async def test_an_address_that_is_not_called_is_refused_by_name(server: Server, key: str, url: str) -> None:
    async with get_client(url=server.url, api_key=key) as client:
        with pytest.raises(UnprocessableEntityError) as refusal:
            await client.runs.create(None, "echo", input=HELLO, webhook=url)
    [problem] = refusal.value.response.json()["detail"]
    assert problem["loc"] == ["body", "webhook"]
