"""News for all processes that share the database: by PostgreSQL's NOTIFY, or within the only process of one machine.

What is told inside a transaction is heard when it has committed, and only then.
"""

import asyncio
import logging

import psycopg
from django.conf import settings
from django.db import connection, transaction
from django.dispatch import Signal

from runs import signals
from runs.postgres import connection_parameters

logger = logging.getLogger(__name__)

#: The channel of the database that carries the news.
CHANNEL = "deerflow"
_TOPICS: dict[str, Signal] = {
    "pending": signals.runs_pending,
    "cancel": signals.cancel_requested,
    "deleted": signals.threads_deleted,
    "sought": signals.readers_sought,
    "found": signals.readers_found,
    "due": signals.deliveries_due,
}
_NAMES = {id(signal): name for name, signal in _TOPICS.items()}
#: What may have been told while nobody listened, and is worth a look.
_MISSED = (signals.runs_pending, signals.cancel_requested, signals.threads_deleted, signals.deliveries_due)
_PAUSE_SECONDS = 1.0


def topic_of(signal: Signal) -> str | None:
    """Under which name the signal goes to every process; None if it stays in its own."""
    return _NAMES.get(id(signal))


def tell(signal: Signal, about: str = "") -> None:
    """Send `signal` in every process, this one too, once the transaction has committed."""
    if connection.vendor != "postgresql":
        transaction.on_commit(lambda: _send(signal, about))
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, f"{topic_of(signal)} {about}"])


async def listen() -> None:
    """Send the signals of what the others tell, for ever. The database may go and come back."""
    if not settings.POSTGRES:
        return
    while True:
        try:
            await _listen_once()
        except (psycopg.Error, OSError) as exc:
            logger.warning("nothing is heard of other processes until the database answers: %s", exc)
        await asyncio.sleep(_PAUSE_SECONDS)


async def _listen_once() -> None:
    parameters = connection_parameters("news")
    async with await psycopg.AsyncConnection.connect(**parameters, autocommit=True) as listener:
        await listener.execute(f"LISTEN {CHANNEL}")
        for signal in _MISSED:
            _send(signal, "")
        async for news in listener.notifies():
            name, _, about = news.payload.partition(" ")
            if name in _TOPICS:
                _send(_TOPICS[name], about)


def _send(signal: Signal, about: str) -> None:
    for receiver, failure in signal.send_robust(sender=None, about=about):
        if isinstance(failure, Exception):
            logger.error("%r failed at news", receiver, exc_info=failure)
