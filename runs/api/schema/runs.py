from typing import Any
from uuid import UUID

from drf_spectacular.drainage import set_override
from pydantic import AwareDatetime, RootModel

from runs.api.schema.base import Shape
from runs.protocol.requests.base import Json
from runs.states import MultitaskStrategy, RunStatus


class Run(Shape):
    run_id: UUID
    thread_id: str
    assistant_id: UUID | None
    metadata: Json
    status: RunStatus
    kwargs: Json
    multitask_strategy: MultitaskStrategy
    follow_up_to_run_id: UUID | None
    error: Json | None
    model_name: str | None
    message_count: int
    llm_call_count: int
    total_input_tokens: int
    total_output_tokens: int
    total_tokens: int
    lead_agent_tokens: int
    subagent_tokens: int
    middleware_tokens: int
    first_human_message: str | None
    last_ai_message: str | None
    started_at: AwareDatetime | None
    ended_at: AwareDatetime | None
    created_at: AwareDatetime
    updated_at: AwareDatetime


class Runs(RootModel[list[Run | Json]]):
    """Whole, or with the keys that `select` names."""


class Outcome(RootModel[Any]):
    """The final values of the run's thread; of a failed run `{__error__: {error, message}, status, error}`."""


set_override(Runs, "many", False)  # It is a list already; the action's name would make it a list of lists.
