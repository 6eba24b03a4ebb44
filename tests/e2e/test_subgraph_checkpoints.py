"""Runs that start from a checkpoint within a subgraph, as it was read from the thread's state."""

from typing import Any

from langgraph_sdk.client import LangGraphClient


async def test_a_run_goes_on_from_within_a_subgraph(client: LangGraphClient) -> None:
    thread_id = str((await client.threads.create())["thread_id"])
    await client.runs.wait(thread_id, "nested", input={"said": []})
    state: Any = await client.threads.get_state(thread_id, subgraphs=True)
    within = state["tasks"][0]["state"]["checkpoint"]
    assert within["checkpoint_ns"].startswith("child:") and within["checkpoint_ns"] in within["checkpoint_map"]
    # A later run leaves the thread elsewhere.
    await client.runs.wait(thread_id, "nested", input={"said": ["again"]})
    values: Any = await client.runs.wait(thread_id, "nested", command={"resume": "me"}, checkpoint=within)
    assert values["said"] == ["first", "me", "last"]
