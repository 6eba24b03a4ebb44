"""Rows and callers for tests: plain functions, whose keyword arguments override what a test does not care about."""

import uuid
from datetime import timedelta
from typing import Any

from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import Membership, User
from accounts.permissions import ROLE_PERMISSIONS
from accounts.services import issue_api_key
from accounts.tenancy import Tenant
from runs.identifiers import new_id, system_assistant_id
from runs.lifecycle import NewRun, Place
from runs.models import Assistant, Cron, Delivery, EventChunk, Run, Thread
from runs.records import Chunk, decompress
from runs.states import ACTIVE, MultitaskStrategy, RunStatus, ThreadStatus


def tenant_of(user: User) -> Tenant:
    """The user, acting in the selected organization."""
    membership = Membership.objects.get(user=user, organization=user.selected_organization_id)
    return Tenant(membership.organization_id, user.pk, ROLE_PERMISSIONS[membership.role])


def api_key_of(user: User) -> str:
    """A new API key of the user in the selected organization."""
    _, plaintext = issue_api_key(user, user.selected_organization, "tests")
    return plaintext


def api_client(user: User) -> APIClient:
    """A client that sends JSON and the user's API key with every request."""
    return APIClient(headers={"x-api-key": api_key_of(user)})


def make_thread(tenant: Tenant, **over: Any) -> Thread:
    """An idle thread of the tenant's own, without runs."""
    now = timezone.now()
    fields = {
        "thread_id": str(new_id()),
        "organization_id": tenant.organization_id,
        "owner_id": tenant.user_id,
        "updated_at": now,
        "state_updated_at": now,
    }
    return Thread.objects.create(**{**fields, **over})


def make_run(tenant: Tenant, thread: Thread | None = None, **over: Any) -> Run:
    """A pending run that comes last on `thread`, or on a thread of its own; `thread` is changed with its row.

    A running one is claimed with an hour of lease. It is of the graph `echo`, and of the system's assistant of its
    graph where the fixture `graphs` made one.
    """
    thread = thread or make_thread(tenant)
    status = over.get("status", RunStatus.PENDING)
    run_id = over.setdefault("run_id", new_id())
    graph_id = over.setdefault("graph_id", "echo")
    thread.last_position += 1
    fields = {
        "thread": thread,
        "organization_id": tenant.organization_id,
        "owner_id": tenant.user_id,
        "assistant": Assistant.objects.filter(pk=system_assistant_id(graph_id)).first(),
        "kwargs": run_kwargs(thread.pk, run_id, graph_id=graph_id),
        "multitask_strategy": MultitaskStrategy.ENQUEUE,
        "position": thread.last_position,
        "after_seq": thread.last_seq,
        "updated_at": timezone.now(),
    }
    if status == RunStatus.RUNNING:
        fields |= {
            "attempt": 1,
            "claim": uuid.uuid4(),
            "lease_until": timezone.now() + timedelta(hours=1),
            "host": "tests",
        }
    run = Run.objects.create(**{**fields, **over})
    if status in ACTIVE:
        thread.status = ThreadStatus.BUSY
    thread.graph_id = graph_id
    thread.save(update_fields=["last_position", "status", "graph_id"])
    return run


def make_cron(tenant: Tenant, thread: Thread | None = None, **over: Any) -> Cron:
    """A cron that is due every minute, next in an hour; of the graph `echo`, so it needs the fixture `graphs`."""
    now = timezone.now()
    fields = {
        "organization_id": tenant.organization_id,
        "owner_id": tenant.user_id,
        "assistant_id": system_assistant_id("echo"),
        "thread": thread,
        "schedule": "* * * * *",
        "next_run_at": now + timedelta(hours=1),
        "on_run_completed": "" if thread else "delete",
        "updated_at": now,
    }
    if "assistant" in over:
        del fields["assistant_id"]
    return Cron.objects.create(**{**fields, **over})


def new_run(tenant: Tenant, **over: Any) -> NewRun:
    """What `lifecycle.add_run` takes, for a run of the graph `echo`; needs the fixture `graphs`."""
    run_id = new_id()
    fields = {
        "run_id": run_id,
        "organization_id": tenant.organization_id,
        "owner_id": tenant.user_id,
        "assistant_id": system_assistant_id("echo"),
        "graph_id": "echo",
        "strategy": MultitaskStrategy.REJECT,
        "kwargs": run_kwargs("any", run_id),
        "metadata": {},
    }
    return NewRun(**{**fields, **over})


def place_of(thread: Thread) -> Place:
    """The thread as it is now, as a new run finds it."""
    thread.refresh_from_db()
    return Place(
        thread_id=thread.pk,
        last_seq=thread.last_seq,
        last_position=thread.last_position,
        metadata=thread.metadata,
        busy=Run.objects.filter(thread=thread).active().exists(),
    )


WEBHOOK = "https://hooks.example.com/run?key=1"


def make_delivery(tenant: Tenant, **over: Any) -> Delivery:
    """News for WEBHOOK that are due."""
    fields = {
        "organization_id": tenant.organization_id,
        "run_id": new_id(),
        "url": WEBHOOK,
        "receiver": "hooks.example.com 443",
        "payload": b"{}",
        "next_attempt_at": timezone.now() - timedelta(minutes=1),
    }
    return Delivery.objects.create(**{**fields, **over})


def chunks_of(thread_id: str) -> list[Chunk]:
    """What the log of a thread holds, in order."""
    rows = EventChunk.objects.filter(thread_id=thread_id).order_by("first_seq")
    return [Chunk(row.thread_id, str(row.run_id), row.first_seq, row.last_seq, decompress(row.payload)) for row in rows]


def run_kwargs(thread_id: str, run_id: uuid.UUID, **over: Any) -> dict[str, Any]:
    """`Run.kwargs` as `runs.services.requested` fills it in for a request with nothing but an input."""
    graph_id = over.pop("graph_id", "echo")
    server = {
        "thread_id": thread_id,
        "run_id": str(run_id),
        "graph_id": graph_id,
        "assistant_id": str(system_assistant_id(graph_id)),
    }
    kwargs = {
        "input": {"messages": [{"role": "user", "content": "hello"}]},
        "command": None,
        "config": {"configurable": server, "metadata": server},
        "context": {},
        "stream_mode": ["values"],
        "interrupt_before": None,
        "interrupt_after": None,
        "subgraphs": False,
        "durability": "async",
        "on_disconnect": "cancel",
        "temporary": False,
        "resumable": True,
        "event_streaming": False,
    }
    return {**kwargs, **over}
