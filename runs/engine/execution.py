"""Executing one attempt of a run: the graph's stream into the journal, then its outcome."""

import asyncio
import contextlib
import logging
import re
import uuid
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.constants import START
from langgraph.types import Command, Send, StateSnapshot

from runs.engine.caller import RunUser
from runs.engine.conversation import Conversation
from runs.engine.emission import INTERRUPT, Emission
from runs.engine.encode import EventTooLarge, as_text, encode
from runs.engine.factories import AnyGraph
from runs.engine.graph_stream import stream_of
from runs.engine.graphs import Registry
from runs.engine.protocol_emission import ProtocolEmission
from runs.engine.storage import WRITER_KEY, FencedSaver, Scope, StaleAttempt, Writer
from runs.engine.writer import Journal
from runs.lifecycle import ROLLED_BACK, Attempt, Outcome
from runs.protocol import run_ends
from runs.states import CancelAction, RunStatus
from runs.tally import Tally
from runs.titles import MAX_TITLE, title_of

logger = logging.getLogger(__name__)

#: The run on whose behalf code runs.
current_run: ContextVar[uuid.UUID | None] = ContextVar("current_run", default=None)

_MAX_MESSAGE = 2000
_INTERRUPT_ID = re.compile(r"[0-9a-f]{32}")


class Reason(StrEnum):
    """Why the host stops an attempt."""

    CANCEL = "cancel"
    #: As well, and all that it did to the thread is to be undone.
    ROLLBACK = "rollback"
    TIMEOUT = "timeout"
    #: The host drains: the run goes on elsewhere.
    DRAIN = "drain"
    #: The claim is another's.
    LOST = "lost"


class Ended(StrEnum):
    """How an attempt left its engine."""

    #: Its outcome is committed.
    SETTLED = "settled"
    #: All it emitted is committed; the run is to be handed back.
    STOPPED = "stopped"
    #: The claim is another's; nothing was written any more.
    LOST = "lost"


class CheckpointNotFound(Exception):
    """The thread has no checkpoint with this id."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class UnknownInterruptError(Exception):
    """The answer is to an interrupt that does not wait."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class Execution:
    """One attempt in this engine."""

    def __init__(self, attempt: Attempt, journal: Journal, registry: Registry, saver: FencedSaver) -> None:
        self.attempt = attempt
        self.reason = Reason.ROLLBACK if attempt.cancel_action == CancelAction.ROLLBACK else None
        self.writer = Writer(
            attempt.thread_id, attempt.position, attempt.attempt, str(attempt.run_id), str(attempt.claim)
        )
        self._journal = journal
        self._registry = registry
        self._saver = saver
        kwargs = attempt.kwargs
        self._emission = emission_of(journal, kwargs)
        self._conversation = Conversation(journal, attempt)
        self._graph: asyncio.Task[Outcome] | None = None
        #: Called when the graph has ended, before its outcome is written.
        self.on_ended: Callable[[], None] = lambda: None
        journal.on_lost = lambda: self.stop(Reason.LOST)

    def stop(self, reason: Reason) -> None:
        """Cancel the graph. The first reason counts; that the claim is lost always does."""
        if self.reason is None or reason is Reason.LOST:
            self.reason = reason
        if self._graph:
            self._graph.cancel()

    async def run(self) -> Ended:
        """Execute to the end. Never raises for what the graph does."""
        current_run.set(self.attempt.run_id)
        if self.reason is None:
            self._graph = asyncio.create_task(self._execute())
            await asyncio.wait({self._graph})
        self.on_ended()
        tally = self._conversation.close()
        if self.reason is Reason.ROLLBACK:
            return await self._roll_back(tally)
        outcome = self._outcome()
        if outcome is None:
            self._emission.pause()
            stopped = self.reason is Reason.DRAIN and await self._journal.flush()
            return Ended.STOPPED if stopped else Ended.LOST
        if outcome.status is not RunStatus.SUCCESS:
            self._emission.give_up((outcome.error or CANCELLED)["message"])
        if outcome.status is RunStatus.ERROR and self.attempt.kwargs["command"]:
            await self._forget_command()
        outcome = replace(outcome, title=as_text(title_of(self._emission.values), MAX_TITLE))
        return Ended.SETTLED if await self._journal.finish(outcome, tally) else Ended.LOST

    async def _roll_back(self, tally: Tally) -> Ended:
        try:
            await self._saver.raise_fence(self.writer)
            await self._saver.roll_back(self.writer)
        except StaleAttempt:
            return Ended.LOST
        return Ended.SETTLED if await self._journal.finish(ROLLED_BACK, tally) else Ended.LOST

    async def _forget_command(self) -> None:
        """A command that failed before it led to a checkpoint must not be applied by the next reader or run."""
        with contextlib.suppress(StaleAttempt):
            await self._saver.drop_updates(self.writer, str(self.attempt.run_id))

    def _outcome(self) -> Outcome | None:
        """What to commit; None when the attempt is not to be ended here."""
        if self.reason is Reason.LOST:
            return None
        if self._graph is None or self._graph.cancelled():
            return self._outcome_of_stop()
        error = self._graph.exception()
        if error is None:
            return self._graph.result()
        if _is_stale(error):
            return None
        logger.info("run %s failed", self.attempt.run_id, exc_info=error)
        return Outcome(RunStatus.ERROR, error=describe(error), values=self._values())

    def _outcome_of_stop(self) -> Outcome | None:
        match self.reason:
            case Reason.CANCEL:
                return Outcome(RunStatus.INTERRUPTED, values=self._values())
            case Reason.TIMEOUT:
                return Outcome(RunStatus.TIMEOUT, error=TIMED_OUT, values=self._values())
            case Reason.DRAIN:
                return None
            case _:
                cancelled = {"error": "CancelledError", "message": "The graph cancelled itself."}
                return Outcome(RunStatus.ERROR, error=cancelled, values=self._values())

    async def _execute(self) -> Outcome:
        attempt, kwargs = self.attempt, self.attempt.kwargs
        await self._saver.raise_fence(self.writer)
        config: RunnableConfig = {
            **kwargs["config"],  # type: ignore[typeddict-item]
            "configurable": {**kwargs["config"]["configurable"], WRITER_KEY: self.writer},
            "metadata": {**kwargs["config"]["metadata"], "run_attempt": attempt.attempt},
            "run_id": attempt.run_id,
        }
        calls: RunnableConfig = {**config, "callbacks": [self._conversation.meter(self._emission.fail_call)]}
        async with self._registry.open(
            attempt.graph_id,
            config,
            access_context="threads.create_run",
            checkpointer=self._saver,
            store=self._saver.store(Scope(str(attempt.organization_id), _text(attempt.owner_id)), self.writer),
            context=kwargs["context"],
            user=RunUser.of(attempt.owner_id),
        ) as graph:
            resumes = self.attempt.attempt > 1 and await self._has_checkpoint()
            if resumes:
                _go_on_from_latest(config)
                if await self._stopped_before(graph, config):
                    return await self._conclude(graph, config)
            elif not await self._finds_its_start(config):
                raise CheckpointNotFound
            elif kwargs.get("strict_resume"):
                await self._demand_interrupts(graph, config)
            given = None if resumes else command_of(kwargs["command"]) or kwargs["input"]
            async for namespace, source, emitted in stream_of(graph, given, calls, self._emission, kwargs):
                if source == "values" and not namespace:
                    await self._conversation.see(emitted)
                self._emission.take(namespace, source, emitted)
                await self._journal.room()
            return await self._conclude(graph, config)

    async def _has_checkpoint(self) -> bool:
        """Whether an earlier attempt has got as far as a checkpoint, from which to go on without an input."""
        latest = await self._saver.aget_tuple({"configurable": {"thread_id": self.attempt.thread_id}})
        if latest is None or latest.metadata.get("run_id") != str(self.attempt.run_id):
            return False
        self._conversation.resumed_from = datetime.fromisoformat(latest.checkpoint["ts"])
        return True

    async def _demand_interrupts(self, graph: AnyGraph, config: RunnableConfig) -> None:
        """Raise UnknownInterruptError when the command answers an interrupt that does not wait."""
        answer = (self.attempt.kwargs["command"] or {}).get("resume")
        if answer is None:
            return
        snapshot = await graph.aget_state(config)
        waiting = {interrupt.id for task in snapshot.tasks for interrupt in task.interrupts}
        # LangGraph takes an object for answers by their interrupts' ids if all its keys look like such.
        answered = set(answer) if isinstance(answer, dict) and all(map(_INTERRUPT_ID.fullmatch, answer)) else set()
        if not waiting or answered - waiting:
            raise UnknownInterruptError

    async def _finds_its_start(self, config: RunnableConfig) -> bool:
        """Whether the checkpoint that the run is to start from is there; LangGraph would start from nothing."""
        if not config["configurable"].get("checkpoint_id"):
            return True
        return await self._saver.aget_tuple(config) is not None

    async def _stopped_before(self, graph: AnyGraph, config: RunnableConfig) -> bool:
        """Whether an earlier attempt had stopped at a breakpoint when it was lost: going on would pass it unasked."""
        before, after = self._breakpoints(graph)
        if not before and not after:
            return False
        snapshot = await graph.aget_state(config)
        self._emission.values = snapshot.values
        if _meets(snapshot.next, before):
            return True
        if not after or not snapshot.next or snapshot.parent_config is None:
            return False
        parent = await graph.aget_state(snapshot.parent_config)
        return _meets([task.name for task in parent.tasks], after)

    def _breakpoints(self, graph: AnyGraph) -> tuple[Any, Any]:
        """The nodes before and after which the graph is to stop; `*` for all."""
        kwargs = self.attempt.kwargs
        return (
            kwargs["interrupt_before"] or graph.interrupt_before_nodes,
            kwargs["interrupt_after"] or graph.interrupt_after_nodes,
        )

    async def _conclude(self, graph: AnyGraph, config: RunnableConfig) -> Outcome:
        values = self._emission.values
        snapshot: StateSnapshot | None = None
        if self._may_wait(graph, values):
            _go_on_from_latest(config)
            snapshot = await graph.aget_state(config)
        waits_for = [interrupt for task in snapshot.tasks for interrupt in task.interrupts] if snapshot else []
        self._emission.close(waits_for)
        by_task = {task.id: task.interrupts for task in snapshot.tasks if task.interrupts} if snapshot else {}
        return Outcome(
            RunStatus.SUCCESS,
            values=self._values(),
            interrupts=encode(by_task),
            waits_for_input=bool(snapshot and snapshot.next),
        )

    def _may_wait(self, graph: AnyGraph, values: Any) -> bool:
        """Whether the graph may have stopped before its end."""
        return any(self._breakpoints(graph)) or (isinstance(values, dict) and INTERRUPT in values)

    def _values(self) -> bytes | None:
        values = self._emission.values
        if isinstance(values, dict) and INTERRUPT in values:
            values = {key: value for key, value in values.items() if key != INTERRUPT}
        try:
            return None if values is None else encode(values)
        except EventTooLarge:
            return None


def _go_on_from_latest(config: RunnableConfig) -> None:
    """Forget where the run was to start: it has."""
    for key in ("checkpoint_id", "checkpoint_ns", "checkpoint_map"):
        config["configurable"].pop(key, None)


TIMED_OUT = {"error": "timeout", "message": "The run took longer than it may."}
CANCELLED = {"error": "cancelled", "message": run_ends.CANCELLED}


def emission_of(journal: Journal, kwargs: dict[str, Any]) -> Emission:
    """What records what the graph of a run emits, as the run was started."""
    configurable = kwargs["config"]["configurable"]
    if kwargs.get("event_streaming"):
        return ProtocolEmission(journal, configurable)
    return Emission(journal, kwargs["stream_mode"], configurable)


def _text(value: uuid.UUID | None) -> str | None:
    return str(value) if value else None


def _meets(names: Iterable[str], wanted: Any) -> bool:
    return any(name != START and (wanted == "*" or name in wanted) for name in names)


def command_of(body: dict[str, Any] | None) -> Command[Any] | None:
    """LangGraph's command for that of a request."""
    if body is None:
        return None
    goto = body.get("goto") or ()
    places = [goto] if isinstance(goto, str | dict) else goto
    sends = [Send(place["node"], place.get("input")) if isinstance(place, dict) else place for place in places]
    update = body.get("update")
    if isinstance(update, list):
        update = [tuple(pair) for pair in update]
    return Command(goto=sends, update=update, resume=body.get("resume"))


def describe(error: BaseException) -> dict[str, str]:
    """An error for its run's readers: its type and what it says, never where it happened."""
    try:
        message = as_text(str(error), _MAX_MESSAGE)
    except Exception:  # the code of others: what says what went wrong may fail too
        message = ""
    return {"error": type(error).__name__, "message": message}


def _is_stale(error: BaseException | None) -> bool:
    """Whether the fence was what stopped the attempt."""
    while error is not None:
        if isinstance(error, StaleAttempt):
            return True
        error = error.__cause__ or error.__context__
    return False
