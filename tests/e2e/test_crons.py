"""Crons by the official SDK, on a server that starts their runs by itself."""

from datetime import UTC, datetime, timedelta
from typing import Any

from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

from tests.e2e.servers import MakeServer
from tests.e2e.waiting import eventually

HELLO = {"messages": [{"role": "user", "content": "hello"}]}
EVERY_SECOND = "* * * * * *"


async def ended(client: LangGraphClient, thread_id: str, count: int) -> Any:
    """The oldest runs of a thread when so many have ended well."""

    async def look() -> Any:
        runs = await client.runs.list(thread_id, limit=100, status="success")
        return len(runs) >= count and runs[::-1]

    return await eventually(look)


async def test_crons_are_made_changed_found_and_deleted(client: LangGraphClient) -> None:
    end = datetime.now(UTC) + timedelta(days=400)
    cron: Any = await client.crons.create(
        "echo", schedule="0 9 29 2 *", timezone="Europe/Berlin", input=HELLO, metadata={"name": "leap"}, end_time=end
    )
    assert (cron["enabled"], cron["timezone"], cron["on_run_completed"]) == (True, "Europe/Berlin", "delete")
    assert await client.crons.search(metadata={"name": "leap"}) == [cron]
    assert await client.crons.count(metadata={"name": "leap"}) == 1
    changed = await client.crons.update(cron["cron_id"], schedule="0 0 1 1 *", end_time=None, timezone="UTC")
    assert (changed["end_time"], changed["next_run_date"]) == (
        None,
        f"{datetime.now(UTC).year + 1}-01-01T00:00:00+00:00",
    )
    paused = await client.crons.update(cron["cron_id"], enabled=False)
    assert (paused["enabled"], paused["next_run_date"]) == (False, None)
    await client.crons.delete(cron["cron_id"])
    assert await client.crons.count(metadata={"name": "leap"}) == 0


async def test_a_cron_goes_on_after_a_restart_and_stops_when_it_is_paused(make_server: MakeServer, key: str) -> None:
    server = make_server().start()
    async with get_client(url=server.url, api_key=key) as client:
        thread = await client.threads.create()
        cron: Any = await client.crons.create_for_thread(
            thread["thread_id"], "echo", schedule=EVERY_SECOND, input=HELLO
        )
        await ended(client, thread["thread_id"], 2)
        server.kill()
        server.start()
        before = len(await client.runs.list(thread["thread_id"], limit=100))
        runs = await ended(client, thread["thread_id"], before + 2)
        await client.crons.update(cron["cron_id"], enabled=False)
        assert {run["metadata"]["cron_id"] for run in runs} == {cron["cron_id"]}
        values: Any = (await client.threads.get(thread["thread_id"]))["values"]
        assert values["messages"][-1]["content"] == "echo: hello"
        count = len(await client.runs.list(thread["thread_id"], limit=100))

        async def another_tick() -> bool:
            """A cron made now has fired: the paused one had its chance."""
            return bool(await client.threads.search(metadata={"graph_id": "stress"}))

        await client.crons.create("stress", schedule=EVERY_SECOND, input={}, on_run_completed="keep")
        await eventually(another_tick)
        assert len(await client.runs.list(thread["thread_id"], limit=100)) == count
