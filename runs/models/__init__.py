"""The rows: graphs and assistants, threads, runs, their events and messages, crons."""

from runs.models.assistant import Assistant, Graph
from runs.models.cron import Cron
from runs.models.event import EventChunk
from runs.models.message import Message
from runs.models.once import CreatedOnce
from runs.models.run import Run
from runs.models.thread import Purge, Thread

__all__ = ["Assistant", "CreatedOnce", "Cron", "EventChunk", "Graph", "Message", "Purge", "Run", "Thread"]
