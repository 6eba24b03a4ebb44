"""The public React hooks, unmodified, on a page of another origin in a real Chromium, against a real server."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from playwright.async_api import Browser

from tests.e2e.browsing import Chat, chromium, opened, serving
from tests.e2e.server import Server
from tests.javascript import JavaScript, bundle

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORDS = [f"word{number} " for number in range(40)]
SAID = "".join(WORDS).strip()


@pytest.fixture(scope="module")
def origin(javascript: JavaScript, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("pages")
    bundle(folder)
    with serving(folder) as address:
        yield address


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def client(server: Server, key: str) -> AsyncIterator[LangGraphClient]:
    async with get_client(url=server.url, api_key=key) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module", params=["classic", "react"])
async def chat(
    request: pytest.FixtureRequest, browser: Browser, origin: str, server: Server, key: str
) -> AsyncIterator[Chat]:
    """The hook of `@langchain/langgraph-sdk`, or that of `@langchain/react`."""
    async with opened(browser) as page:
        yield Chat(page, origin, request.param, server.url, key)


async def test_words_grow(chat: Chat) -> None:
    await chat.open("tokens", n=40, delay=0.01)
    await chat.say("hello")
    await chat.has("hello", SAID)
    await chat.is_idle()
    grown = [texts[1] for texts in await chat.shown("texts") if len(texts) == 2]
    assert len(set(grown)) > 5
    assert all("".join(WORDS).startswith(text) for text in grown)
    assert grown == sorted(grown, key=len)


async def test_a_question_is_answered(chat: Chat) -> None:
    await chat.open("interrupt")
    await chat.say("hello")
    await chat.sees("May I?")
    await chat.is_idle()
    await chat.say("yes")
    await chat.has("hello", "answered: yes")
    await chat.is_idle()


async def test_tools_are_called(chat: Chat) -> None:
    await chat.open("tooled")
    await chat.say("hello")
    await chat.has("hello", "", "sunny in Rome", "nobody has been to Mars", "It is sunny.")
    await chat.is_idle()
    # At the end the hook of the protocol takes the message of a failed call for its result.
    ends = ["completed", "error"] if chat.name == "classic" else ["finished", "finished"]
    assert (await chat.shown("tools"))[-1] == [f"look_up: {ends[0]}", f"fail_at: {ends[1]}"]


async def test_a_run_is_stopped(chat: Chat, client: LangGraphClient) -> None:
    await chat.open("tokens", n=1000, delay=0.05)
    await chat.say("hello")
    await chat.sees("word3 ")
    await chat.click("stop")
    await chat.is_idle()
    [run] = await client.runs.list(chat.thread_id)
    ended = await client.runs.join(chat.thread_id, run["run_id"])
    assert (await client.runs.get(chat.thread_id, run["run_id"]))["status"] == "interrupted"
    assert len(ended["messages"]) == 1


async def test_a_page_that_is_loaded_again_goes_on(chat: Chat) -> None:
    await chat.open("tokens", n=40, delay=0.05)
    await chat.say("hello")
    await chat.sees("word5 ")
    await chat.page.reload()
    await chat.has("hello", SAID)
    await chat.is_idle()
    grown = [texts[1] for texts in await chat.shown("texts") if len(texts) == 2]
    assert len(set(grown)) > 5


async def test_a_conversation_goes_on_and_an_edited_message_begins_a_branch(chat: Chat) -> None:
    await chat.open("echo")
    await chat.say("one")
    await chat.has("one", "echo: one")
    await chat.is_idle()
    await chat.say("two")
    await chat.has("one", "echo: one", "two", "echo: two")
    await chat.is_idle()
    await chat.page.get_by_role("button", name="edit").last.click()
    await chat.say("three")
    await chat.has("one", "echo: one", "three", "echo: three")
    await chat.is_idle()
    if chat.name == "classic":
        await chat.page.get_by_role("button", name="branch").first.click()
        await chat.has("one", "echo: one", "two", "echo: two")


_FOLLOWED = """async ([base, key, transport]) => {
  const { openThread } = await import(`${base}/static/runs/stream.js`);
  const threadId = crypto.randomUUID();
  const [events, states] = [[], []];
  let complete;
  const completed = new Promise((resolve) => (complete = resolve));
  const thread = openThread({
    base,
    threadId,
    key,
    channels: ["messages", "lifecycle"],
    ...(transport === "sse" && { WebSocket: null }),
    onState: (state, detail) => states.push([state, detail.transport ?? null]),
    onEvent: ({ method, params }) => {
      events.push(params.data.event);
      if (params.data.event === "completed") complete();
    },
  });
  while (states.length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
  await thread.send("run.start", { assistant_id: "tokens", input: { messages: [] } });
  await completed;
  thread.close();
  await thread.closed;
  return { events, states };
}"""


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_our_own_client_follows_a_run(
    browser: Browser, origin: str, server: Server, key: str, transport: str
) -> None:
    async with opened(browser) as page:
        await page.goto(f"{origin}/empty.html")
        saw = await page.evaluate(_FOLLOWED, [server.url, key, transport])
    assert saw["states"] == [["connecting", None], ["open", transport], ["closed", None]]
    assert (saw["events"][0], saw["events"][-1]) == ("running", "completed")
    assert saw["events"].count("content-block-delta") == 10
