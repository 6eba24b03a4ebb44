"""What clients ask for: bodies of requests for runs of the stress graph, random ones from a seed."""

import random
from typing import Any

_MODES = [
    ["values", "updates"],
    ["messages", "updates"],
    ["messages-tuple"],
    ["values", "messages-tuple", "custom"],
    ["updates"],
]
#: How a step may hang, and for how many seconds at most: long enough to be in the way, short enough to be over.
_HANGS = {"async": 4.0, "thread": 2.0, "cpu": 1.0, "block": 1.0}
#: How many runs tell somebody of their end.
_TOLD = 0.3


class Plans:
    """What one client asks for. `ledger`: where its graphs note their steps; `hook`: who is told of ends of runs."""

    def __init__(self, chance: random.Random, ledger: str, hook: str) -> None:
        self._chance = chance
        self._ledger = ledger
        self._hook = hook

    def run(self, plan: dict[str, Any] | None = None) -> dict[str, Any]:
        """The body of a request; the run's metadata say what those who find it later must know."""
        body: dict[str, Any] = {
            "assistant_id": "stress",
            "input": plan or self.plan(),
            "stream_mode": self._chance.choice(_MODES),
            "durability": self._chance.choice(["sync", "async"]),
            "multitask_strategy": "enqueue",
            "on_disconnect": "continue",
            "metadata": {},
        }
        if self._chance.random() < _TOLD:
            body |= {"webhook": self._hook, "metadata": {"told": True}}
        return body

    def keyed(self, key: str, part: int = 0, parts: int = 1, **options: Any) -> dict[str, Any]:
        """The body of a request that comes with `key`, or the part of one."""
        body = {**self.run(), **options}
        return {**body, "metadata": {**body["metadata"], "key": key, "part": part, "parts": parts}}

    def plan(self) -> dict[str, Any]:
        chance = self._chance
        plan: dict[str, Any] = {
            "ledger": self._ledger,
            "steps": chance.randint(1, 6),
            "delay": round(chance.uniform(0, 0.6), 3),
        }
        if chance.random() < 0.5:
            plan |= {"tokens": chance.randint(1, 25), "token_delay": round(chance.uniform(0, 0.03), 3)}
        if chance.random() < 0.1:
            plan["fail_at"] = chance.randrange(plan["steps"])
        if chance.random() < 0.1:
            kind = chance.choice(list(_HANGS))
            plan |= {"hang": kind, "block_seconds": round(chance.uniform(0, _HANGS[kind]), 3)}
        if chance.random() < 0.1:
            plan["swallow_cancel"] = True
        if chance.random() < 0.03 and "fail_at" not in plan:
            # Takes its engine along, and with it the other runs there.
            plan |= {"exit_at": chance.randrange(plan["steps"]), "attempts": 1}
        return plan

    def question(self) -> dict[str, Any]:
        """A plan that stops to ask."""
        plan = {**self.plan(), "steps": 4, "interrupt_at": self._chance.randint(0, 3)}
        plan.pop("fail_at", None)
        return plan
