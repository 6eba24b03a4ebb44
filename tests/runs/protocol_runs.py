"""Attempts of runs that were started by the Agent Streaming Protocol, in this process."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson
from langchain_core.language_models.chat_model_stream import ChatModelStream

from runs.engine.graphs import Registry
from runs.langgraph_json import read_config
from runs.records import Record

GRAPHS = Path(__file__).parents[1] / "graphs"
ASKED = {"messages": [{"role": "user", "content": "hello"}]}

Told = tuple[str, tuple[str, ...], Any]


@contextmanager
def loaded_graphs() -> Iterator[Registry]:
    """The graphs of tests/graphs; afterwards nothing of them is left in the process."""
    with patch.object(sys, "path", list(sys.path)), patch.dict(os.environ):
        yield Registry.load(read_config(GRAPHS / "langgraph.json"))
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(GRAPHS)):
            del sys.modules[name]


def told(records: list[Record]) -> list[Told]:
    """Method, nodes of the namespace, and data of what a run recorded; messages that are kept are beside the point."""
    return [
        (record.method, nodes(record.namespace), orjson.loads(record.data))
        for record in records
        if record.method != "message"
    ]


def nodes(namespace: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(step.partition(":")[0] for step in namespace)


def of(records: list[Record], method: str) -> list[tuple[tuple[str, ...], Any]]:
    """Where and what, of the records of this method."""
    return [(where, data) for name, where, data in told(records) if name == method]


class Reader:
    """Puts messages together as the Python SDK does: by `id` where there is one, else the only one that is open."""

    def __init__(self) -> None:
        self.messages: list[ChatModelStream] = []
        self._open: dict[tuple[Any, str], ChatModelStream] = {}

    def take(self, records: list[Record]) -> "Reader":
        for namespace, event in of(records, "block"):
            if event["event"] == "message-start":
                stream = ChatModelStream(namespace=list(namespace))
                self.messages.append(stream)
                self._open[namespace, event["id"]] = stream
            one = self._find(namespace, event.get("id"))
            self._open[one].dispatch(event)
            if event["event"] in ("message-finish", "error"):
                del self._open[one]
        return self

    def _find(self, namespace: Any, message_id: str | None) -> tuple[Any, str]:
        (found,) = [key for key in self._open if key[0] == namespace and message_id in (None, key[1])]
        return found
