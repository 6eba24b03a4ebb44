"""How the API describes itself in `/openapi.json`: what its operations take, and the shapes that they answer.

The shapes are made in `runs.api.shapes`; here they are only described, and tests hold the one to the other.
"""

from runs.api.schema.assistants import (
    Assistant,
    Assistants,
    AssistantVersion,
    AssistantVersions,
    Drawing,
    GraphSchemas,
    Subgraphs,
)
from runs.api.schema.base import Shape
from runs.api.schema.crons import Count, Cron, Crons
from runs.api.schema.operations import (
    ACTION,
    CANCEL,
    CURSOR,
    DELETE_THREADS,
    EMPTY,
    FOLLOWED,
    LEAVING,
    LIMIT,
    MINIMAL,
    OFFSET,
    ONCE,
    PAGES,
    PLACE,
    RECURSE,
    SELECT,
    STATUS,
    STREAM,
    SUBGRAPHS,
    VALUES,
    XRAY,
    operation,
)
from runs.api.schema.runs import Run, Runs
from runs.api.schema.threads import StateWritten, Thread, Threads, ThreadState, ThreadStates

__all__ = [
    "ACTION",
    "CANCEL",
    "CURSOR",
    "DELETE_THREADS",
    "EMPTY",
    "FOLLOWED",
    "LEAVING",
    "LIMIT",
    "MINIMAL",
    "OFFSET",
    "ONCE",
    "PAGES",
    "PLACE",
    "RECURSE",
    "SELECT",
    "STATUS",
    "STREAM",
    "SUBGRAPHS",
    "VALUES",
    "XRAY",
    "Assistant",
    "AssistantVersion",
    "AssistantVersions",
    "Assistants",
    "Count",
    "Cron",
    "Crons",
    "Drawing",
    "GraphSchemas",
    "Run",
    "Runs",
    "Shape",
    "StateWritten",
    "Subgraphs",
    "Thread",
    "ThreadState",
    "ThreadStates",
    "Threads",
    "operation",
]
