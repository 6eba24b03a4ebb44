"""The conversation of a run: which messages it brings to its thread, and what it uses, into the journal."""

import asyncio
import hashlib
import threading
from datetime import UTC, datetime
from typing import Any

import orjson
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage, FunctionMessage, HumanMessage, SystemMessage, ToolMessage

from runs.engine.encode import as_text, encode, message_fields
from runs.engine.meter import Fail, Meter
from runs.engine.writer import Journal
from runs.lifecycle import Attempt, Known
from runs.records import REMOVED, Kept, Record, now_ms
from runs.tally import LEAD_AGENT, QUOTE_LENGTH, Tally, Usage
from runs.titles import first_human, is_hidden

_MAX_ID = 255
_MAX_CALLER = 64
_MAX_MODEL = 255

#: What is kept, and as what. Others, such as orders to remove a message, are none of the conversation's.
_KINDS: dict[type[BaseMessage], str] = {
    AIMessage: "ai",
    HumanMessage: "human",
    ToolMessage: "tool",
    FunctionMessage: "tool",
    SystemMessage: "system",
}
_NEVER = datetime.min.replace(tzinfo=UTC)


class Conversation:
    """Keeps every message of the root graph's state that was not there before the run, once, as it was last.

    A message needs an id, which `add_messages` gives it. What models answered to `subagent:` and `middleware:` callers
    is kept as they answer, as it need not come to the state.
    """

    def __init__(self, journal: Journal, attempt: Attempt) -> None:
        self._journal = journal
        self._attempt = attempt
        self._given = attempt.kwargs["input"]
        self._tally = attempt.tally or Tally(model_name=_model_asked_for(attempt.kwargs))
        #: By id, the object that was looked at last: what is the same object says the same.
        self._seen: dict[str | None, BaseMessage] = {}
        #: By id, a digest of what was kept last.
        self._kept: dict[str, bytes] = {}
        #: Messages of earlier runs, and of earlier attempts of this one; None before anybody has looked.
        self._earlier: set[str] | None = None
        self._own: set[str] = set()
        #: What an earlier attempt kept since then may have been lost with it.
        self.resumed_from = _NEVER
        self._closed = False

    def meter(self, fail: Fail | None = None) -> BaseCallbackHandler:
        """What the graph is to be run with. Used from the engine's loop; `fail` is called wherever a model is."""
        loop, here = asyncio.get_running_loop(), threading.get_ident()

        def hear(*said: Any) -> None:
            if threading.get_ident() == here:
                self.hear(*said)
            else:
                loop.call_soon_threadsafe(self.hear, *said)

        return Meter(hear, fail)

    async def see(self, values: Any) -> None:
        """The values of the root graph, as it emitted them. Raises EventTooLarge."""
        messages = values.get("messages") if isinstance(values, dict) else None
        if not isinstance(messages, list):
            return
        if self._earlier is None:
            await self._look_back(messages)
        seen = self._seen
        for message in messages:
            if isinstance(message, BaseMessage) and seen.get(message.id) is not message:
                self._take(message)

    def hear(self, message: AIMessage, usage: Usage, caller: str, model: str) -> None:
        """A model has answered."""
        if self._closed:
            return
        tally = self._tally.with_call(usage, caller=caller, model=as_text(model, _MAX_MODEL))
        if tally is not self._tally:
            self._tally = tally
            self._journal.note(tally)
        if caller != LEAD_AGENT and message.id:
            self._keep(message, "ai", caller)

    def close(self) -> Tally:
        """The graph has ended. Answers what was counted, with what it was asked even if it has not got to that."""
        self._closed = True
        if not self._tally.first_human_message:
            asked = as_text(first_human(self._given), QUOTE_LENGTH)
            self._tally = self._tally.with_text("human", caller=LEAD_AGENT, text=asked)
        return self._tally

    async def _look_back(self, messages: list[Any]) -> None:
        """Find out what is kept already; a thread's first run need not ask."""
        attempt = self._attempt
        self._earlier = set()
        if attempt.position == 1 and attempt.attempt == 1:
            return
        known = await self._journal.known_messages()
        named = _ids_in(self._given)
        self._earlier = {one.message_id for one in known if one.run_id != attempt.run_id} - named
        own = [one for one in known if one.run_id == attempt.run_id]
        there = {_id_of(message) for message in messages if isinstance(message, BaseMessage)}
        for one in own:
            if one.message_id in there or one.created_at <= self.resumed_from:
                self._own.add(one.message_id)
            else:
                self._take_back(one)

    def _take(self, message: BaseMessage) -> None:
        kind = next((kind for cls, kind in _KINDS.items() if isinstance(message, cls)), None)
        if kind is None or not message.id:
            return
        message_id = _id_of(message)
        if message_id in self._own and message.id not in self._seen:
            pass  # As the attempt before this one has left it.
        elif message_id not in (self._earlier or ()):
            self._keep(message, kind, LEAD_AGENT)
        self._seen[message.id] = message

    def _keep(self, message: BaseMessage, kind: str, caller: str) -> None:
        message_id = _id_of(message)
        content = encode(message_fields(message))
        digest = hashlib.blake2b(content, digest_size=16).digest()
        if self._kept.get(message_id) == digest:
            return
        fresh = message_id not in self._kept and message_id not in self._own
        self._kept[message_id] = digest
        count = self._tally.with_message if fresh else self._tally.with_text
        visible = not is_hidden(message.name, message.additional_kwargs)
        self._tally = count(kind, caller=caller, text=as_text(message.text, QUOTE_LENGTH), visible=visible)
        usage = message.usage_metadata if isinstance(message, AIMessage) else None
        metadata = encode({"usage": usage} if usage else {})
        self._append(Kept(kind, as_text(caller, _MAX_CALLER), message_id, content, metadata))

    def _take_back(self, one: Known) -> None:
        """An attempt that was lost had brought it, and its state is lost too: it did not happen."""
        self._tally = self._tally.without_message(one.kind)
        self._append(Kept(REMOVED, "", one.message_id))

    def _append(self, kept: Kept) -> None:
        data = orjson.dumps({"id": kept.message_id, "type": kept.kind})
        self._journal.append(Record("message", data, (), now_ms(), kept), self._tally)


def _id_of(message: BaseMessage) -> str:
    """A message's id as a column holds it."""
    return _column_id(message.id or "")


def _column_id(text: str) -> str:
    if len(text) > _MAX_ID:
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        text = f"{text[: _MAX_ID - len(digest)]}{digest}"
    return as_text(text, _MAX_ID)


def _ids_in(given: Any) -> set[str]:
    """The ids of messages that a run's input names itself."""
    messages = given.get("messages") if isinstance(given, dict) else None
    named = [message for message in messages if isinstance(message, dict)] if isinstance(messages, list) else []
    return {_column_id(message["id"]) for message in named if isinstance(message.get("id"), str)}


def _model_asked_for(kwargs: dict[str, Any]) -> str:
    configurable, context = kwargs["config"]["configurable"], kwargs["context"]
    asked = configurable.get("model_name") or configurable.get("model")
    asked = asked or (context.get("model_name") if isinstance(context, dict) else None)
    return as_text(asked, _MAX_MODEL) if isinstance(asked, str) else ""
