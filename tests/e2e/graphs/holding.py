"""A graph whose node takes the interpreter's lock and never gives it back, in the middle of a write to the database."""

import asyncio
import fcntl
import os
import re
from typing import TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph

#: Takes longer than anybody waits, and no other thread of the process runs meanwhile.
_ENDLESS = re.compile(r"(a+)+$")


class State(TypedDict, total=False):
    answer: str


async def _hold(state: State) -> State:
    write = get_stream_writer()
    queue = os.open(f"{os.environ['DEERFLOW_DATA_DIR']}/db.sqlite3.queue", os.O_RDWR)
    while _is_free(queue):
        write("x" * 100_000)
        await asyncio.sleep(0)
    _ENDLESS.match("a" * 40 + "b")
    return {"answer": "never"}


def _is_free(queue: int) -> bool:
    """Whether nobody writes to the database: this process is the one that has most to write."""
    try:
        fcntl.flock(queue, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(queue, fcntl.LOCK_UN)
    return True


holding = StateGraph(State).add_node("hold", _hold).add_edge(START, "hold").compile()
