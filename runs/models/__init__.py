"""The rows: graphs and assistants, threads, runs and their events."""

from runs.models.assistant import Assistant, Graph
from runs.models.event import EventChunk
from runs.models.run import Run
from runs.models.thread import Purge, Thread

__all__ = ["Assistant", "EventChunk", "Graph", "Purge", "Run", "Thread"]
