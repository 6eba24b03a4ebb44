"""Sends what is in the outbox of webhooks: many at a time, few of them to one receiver."""

import asyncio
import logging
from collections.abc import Callable

from runs.database import in_database, in_database_at_last
from runs.host.courier import Courier, NotReached
from runs.lifecycle import deliveries
from runs.lifecycle.deliveries import Room, Sending
from runs.lifecycle.webhook_secrets import signing_secrets

logger = logging.getLogger(__name__)

#: What one process sends at a time. Half of it is left for other organizations, and most of it for other receivers,
#: so that one that does not answer delays nobody but itself.
ROOM = Room(total=20, for_organization=10, for_receiver=4)
_GONE = 410


class Sender:
    def __init__(self, courier: Courier, on_room: Callable[[], None]) -> None:
        self._courier = courier
        #: Called when there is room for others.
        self._on_room = on_room
        self._sendings: dict[asyncio.Task[None], Sending] = {}
        self.draining = False

    async def send_due(self) -> None:
        """Begin to send what is due and finds room; comes back before it is sent."""
        if self.draining or len(self._sendings) >= ROOM.total:
            return
        for sending in await in_database(deliveries.claim_deliveries, ROOM, list(self._sendings.values())):
            task = asyncio.create_task(self._send(sending))
            self._sendings[task] = sending
            task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        del self._sendings[task]
        self._on_room()
        if not task.cancelled() and (failure := task.exception()):
            # It is due again when its lease has ended.
            logger.error("a delivery failed", exc_info=failure)

    async def stop(self) -> None:
        """Hand back what is being sent: its receiver may have it already, and gets it again."""
        under_way = dict(self._sendings)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await in_database(deliveries.hand_back, list(under_way.values()))

    async def _send(self, sending: Sending) -> None:
        secrets = await in_database(signing_secrets, sending.organization_id)
        try:
            reply = await self._courier.deliver(sending.url, sending.payload, str(sending.delivery_id), secrets)
        except NotReached as exc:
            await in_database_at_last(deliveries.not_delivered, sending, str(exc))
            return
        if 200 <= reply.status_code < 300:
            await in_database_at_last(deliveries.delivered, sending, reply.status_code)
        elif reply.status_code == _GONE:
            await in_database_at_last(deliveries.disable, sending, reply.status_code)
        else:
            await in_database_at_last(
                deliveries.not_delivered,
                sending,
                f"it answered {reply.status_code}",
                status_code=reply.status_code,
                rest=reply.rest,
            )
