"""Names a conversation after its first message, in the state, where whoever calls it otherwise finds it."""

from typing import Any, NotRequired, TypedDict

from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import HumanMessage

from runs.titles import is_hidden, made_title


class Titled(TypedDict):
    """What this adds to the agent's state."""

    title: NotRequired[str]


class Titling(AgentMiddleware):  # type: ignore[misc]  # LangChain's agents come without types
    state_schema = Titled

    def before_agent(self, state: dict[str, Any], runtime: Any) -> dict[str, Any] | None:
        if state.get("title"):
            return None
        asked = (
            message.text
            for message in state["messages"]
            if isinstance(message, HumanMessage) and not is_hidden(message.name, message.additional_kwargs)
        )
        title = made_title(next(asked, ""))
        return {"title": title} if title else None
