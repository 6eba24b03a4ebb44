"""Chooses the chat model of everything that is built in."""

from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel

from runs.builtin.offline import OfflineChatModel


def chat_model(name: str) -> BaseChatModel:
    """Return the model that "provider:model" names, or the offline one for an empty name.

    What is missing for it, a provider's package or key, is raised as that package words it.
    """
    return init_chat_model(name) if name else OfflineChatModel()
