"""How the API describes itself in `/openapi.json`: what its operations take, and the shapes that they answer.

The shapes are made in `runs.api.shapes`; here they are only described, and tests hold the one to the other.
"""

from runs.api.schema.assistants import Assistant, Assistants
from runs.api.schema.base import Shape
from runs.api.schema.crons import Count, Cron, Crons
from runs.api.schema.operations import (
    ACTION,
    CANCEL,
    CURSOR,
    EMPTY,
    FOLLOWED,
    LEAVING,
    LIMIT,
    MINIMAL,
    OFFSET,
    ONCE,
    PAGES,
    PLACE,
    SELECT,
    STATUS,
    STREAM,
    SUBGRAPHS,
    VALUES,
    operation,
)
from runs.api.schema.runs import Run, Runs
from runs.api.schema.threads import StateWritten, Thread, Threads, ThreadState, ThreadStates

__all__ = [
    "ACTION",
    "CANCEL",
    "CURSOR",
    "EMPTY",
    "FOLLOWED",
    "LEAVING",
    "LIMIT",
    "MINIMAL",
    "OFFSET",
    "ONCE",
    "PAGES",
    "PLACE",
    "SELECT",
    "STATUS",
    "STREAM",
    "SUBGRAPHS",
    "VALUES",
    "Assistant",
    "Assistants",
    "Count",
    "Cron",
    "Crons",
    "Run",
    "Runs",
    "Shape",
    "StateWritten",
    "Thread",
    "ThreadState",
    "ThreadStates",
    "Threads",
    "operation",
]
