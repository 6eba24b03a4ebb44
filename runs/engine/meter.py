"""Hears of every call of a model that a run's graph makes, wherever in it."""

import uuid
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.outputs import LLMResult

from runs.tally import LEAD_AGENT, MIDDLEWARE, SUBAGENT, Usage

#: More than any call uses; a provider that says so counts for nothing.
_TOO_MANY = 2**40

Hear = Callable[[AIMessage, Usage, str, str], None]
#: Takes the id of a call that failed, what LangChain knows of it, and why.
Fail = Callable[[uuid.UUID, dict[str, Any], Exception], None]


class Meter(BaseCallbackHandler):
    """Tells `hear` what each call answered: the message, its usage, its caller and its model; `fail` if it did not.

    It is called where the model is: in the event loop, or in the thread of a node.
    """

    # It costs every token a call, so it is one that does nothing, in the caller's thread; of the rest it hears nothing.
    run_inline = True
    ignore_chain = True
    ignore_agent = True
    ignore_retriever = True
    ignore_retry = True
    ignore_custom_event = True
    ignore_chat_model = True

    def __init__(self, hear: Hear, fail: Fail | None = None) -> None:
        self._hear = hear
        self._fail = fail
        self.ignore_chat_model = fail is None
        #: Calls that have not ended; none unless somebody asks for those that fail.
        self._calls: dict[uuid.UUID, dict[str, Any]] = {}
        #: Callbacks that were handed down twice tell of one call twice.
        self._heard: set[uuid.UUID] = set()

    def on_chat_model_start(
        self, serialized: Any, messages: Any, *, run_id: uuid.UUID, metadata: dict[str, Any] | None = None, **_: Any
    ) -> None:
        self._calls[run_id] = metadata or {}

    def on_llm_new_token(self, token: Any, **_: Any) -> None:
        pass

    def on_llm_end(
        self, response: LLMResult, *, run_id: uuid.UUID, tags: Sequence[str] | None = None, **_: Any
    ) -> None:
        self._calls.pop(run_id, None)
        if run_id in self._heard:
            return
        self._heard.add(run_id)
        for generations in response.generations:
            message = getattr(generations[0], "message", None) if generations else None
            if isinstance(message, AIMessage):
                self._hear(message, usage_of(message), caller_of(tags or ()), model_of(message))

    def on_llm_error(self, error: BaseException, *, run_id: uuid.UUID, **_: Any) -> None:
        about = self._calls.pop(run_id, None)
        # One that was cancelled, or is not read on, did not fail.
        if self._fail and about is not None and isinstance(error, Exception):
            self._fail(run_id, about, error)


def caller_of(tags: Sequence[str]) -> str:
    """Who made a call, by its tags."""
    return next((tag for tag in tags if tag.startswith((SUBAGENT, MIDDLEWARE))), LEAD_AGENT)


def model_of(message: AIMessage) -> str:
    about = message.response_metadata
    return str(about.get("model_name") or about.get("model") or "unknown")


def usage_of(message: AIMessage) -> Usage:
    """The tokens that the provider counted; none where it counted none."""
    usage: Any = message.usage_metadata or {}
    details = usage.get("input_token_details") or {}
    sent, received = _count(usage.get("input_tokens")), _count(usage.get("output_tokens"))
    return Usage(
        input_tokens=sent,
        output_tokens=received,
        total_tokens=_count(usage.get("total_tokens")) or sent + received,
        cache_read_tokens=_count(details.get("cache_read")),
    )


def _count(value: Any) -> int:
    return value if isinstance(value, int) and 0 < value < _TOO_MANY else 0
