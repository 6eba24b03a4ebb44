"""A chat model for servers that have none: it says so, and shows what a run looks like.

It streams word by word, in Chinese to who writes Chinese, and calls the tools it is given when they are asked for.
"""

import asyncio
import json
import re
import unicodedata
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

#: How much of what the user wrote is read, and how much of it is said back.
READ_LENGTH = 1000
ECHO_LENGTH = 80

CHINESE = re.compile(r"[\u3400-\u9fff]")
WORD = re.compile(r"[\u3000-\u9fff\uff00-\uffef]|[^\s\u3000-\u9fff\uff00-\uffef]+\s*|\s+")
ASKS_TIME = re.compile(r"\btime is it\b|\bcurrent time\b|\bwhat(?:.s| is) the time\b|几点|时间", re.IGNORECASE)
ASKS_NUMBER = re.compile(r"calculate|compute|what(?:.s| is)|how much|计算|算|等于|多少|=", re.IGNORECASE)
SIGNS = r"-+*/%^\u00d7\u00f7\u2212"
ARITHMETIC = re.compile(rf"[-(\d.][{SIGNS}().\d\s]*[\d)]")
OPERATION = re.compile(rf"[\d)]\s*[{SIGNS}]")
ZONE = re.compile(r"\b[A-Z][A-Za-z]+(?:/[A-Z][A-Za-z_]+)+")
CITIES = {
    "new york|纽约": "America/New_York",
    "london|伦敦": "Europe/London",
    "paris|巴黎": "Europe/Paris",
    "berlin|柏林": "Europe/Berlin",
    "beijing|shanghai|china|北京|上海|中国": "Asia/Shanghai",
    "tokyo|东京": "Asia/Tokyo",
}

ANSWER = (
    "I am the offline model: no chat model is set up on this server. To talk with a real one, set DEERFLOW_MODEL "
    "(for example openai:gpt-4o-mini) and its provider's key, and restart. You said: “{said}”. "
    "I can still tell the time (“what time is it in Tokyo?”) and calculate (“calculate 2+3*4”)."
)
ANSWER_CHINESE = (
    "我是离线模型：这台服务器还没有设置聊天模型。要使用真正的模型，请设置 DEERFLOW_MODEL（例如 openai:gpt-4o-mini）"
    "和提供方的密钥，然后重新启动。您说的是：“{said}”。我仍然可以报时（“东京现在几点？”）和计算（“计算 2+3*4”）。"
)
RESULTS = "The answer of my tools: {results}\n(I am the offline model; DEERFLOW_MODEL sets a real one.)"
RESULTS_CHINESE = "工具的回答：{results}\n（我是离线模型；用 DEERFLOW_MODEL 可以设置真正的模型。）"


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model says next: a text, or calls as (tool, arguments)."""

    text: str = ""
    calls: list[tuple[str, dict[str, str]]] = field(default_factory=list)


class OfflineChatModel(BaseChatModel):
    """Answers without any network, the same way to the same conversation."""

    @property
    def _llm_type(self) -> str:
        return "offline"

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Allow calls of `tools`; the choice among them is made by what the user asks for."""
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        names = {tool["function"]["name"] for tool in kwargs.get("tools", ())}
        for chunk in _chunks(messages, plan_reply(messages, names)):
            yield ChatGenerationChunk(message=chunk)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._stream(messages, **kwargs):
            yield chunk
            await asyncio.sleep(0)  # an answer is all there at once: let the other runs of the loop have their turn

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return generate_from_stream(self._stream(messages, **kwargs))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return self._generate(messages, **kwargs)


def plan_reply(messages: Sequence[BaseMessage], tools: Collection[str]) -> Reply:
    """Decide what to say after `messages`, calling only `tools`; results of tools are told, never asked for again."""
    asked = next((m.text for m in reversed(messages) if isinstance(m, HumanMessage)), "")
    question = unicodedata.normalize("NFKC", asked[:READ_LENGTH])
    in_chinese = CHINESE.search(question) is not None
    if results := _results(messages):
        return Reply((RESULTS_CHINESE if in_chinese else RESULTS).format(results="; ".join(results)))
    if calls := [(name, arguments) for name, arguments in _wanted_calls(question) if name in tools]:
        return Reply(calls=calls)
    said = " ".join(asked[:READ_LENGTH].split())
    said = said if len(said) <= ECHO_LENGTH else f"{said[:ECHO_LENGTH]}…"
    return Reply((ANSWER_CHINESE if in_chinese else ANSWER).format(said=said))


def _results(messages: Sequence[BaseMessage]) -> list[str]:
    results: list[str] = []
    for message in reversed(messages):
        if not isinstance(message, ToolMessage):
            break
        results.append(message.text)
    return results[::-1]


def _wanted_calls(question: str) -> Iterator[tuple[str, dict[str, str]]]:
    if ASKS_TIME.search(question):
        yield "current_time", {"timezone": _zone(question)}
    runs = ARITHMETIC.findall(question)
    expression = next((run for run in runs if OPERATION.search(run)), None)
    if expression and (ASKS_NUMBER.search(question) or expression == question.strip()):
        yield "calculate", {"expression": expression}


def _zone(question: str) -> str:
    if named := ZONE.search(question):
        return named.group()
    return next((zone for names, zone in CITIES.items() if re.search(names, question, re.IGNORECASE)), "UTC")


def _chunks(messages: Sequence[BaseMessage], reply: Reply) -> Iterator[AIMessageChunk]:
    """Yield the reply in pieces as a provider would: words, or parts of tool calls, then the usage."""
    count = 0
    for piece in [*_words(reply.text), *_call_pieces(reply.calls)]:
        count += 1
        yield piece
    sent = count_tokens_approximately(messages)
    yield AIMessageChunk(
        content="",
        response_metadata={"model_name": "offline", "finish_reason": "tool_calls" if reply.calls else "stop"},
        usage_metadata=UsageMetadata(input_tokens=sent, output_tokens=count, total_tokens=sent + count),
        chunk_position="last",
    )


def _words(text: str) -> Iterator[AIMessageChunk]:
    for word in WORD.findall(text):
        yield AIMessageChunk(content=word)


def _call_pieces(calls: list[tuple[str, dict[str, str]]]) -> Iterator[AIMessageChunk]:
    for index, (name, arguments) in enumerate(calls):
        start = tool_call_chunk(name=name, args="", id=f"call_{uuid.uuid4().hex}", index=index)
        yield AIMessageChunk(content="", tool_call_chunks=[start])
        written = json.dumps(arguments, ensure_ascii=False)
        for at in range(0, len(written), 8):
            part = tool_call_chunk(name=None, args=written[at : at + 8], id=None, index=index)
            yield AIMessageChunk(content="", tool_call_chunks=[part])
