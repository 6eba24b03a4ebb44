"""Whole threads: begun with a state, copied, pruned, measured, purged."""

from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.types import StateUpdate

from runs.engine.desk.questions import Answer, Means, Params, Refused
from runs.engine.desk.state import refusing_updates, thread_state
from runs.engine.execution import command_of
from runs.engine.storage import WRITER_KEY, Measures, Unprunable, Writer


async def seed(means: Means, params: Params) -> Any:
    """Write supersteps, each a list of updates, to a thread that has nothing; answers the state."""
    writer = _writer(params)
    await means.saver.raise_fence(writer)
    config: RunnableConfig = {
        "configurable": {"thread_id": writer.thread_id, WRITER_KEY: writer},
        "metadata": params["about"],
    }
    async with means.open(params, config, "threads.update", writer=writer) as graph:
        for updates in params["supersteps"]:
            with refusing_updates():
                # One by one: of several at once, all but the first would lose their metadata.
                await graph.abulk_update_state(config, [[_update(update) for update in updates]])
        return thread_state(await graph.aget_state({"configurable": {"thread_id": writer.thread_id}}))


def _update(update: dict[str, Any]) -> StateUpdate:
    values: Any = command_of(update["command"]) or update["values"]
    return StateUpdate(values, update["as_node"])


async def copy(means: Means, params: Params) -> Any:
    await means.saver.copy(params["source"], _writer(params))


async def keep_latest(means: Means, params: Params) -> Any:
    try:
        await means.saver.keep_latest(_writer(params))
    except Unprunable:
        raise Refused(422, "The latest state of this thread is made of all those before it.") from None


async def storage(means: Means, params: Params) -> Any:
    usage = await means.saver.usage(params["thread_id"])
    count, size = usage.checkpoints
    values, writes = _measured(usage.channel_values), _measured(usage.pending_writes)
    return {
        "thread_id": params["thread_id"],
        "total_bytes": size + values["bytes"] + writes["bytes"],
        "checkpoints": {"count": count, "bytes": size},
        "channel_values": values,
        "pending_writes": writes,
    }


async def purge(means: Means, params: Params) -> Any:
    await means.saver.purge(params["thread_id"])


def _writer(params: Params) -> Writer:
    return Writer(params["thread_id"], params["position"], 1)


def _measured(measures: Measures) -> dict[str, Any]:
    return {
        "count": sum(count for count, _ in measures.values()),
        "bytes": sum(size for _, size in measures.values()),
        "by_channel": {channel: {"count": count, "bytes": size} for channel, (count, size) in measures.items()},
    }


ANSWERS: dict[str, Answer] = {
    "seed": seed,
    "copy": copy,
    "keep_latest": keep_latest,
    "storage": storage,
    "purge": purge,
}
