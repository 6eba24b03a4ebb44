"""What clients do: random operations from a seed, all on the stress graph."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.clients import Answer, Client
from tests.faults.history import History
from tests.faults.hook import Hook
from tests.faults.plans import Plans

#: Threads that all clients create runs on.
_SHARED = ("shared-0", "shared-1")
#: What a new run does to those that it finds on its thread.
_STRATEGIES = ("reject", "enqueue", "interrupt", "rollback")


@dataclass
class Common:
    """What the clients share: where the ledger is, which runs there are, and when to stop."""

    ledger: Path
    history: History
    hook: Hook
    #: No operation begins after this; those under way go on to their end.
    over: asyncio.Event = field(default_factory=asyncio.Event)
    #: How many runs may still be created; None: as many as there is time for.
    runs_left: int | None = None
    #: Thread and id of every run that is known to anybody.
    known: list[tuple[str, str]] = field(default_factory=list)

    def take_run(self) -> bool:
        """Whether another run may be created."""
        if self.runs_left is None:
            return True
        if self.runs_left > 0:
            self.runs_left -= 1
        if self.runs_left == 0:
            self.over.set()
        return True


class User:
    """One client, the threads that only it writes to, and those that it shares with all others."""

    def __init__(self, client: Client, common: Common, weights: "Mapping[Act, int]") -> None:
        self._client = client
        self._weights = weights
        self._common = common
        self._chance = client.chance
        self._plans = Plans(client.chance, str(common.ledger), common.hook.url)
        self._threads: list[str] = []
        #: Its runs that may still be active, each with its thread.
        self._open: list[tuple[str, str]] = []

    async def work(self) -> None:
        """Do one thing after the other until it is over; then leave no run behind that nobody waits for."""
        while not self._common.over.is_set():
            await self._chance.choices(list(self._weights), list(self._weights.values()))[0](self)
            await asyncio.sleep(self._chance.uniform(0, 0.3))
        for thread_id, run_id in self._open:
            await self._client.insist(
                "join", "GET", f"/threads/{thread_id}/runs/{run_id}/join", thread_id=thread_id, run_id=run_id
            )

    # What a user may do. Whoever is not told whether a run was created does not ask again.

    async def start_in_background(self) -> None:
        await self._create(await self._some_thread())

    async def queue_several(self) -> None:
        thread_id = await self._some_thread()
        for _ in range(self._chance.randint(2, 4)):
            await self._create(thread_id, multitask_strategy="enqueue")

    async def interrupt_with_another(self) -> None:
        thread_id = await self._some_thread()
        for strategy in ("enqueue", self._chance.choice(["interrupt", "rollback"])):
            await self._create(thread_id, multitask_strategy=strategy)
            await asyncio.sleep(self._chance.uniform(0, 1))

    async def crowd(self) -> None:
        """One more run on a thread on which others create theirs."""
        thread_id = self._chance.choice(_SHARED)
        await self._create(thread_id, multitask_strategy=self._chance.choice(_STRATEGIES))

    async def send_twice(self) -> None:
        """One request that comes twice with one key, both until they are answered; then perhaps another with it."""
        thread_id = self._chance.choice([*_SHARED, await self._some_thread()])
        if not self._common.take_run():
            return
        key = f"k{self._chance.getrandbits(64):x}"
        strategy = self._chance.choice(_STRATEGIES)
        body = self._plans.keyed(key, multitask_strategy=strategy)
        path = f"/threads/{thread_id}/runs"
        pauses = (0.0, self._chance.choice([0.0, self._chance.uniform(0, 2)]))

        async def send(pause: float) -> Answer:
            await asyncio.sleep(pause)
            return await self._client.insist("create", "POST", path, body, thread_id=thread_id, key=key)

        answers = await asyncio.gather(*map(send, pauses))
        for run_id in sorted({answer.run_id for answer in answers if answer.ok}):
            self._created(thread_id, run_id)
        if self._chance.random() < 0.3:
            other = {**body, "durability": "exit"}
            await self._client.insist("create_other", "POST", path, other, thread_id=thread_id, key=key)

    async def batch(self) -> None:
        """Several runs at once, on threads that others use too; asked for until there is an answer."""
        threads = [*_SHARED, await self._new_thread()]
        key = f"b{self._chance.getrandbits(64):x}"
        parts = self._chance.randint(2, 4)
        places = [self._chance.choice(threads) for _ in range(parts)]
        if not all([self._common.take_run() for _ in places]):
            return
        body = [
            self._plans.keyed(
                key, part, parts, thread_id=thread_id, multitask_strategy=self._chance.choice(_STRATEGIES)
            )
            for part, thread_id in enumerate(places)
        ]
        answer = await self._client.insist("batch", "POST", "/runs/batch", body, key=key)
        for run in answer.body if answer.ok else ():
            self._created(run["thread_id"], run["run_id"])

    async def stream(self) -> None:
        thread_id = await self._some_thread()
        if not self._common.take_run():
            return
        drops = self._chance.choice([0.0, 0.05])
        reading = await self._client.read_to_end(thread_id, new=self._plans.run(), drops=drops)
        self._created(thread_id, reading.run_id)

    async def watch(self) -> None:
        """Read any known run, from its beginning or from somewhere."""
        if self._common.known:
            thread_id, run_id = self._chance.choice(self._common.known[-40:])
            after = self._chance.choice([None, 0, self._chance.randint(1, 60)])
            await self._client.read_to_end(thread_id, run_id, after=after)

    async def wait(self) -> None:
        thread_id = await self._some_thread()
        if self._common.take_run():
            path = f"/threads/{thread_id}/runs/wait"
            answer = await self._client.ask("wait", "POST", path, self._plans.run(), thread_id=thread_id)
            self._created(thread_id, answer.run_id)

    async def join(self) -> None:
        if self._open:
            thread_id, run_id = self._open.pop(self._chance.randrange(len(self._open)))
            await self._join(thread_id, run_id)

    async def cancel(self) -> None:
        if not self._open:
            await self.start_in_background()
        for thread_id, run_id in self._open[-1:]:
            await asyncio.sleep(self._chance.uniform(0, 0.5))
            await self._cancel(thread_id, run_id, self._chance.choice(["interrupt", "rollback"]))

    async def cancel_near_the_end(self) -> None:
        """Short runs that end by themselves at about the time when they are cancelled."""
        thread_id = await self._some_thread()
        for _ in range(3):
            delay = round(self._chance.uniform(0.05, 0.3), 3)
            run_id = await self._create(thread_id, input={"ledger": str(self._common.ledger), "delay": delay})
            await asyncio.sleep(delay + self._chance.uniform(0, 0.1))
            if run_id:
                await self._cancel(thread_id, run_id, self._chance.choice(["interrupt", "rollback", "rollback"]))

    async def answer_a_question(self) -> None:
        """A run that stops at an interrupt, and one that goes on from there; nobody else uses the thread."""
        thread_id = await self._new_thread()
        if await self._ask(thread_id) and (run_id := await self._reply(thread_id)):
            await self._join(thread_id, run_id)

    async def take_an_answer_back(self) -> None:
        """The same, but that the answer is rolled back; then perhaps another one."""
        thread_id = await self._new_thread()
        if not (await self._ask(thread_id) and (run_id := await self._reply(thread_id))):
            return
        await asyncio.sleep(self._chance.uniform(0, 1))
        await self._cancel(thread_id, run_id, "rollback")
        if self._chance.random() < 0.5 and (run_id := await self._reply(thread_id)):
            await self._join(thread_id, run_id)

    async def look(self) -> None:
        if not self._threads:
            return
        thread_id = self._chance.choice(self._threads)
        for kind, path in (
            ("thread", f"/threads/{thread_id}"),
            ("state", f"/threads/{thread_id}/state"),
            ("history", f"/threads/{thread_id}/history?limit=5"),
            ("runs", f"/threads/{thread_id}/runs"),
        ):
            await self._client.ask(kind, "GET", path, thread_id=thread_id)

    async def delete_a_thread(self) -> None:
        """One of its own, with whatever runs on it."""
        if len(self._threads) < 4:
            return
        thread_id = self._threads.pop(0)
        self._common.history.deleted.add(thread_id)
        self._open = [place for place in self._open if place[0] != thread_id]
        self._common.known[:] = [place for place in self._common.known if place[0] != thread_id]
        await self._client.insist("delete_thread", "DELETE", f"/threads/{thread_id}", thread_id=thread_id)

    # What these are made of.

    async def _some_thread(self) -> str:
        if self._threads and self._chance.random() < 0.6:
            return self._chance.choice(self._threads)
        thread_id = await self._new_thread()
        self._threads.append(thread_id)
        return thread_id

    async def _new_thread(self) -> str:
        thread_id = f"t{self._chance.getrandbits(64):x}"
        body = {"thread_id": thread_id, "if_exists": "do_nothing"}
        await self._client.insist("create_thread", "POST", "/threads", body, thread_id=thread_id)
        return thread_id

    async def _create(self, thread_id: str, **options: Any) -> str:
        """A run in the background; empty when nobody knows whether there is one."""
        if not self._common.take_run():
            return ""
        body = {**self._plans.run(), **options}
        answer = await self._client.ask("create", "POST", f"/threads/{thread_id}/runs", body, thread_id=thread_id)
        self._created(thread_id, answer.run_id)
        return answer.run_id

    def _created(self, thread_id: str, run_id: str) -> None:
        if run_id:
            self._open.append((thread_id, run_id))
            self._common.known.append((thread_id, run_id))

    async def _join(self, thread_id: str, run_id: str) -> None:
        path = f"/threads/{thread_id}/runs/{run_id}/join"
        await self._client.insist("join", "GET", path, thread_id=thread_id, run_id=run_id)

    async def _cancel(self, thread_id: str, run_id: str, action: str) -> None:
        wait = self._chance.choice(["true", "false"])
        path = f"/threads/{thread_id}/runs/{run_id}/cancel?wait={wait}&action={action}"
        await self._client.insist("cancel", "POST", path, thread_id=thread_id, run_id=run_id, action=action)

    async def _ask(self, thread_id: str) -> bool:
        """Whether there is now a run on the thread that asked, as far as is known."""
        run_id = await self._create(thread_id, input=self._plans.question())
        if run_id:
            await self._join(thread_id, run_id)
        return bool(run_id)

    async def _reply(self, thread_id: str) -> str:
        """A run that answers; empty when nobody knows whether there is one. No two answers are the same."""
        answer = f"answer {self._chance.getrandbits(64):x}"
        return await self._create(thread_id, input=None, command={"resume": answer})


#: Something that a user does.
Act = Callable[[User], Awaitable[None]]
