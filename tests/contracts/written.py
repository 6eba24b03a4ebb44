"""What the contract writes, and how it looks at what was written."""

from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint, create_checkpoint, empty_checkpoint

from runs.engine.storage import WRITER_KEY, FencedSaver, Writer
from tests.contracts.benches import attempt_of

FIRST, SECOND = attempt_of(1, 1), attempt_of(1, 2)


def config(writer: Writer, **configurable: Any) -> RunnableConfig:
    return {
        "configurable": {"thread_id": writer.thread_id, "checkpoint_ns": "", WRITER_KEY: writer, **configurable},
        "metadata": {"run_id": f"run-{writer.position}"},
    }


def checkpoint(step: int = 0, **values: Any) -> Checkpoint:
    made = create_checkpoint(empty_checkpoint(), None, step)
    return {**made, "channel_values": values, "channel_versions": dict.fromkeys(values, "1")}


async def put(saver: FencedSaver, writer: Writer, step: int = 0, **values: Any) -> RunnableConfig:
    made = checkpoint(step, **values)
    return await saver.aput(config(writer), made, {"source": "loop", "step": step}, made["channel_versions"])


async def steps(saver: FencedSaver, thread_id: str = "thread") -> list[int]:
    """The steps of a thread's checkpoints, newest first."""
    return [found.metadata["step"] async for found in saver.alist({"configurable": {"thread_id": thread_id}})]
