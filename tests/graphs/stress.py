"""One graph that does whatever its input says, for tests of what runs survive.

The input is a JSON object; every key may be left out, and counts, sizes and step numbers start at 0:

steps            how many steps to do (1)
delay            seconds that each step waits
tokens, token_bytes, token_delay
                 each step streams so many tokens (0) of so many bytes (8), with so many seconds before each
interrupt_at     the step that asks; what it is answered goes to `answers`
fail_at          the step that raises
hang, hang_at, block_seconds
                 how and in which step (0) to hang for so many seconds (3600): "async" waits, "thread" occupies a
                 thread, "cpu" computes on the event loop, "block" sleeps on it
exit_at          the step that ends the process with os._exit(9)
value, value_at  puts a value that is hard to store into `odd`: nan, nul, surrogate, lambda, lock, bigint, deep
swallow_cancel   ignore cancellation while waiting
attempts         fail, hang and exit in the first so many attempts only
ledger           a file that gets one JSON line at the beginning of each step: {run_id, attempt, step, time, pid}
"""

import asyncio
import json
import operator
import os
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal, TypedDict

from langchain_core.messages import AnyMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.channels import EphemeralValue
from langgraph.graph import END, START, StateGraph, add_messages
from langgraph.types import interrupt
from scripted_model import ScriptedModel  # type: ignore[import-not-found]

Plan = dict[str, Any]
Count = Annotated[int, EphemeralValue(int)]
Seconds = Annotated[float, EphemeralValue(float)]
Word = Annotated[str, EphemeralValue(str)]


class Input(TypedDict, total=False):
    """Forgotten after the run's first step, so that the next run on the thread starts from its own input alone."""

    steps: Count
    delay: Seconds
    tokens: Count
    token_bytes: Count
    token_delay: Seconds
    interrupt_at: Count
    fail_at: Count
    hang: Word
    hang_at: Count
    block_seconds: Seconds
    exit_at: Count
    value: Word
    value_at: Count
    swallow_cancel: Annotated[bool, EphemeralValue(bool)]
    attempts: Count
    ledger: Word


class State(TypedDict, total=False):
    plan: Plan
    step: int
    #: The steps done by the run that ran last.
    done: list[int]
    answers: Annotated[list[Any], operator.add]
    messages: Annotated[list[AnyMessage], add_messages]
    odd: Any


async def begin(options: Input) -> State:
    return {"plan": dict(options), "step": 0, "done": []}


async def work(state: State, config: RunnableConfig) -> State:
    plan, step = state["plan"], state["step"]
    change: State = {"step": step + 1, "done": [*state["done"], step]}
    if plan.get("interrupt_at") == step:
        change["answers"] = [interrupt({"step": step})]
    _note(plan, step, config)
    if count := plan.get("tokens", 0):
        change["messages"] = [await _speak(plan, count)]
    await _wait(plan, plan.get("delay", 0))
    if _attempt(config) <= plan.get("attempts", _attempt(config)):
        await _go_wrong(plan, step)
    if plan.get("value") and plan.get("value_at", 0) == step:
        change["odd"] = ODD_VALUES[plan["value"]]()
    return change


def _next(state: State) -> Literal["work", "__end__"]:
    return "work" if state["step"] < state["plan"].get("steps", 1) else END


def _note(plan: Plan, step: int, config: RunnableConfig) -> None:
    if not (ledger := plan.get("ledger")):
        return
    line = {
        "run_id": str(_recorded(config, "run_id")),
        "attempt": _attempt(config),
        "step": step,
        "time": time.time(),
        "pid": os.getpid(),
    }
    file = os.open(ledger, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        os.write(file, f"{json.dumps(line)}\n".encode())
    finally:
        os.close(file)


def _attempt(config: RunnableConfig) -> int:
    return int(_recorded(config, "run_attempt") or 1)


def _recorded(config: RunnableConfig, name: str) -> Any:
    return config.get("configurable", {}).get(name) or config.get("metadata", {}).get(name)


async def _speak(plan: Plan, count: int) -> AnyMessage:
    words = [f"{number} ".ljust(plan.get("token_bytes", 8), ".") for number in range(count)]
    model = ScriptedModel(words=words, delay=plan.get("token_delay", 0))
    answer: AnyMessage = await model.ainvoke([HumanMessage("go on")])
    return answer


async def _wait(plan: Plan, seconds: float) -> None:
    """Wait, in spite of cancellation where the plan says so."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        try:
            await asyncio.sleep(left)
        except asyncio.CancelledError:
            if not plan.get("swallow_cancel"):
                raise


async def _go_wrong(plan: Plan, step: int) -> None:
    if plan.get("exit_at") == step:
        os._exit(9)
    if plan.get("fail_at") == step:
        raise ValueError(f"told to fail at step {step}")
    if plan.get("hang") and plan.get("hang_at", 0) == step:
        await HANGS[plan["hang"]](plan, plan.get("block_seconds", 3600))


async def _hang_in_thread(plan: Plan, seconds: float) -> None:
    await asyncio.to_thread(time.sleep, seconds)


async def _hang_computing(plan: Plan, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(10_000))


async def _hang_sleeping(plan: Plan, seconds: float) -> None:
    time.sleep(seconds)


HANGS: dict[str, Callable[[Plan, float], Awaitable[None]]] = {
    "async": _wait,
    "thread": _hang_in_thread,
    "cpu": _hang_computing,
    "block": _hang_sleeping,
}


def _deep() -> list[Any]:
    nested: list[Any] = []
    for _ in range(2000):
        nested = [nested]
    return nested


ODD_VALUES: dict[str, Callable[[], Any]] = {
    "nan": lambda: float("nan"),
    "nul": lambda: "before\0after",
    "surrogate": lambda: "before\ud800after",
    "lambda": lambda: lambda: None,
    "lock": threading.Lock,
    "bigint": lambda: 2**80,
    "deep": _deep,
}

stress = (
    StateGraph(State, input_schema=Input)
    .add_node("begin", begin, input_schema=Input)
    .add_node("work", work)
    .add_edge(START, "begin")
    .add_edge("begin", "work")
    .add_conditional_edges("work", _next)
    .compile()
    .with_config(recursion_limit=100_000)
)
