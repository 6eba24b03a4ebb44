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
    created_at: AwareDatetime
    updated_at: AwareDatetime


class Runs(RootModel[list[Run | Json]]):
    """Whole, or with the keys that `select` names."""


class Outcome(RootModel[Any]):
    """The final values of the run's thread; of a failed run `{__error__: {error, message}, status, error}`."""


set_override(Runs, "many", False)  # It is a list already; the action's name would make it a list of lists.
