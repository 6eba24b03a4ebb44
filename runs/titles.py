"""What a conversation is called. Pure: no database."""

from typing import Any

#: What a thread's row holds.
MAX_TITLE = 255
#: How long a title is that is made of a message.
_MADE = 60


def title_of(values: Any) -> str:
    """What the graph calls it: `title` of the state's values; empty when that is no text."""
    title = values.get("title") if isinstance(values, dict) else None
    return title.strip()[:MAX_TITLE] if isinstance(title, str) else ""


def made_title(message: str) -> str:
    """A title of one line, made of the first message of a conversation."""
    line = " ".join(message.split())
    return line if len(line) <= _MADE else f"{line[: _MADE - 1].rstrip()}…"


def first_human(given: Any) -> str:
    """The text of the first human message that somebody may see, in the input of a run; empty without one."""
    messages = given.get("messages") if isinstance(given, dict) else None
    for message in messages if isinstance(messages, list) else [messages]:
        if text := _human_text(message):
            return text
    return ""


def is_hidden(name: Any, additional: Any) -> bool:
    """Whether a message is between graph and model only, by its `name` and its `additional_kwargs`."""
    return name == "summary" or (isinstance(additional, dict) and bool(additional.get("hide_from_ui")))


def text_of(content: Any) -> str:
    """What the content of a message says, of whatever kinds of blocks it is made."""
    if isinstance(content, str):
        return content
    blocks = content if isinstance(content, list) else []
    texts = [block.get("text") if isinstance(block, dict) else block for block in blocks]
    return "".join(text for text in texts if isinstance(text, str))


def _human_text(message: Any) -> str:
    if isinstance(message, str):
        return message
    if isinstance(message, list) and len(message) == 2 and message[0] in ("user", "human"):
        return text_of(message[1])
    if not isinstance(message, dict) or (message.get("role") or message.get("type")) not in ("user", "human"):
        return ""
    return "" if is_hidden(message.get("name"), message.get("additional_kwargs")) else text_of(message.get("content"))
