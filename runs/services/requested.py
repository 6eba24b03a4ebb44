"""A run as it was asked for: the request with all defaults filled in."""

import uuid
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from accounts.tenancy import Tenant
from runs.exceptions import Invalid
from runs.identifiers import new_id
from runs.lifecycle import NewRun
from runs.models import Assistant
from runs.protocol.requests.runs import RunRequest
from runs.states import MultitaskStrategy

#: What a run records that was started by the Agent Streaming Protocol.
PROTOCOL_MODES = ("values", "updates", "messages", "tools", "lifecycle", "custom", "tasks", "checkpoints")


def requested_run(
    tenant: Tenant,
    assistant: Assistant,
    thread_id: str,
    body: RunRequest,
    *,
    temporary: bool = False,
    by_protocol: bool = False,
) -> NewRun:
    """The run that `body` asks for on this thread. Raises Invalid when it names a checkpoint of another one.

    `by_protocol`: by a command of the Agent Streaming Protocol, so that it records all of that protocol's channels.
    """
    run_id = new_id()
    kwargs = _kwargs(tenant, assistant, thread_id, run_id, body, temporary=temporary)
    if by_protocol:
        kwargs |= {"stream_mode": list(PROTOCOL_MODES), "subgraphs": True, "event_streaming": True}
    return NewRun(
        run_id=run_id,
        organization_id=tenant.organization_id,
        owner_id=tenant.user_id,
        assistant_id=assistant.assistant_id,
        graph_id=assistant.graph_id,
        strategy=body.strategy or MultitaskStrategy(settings.DEFAULT_MULTITASK_STRATEGY),
        kwargs=kwargs,
        metadata=kwargs["config"]["metadata"],
        not_before=timezone.now() + timedelta(seconds=body.after_seconds) if body.after_seconds else None,
        follow_up_to_run_id=uuid.UUID(body.follow_up_to_run_id) if body.follow_up_to_run_id else None,
        webhook=body.webhook or "",
    )


def _kwargs(
    tenant: Tenant, assistant: Assistant, thread_id: str, run_id: uuid.UUID, body: RunRequest, *, temporary: bool
) -> dict[str, Any]:
    """What an engine executes, and what readers see as `kwargs`."""
    base: dict[str, Any] = assistant.config
    asked = body.config.model_dump(exclude_none=True) if body.config else {}
    server = {
        "thread_id": thread_id,
        "run_id": str(run_id),
        "graph_id": assistant.graph_id,
        "assistant_id": str(assistant.assistant_id),
    }
    user = {"user_id": str(tenant.user_id), "langgraph_auth_user_id": str(tenant.user_id)}
    configurable = {**base.get("configurable", {}), **asked.get("configurable", {}), **_checkpoint(body, thread_id)}
    metadata = {
        **assistant.metadata,
        **base.get("metadata", {}),
        **asked.get("metadata", {}),
        **(body.metadata or {}),
        **({"follow_up_to_run_id": body.follow_up_to_run_id} if body.follow_up_to_run_id else {}),
        **server,
    }
    exits = body.checkpoint_during is False
    return {
        "input": body.input,
        "command": body.command.model_dump(exclude_unset=True) if body.command else None,
        "config": {**base, **asked, "configurable": {**configurable, **server, **user}, "metadata": metadata},
        "context": {**assistant.context, **(body.context or {})},
        "stream_mode": body.stream_modes,
        "interrupt_before": body.interrupt_before,
        "interrupt_after": body.interrupt_after,
        "subgraphs": bool(body.stream_subgraphs),
        "durability": body.durability or ("exit" if exits else "async"),
        "strict_resume": bool(body.strict_resume),
        "webhook": body.webhook,
        "feedback_keys": body.feedback_keys,
        "on_disconnect": body.on_disconnect or settings.DEFAULT_ON_DISCONNECT,
        "temporary": temporary,
        "resumable": True,
        "event_streaming": False,
    }


def _checkpoint(body: RunRequest, thread_id: str) -> dict[str, Any]:
    """Which checkpoint the run starts from, as keys of `configurable`; none: the latest."""
    asked = body.checkpoint
    if asked and asked.thread_id not in (None, thread_id):
        raise Invalid(("body", "checkpoint", "thread_id"), "is not the thread of the run")
    checkpoint_id = body.checkpoint_id or (asked and asked.checkpoint_id)
    if not checkpoint_id:
        return {}
    places = {"checkpoint_map": asked.checkpoint_map} if asked and asked.checkpoint_map else {}
    return {"checkpoint_id": checkpoint_id, "checkpoint_ns": (asked and asked.checkpoint_ns) or "", **places}
