"""The built-in graph: a model with tools in a loop."""

from typing import Any

from langchain.agents import create_agent
from langgraph.pregel import Pregel

from runs.builtin.models import chat_model
from runs.builtin.titling import Titling
from runs.builtin.tools import TOOLS

SYSTEM_PROMPT = (
    "You are a helpful assistant. Answer in the user's language. "
    "Use your tools for the current time and for arithmetic instead of guessing."
)


def make_graph(model: str) -> Pregel[Any, Any, Any, Any]:
    """Return the agent that talks with `model`, "provider:model" or empty for the offline one."""
    agent: Pregel[Any, Any, Any, Any] = create_agent(
        chat_model(model), TOOLS, system_prompt=SYSTEM_PROMPT, middleware=[Titling()]
    )
    return agent
