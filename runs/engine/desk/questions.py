"""What the answers to all questions are made with."""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph_sdk.runtime import AccessContext

from runs.engine.caller import RunUser
from runs.engine.graphs import Registry
from runs.engine.storage import FencedSaver, Scope, Writer

Params = dict[str, Any]


class Refused(Exception):
    """The question can not be answered: `status` and `detail` are for the caller."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Means:
    """What there is to answer with."""

    registry: Registry
    saver: FencedSaver

    def open(
        self, params: Params, config: RunnableConfig, access: AccessContext, *, writer: Writer | None = None
    ) -> Any:
        """The graph that `params` name, on behalf of their user, as an async context; all it writes is `writer`'s."""
        return self.registry.open(
            params["graph_id"],
            config,
            access_context=access,
            checkpointer=self.saver.writing_as(writer) if writer else self.saver,
            store=self.saver.store(Scope(params["organization_id"], params["user_id"])),
            user=RunUser.of(params["user_id"] and uuid.UUID(params["user_id"])),
        )


#: Answers something that JSON can be made of. Raises Refused.
Answer = Callable[[Means, Params], Awaitable[Any]]
