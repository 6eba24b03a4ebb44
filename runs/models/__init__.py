"""The rows: graphs and assistants with their versions, threads, runs, their events and messages, crons."""

from runs.models.assistant import Assistant, AssistantVersion, Graph
from runs.models.cron import Cron
from runs.models.event import EventChunk
from runs.models.message import Message
from runs.models.once import CreatedOnce
from runs.models.run import Run
from runs.models.thread import Purge, Thread

__all__ = [
    "Assistant",
    "AssistantVersion",
    "CreatedOnce",
    "Cron",
    "EventChunk",
    "Graph",
    "Message",
    "Purge",
    "Run",
    "Thread",
]
