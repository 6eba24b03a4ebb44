"""The rows: graphs and assistants, threads, runs, their events and messages, crons, and the news of their ends."""

from runs.models.assistant import Assistant, AssistantVersion, Graph
from runs.models.cron import Cron
from runs.models.event import EventChunk
from runs.models.message import Message
from runs.models.once import CreatedOnce
from runs.models.run import Run
from runs.models.thread import Purge, Thread
from runs.models.webhook import Delivery, DeliveryStatus, WebhookEndpoint, WebhookSecret

__all__ = [
    "Assistant",
    "AssistantVersion",
    "CreatedOnce",
    "Cron",
    "Delivery",
    "DeliveryStatus",
    "EventChunk",
    "Graph",
    "Message",
    "Purge",
    "Run",
    "Thread",
    "WebhookEndpoint",
    "WebhookSecret",
]
