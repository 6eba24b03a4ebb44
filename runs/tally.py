"""What a run has said and used so far: the counters of its row, as absolute values. Pure: no database."""

from dataclasses import dataclass, fields, replace
from typing import Self

#: How much of a message's text a run's row quotes.
QUOTE_LENGTH = 2000

#: Who speaks unless a call's tags say otherwise.
LEAD_AGENT = "lead_agent"
SUBAGENT = "subagent:"
MIDDLEWARE = "middleware:"

#: The kinds of messages that are counted.
_COUNTED = frozenset({"human", "ai", "tool"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The tokens of one call of a model."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cache_read_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The columns of `Run` that are counted, by their names. A value: counting makes the next one."""

    message_count: int = 0
    llm_call_count: int = 0
    total_input_tokens: int = 0
    total_output_tokens: int = 0
    total_tokens: int = 0
    lead_agent_tokens: int = 0
    subagent_tokens: int = 0
    middleware_tokens: int = 0
    #: None before the first call.
    tokens_by_model: dict[str, dict[str, int]] | None = None
    model_name: str = ""
    first_human_message: str = ""
    last_ai_message: str = ""

    def with_call(self, usage: Usage, *, caller: str, model: str) -> Self:
        """One call more. What used no tokens is no call."""
        if not usage.total_tokens:
            return self
        bucket = _bucket(caller)
        return replace(
            self,
            llm_call_count=self.llm_call_count + 1,
            total_input_tokens=self.total_input_tokens + usage.input_tokens,
            total_output_tokens=self.total_output_tokens + usage.output_tokens,
            total_tokens=self.total_tokens + usage.total_tokens,
            tokens_by_model=_with_model(self.tokens_by_model or {}, usage, model),
            model_name=self.model_name or model,
            **{bucket: getattr(self, bucket) + usage.total_tokens},
        )

    def with_message(self, kind: str, *, caller: str, text: str, visible: bool = True) -> Self:
        """One message more."""
        counted = self.with_text(kind, caller=caller, text=text, visible=visible)
        return replace(counted, message_count=counted.message_count + (kind in _COUNTED))

    def with_text(self, kind: str, *, caller: str, text: str, visible: bool = True) -> Self:
        """A message that was counted before, and says this now."""
        if kind == "human" and visible and not self.first_human_message:
            return replace(self, first_human_message=text[:QUOTE_LENGTH])
        if kind == "ai" and caller == LEAD_AGENT and text.strip():
            return replace(self, last_ai_message=text[:QUOTE_LENGTH])
        return self

    def without_message(self, kind: str) -> Self:
        """One message less."""
        return replace(self, message_count=max(0, self.message_count - (kind in _COUNTED)))


COLUMNS = tuple(field.name for field in fields(Tally))


def _bucket(caller: str) -> str:
    if caller.startswith(SUBAGENT):
        return "subagent_tokens"
    return "middleware_tokens" if caller.startswith(MIDDLEWARE) else "lead_agent_tokens"


def _with_model(known: dict[str, dict[str, int]], usage: Usage, model: str) -> dict[str, dict[str, int]]:
    so_far = known.get(model, {})
    used = {"calls": 1, **{field.name: getattr(usage, field.name) for field in fields(usage)}}
    return {**known, model: {name: so_far.get(name, 0) + count for name, count in used.items()}}
