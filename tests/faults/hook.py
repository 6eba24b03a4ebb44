"""Somebody who is told of the ends of runs: notes what comes, and answers the first message of some badly."""

import asyncio
import json
import random
import time
from collections.abc import Sequence

from standardwebhooks import Webhook, WebhookVerificationError

from tests.faults.history import History, News
from tests.faults.proxy import reset
from tests.receiver import Got, Receiver, status

#: How a message may be answered. Whatever is not accepted comes again.
ANSWERS = ("accept", "refuse", "hang", "reset")
#: How many are accepted for each that is answered in one of the other ways.
_ACCEPTED = 6

_accept = status(200)
_refuse = status(500)


class Hook:
    """Plays the receiver at `url`. Every message is accepted when it comes for the second time, and once `over`."""

    def __init__(self, history: History, chance: random.Random, answers: Sequence[str] = ANSWERS) -> None:
        self._history = history
        self._chance = chance
        self._answers = answers
        self._over = asyncio.Event()
        self.url = ""
        self.secret = ""

    def over(self) -> None:
        """From now on accept everything; whoever waits for an answer is cut off."""
        self._over.set()

    def has_accepted(self, run_id: str) -> bool:
        return any(news.run_id == run_id and news.answer == "accept" for news in self._history.news)

    async def answer(self, receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the message that `receiver` got last."""
        news = self._news(receiver.got[-1])
        self._history.told(news)
        match news.answer:
            case "accept":
                await _accept(receiver, reader, writer)
            case "refuse":
                await _refuse(receiver, reader, writer)
            case "hang":
                await self._hang(reader)
                reset(writer)
            case "reset":
                reset(writer)

    def _news(self, got: Got) -> News:
        message_id, run = got.headers.get("webhook-id", ""), json.loads(got.body)
        return News(
            time=time.time(),
            message_id=message_id,
            signed=self._is_signed(got),
            body=got.body,
            run_id=run["run_id"],
            thread_id=run["thread_id"],
            status=run["status"],
            answer=self._choose(message_id),
        )

    def _choose(self, message_id: str) -> str:
        is_known = any(news.message_id == message_id for news in self._history.news)
        if is_known or self._over.is_set():
            return "accept"
        others = [answer for answer in self._answers if answer != "accept"]
        return self._chance.choice(["accept"] * _ACCEPTED + others)

    def _is_signed(self, got: Got) -> bool:
        try:
            Webhook(self.secret).verify(got.body, got.headers)
        except WebhookVerificationError:
            return False
        return True

    async def _hang(self, reader: asyncio.StreamReader) -> None:
        """Until it is over, or the sender hangs up."""
        waits = {asyncio.ensure_future(self._over.wait()), asyncio.ensure_future(reader.read())}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
