"""Assistants: the system's, one for each graph, and an organisation's own, which have versions."""

import contextlib
import uuid
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max

from accounts.prepared import Prepared
from accounts.tenancy import Tenant
from runs.exceptions import Conflict, Invalid, NotFound
from runs.identifiers import is_uuid, new_id, system_assistant_id
from runs.lifecycle import lock_threads
from runs.models import Assistant, AssistantVersion, Cron, Graph, Run, Thread
from runs.models.assistant import AssistantQuerySet
from runs.protocol.requests.assistants import (
    AssistantCount,
    AssistantCreate,
    AssistantPatch,
    AssistantSearch,
    VersionSearch,
)
from runs.services.filters import with_metadata
from runs.services.threads import delete_thread

NOT_FOUND = "Assistant not found."
VERSION_NOT_FOUND = "The assistant has no such version."

#: What a version keeps of an assistant.
_VERSIONED = ("graph_id", "name", "description", "config", "context", "metadata")

_EXAMPLE = uuid.UUID(int=1)
_FIELDS = [field.attname for field in Assistant._meta.concrete_fields]

# Every run asks this.
_assistant = Prepared(
    lambda organization_id, assistant_id: (
        Assistant.objects.for_tenant(Tenant(organization_id, _EXAMPLE, frozenset()))
        .filter(assistant_id=assistant_id)
        .values_list(*_FIELDS, "graph__error")
    ),
    organization_id=uuid.UUID(int=2),
    assistant_id=uuid.UUID(int=3),
)


def get_assistant(tenant: Tenant, name: str) -> Assistant:
    """By its id, or by the id of a graph, which names the system's assistant. Raises NotFound."""
    return _find(tenant, name)[0]


def _find(tenant: Tenant, name: str) -> tuple[Assistant, str]:
    """The assistant, and why its graph can not run, if it can not."""
    assistant_id = _id_of(name)
    row = _assistant.first(organization_id=tenant.organization_id, assistant_id=assistant_id)
    if row is None:
        raise NotFound(NOT_FOUND)
    *values, error = row
    return Assistant.from_db(None, _FIELDS, values), error


def _id_of(name: str) -> uuid.UUID:
    return uuid.UUID(name) if is_uuid(name) else system_assistant_id(name)


def runnable_assistant(tenant: Tenant, name: str) -> Assistant:
    """The assistant that a run is to execute. Raises NotFound for an id, Invalid for a graph that can not run."""
    try:
        assistant, error = _find(tenant, name)
    except NotFound:
        if is_uuid(name):
            raise
        reason = f"must be the id of an assistant, or one of the graphs: {', '.join(_graph_ids())}"
        raise Invalid(("body", "assistant_id"), reason) from None
    if error:
        raise Invalid(("body", "assistant_id"), f"the graph '{assistant.graph_id}' can not run: {error}")
    return assistant


def describable_assistant(tenant: Tenant, name: str) -> Assistant:
    """An assistant whose graph can be looked at. Raises NotFound, and Invalid for a graph that can not be loaded."""
    assistant, error = _find(tenant, name)
    if error:
        raise Invalid(("path", "assistant_id"), f"the graph '{assistant.graph_id}' can not run: {error}")
    return assistant


def _graph_ids() -> list[str]:
    return list(Graph.objects.order_by("graph_id").values_list("graph_id", flat=True))


def _check_graph(graph_id: str) -> None:
    """Raises NotFound. A graph that can not run now may be mended, and its assistants are kept until then."""
    if not Graph.objects.filter(graph_id=graph_id).exists():
        raise NotFound(f"Graph '{graph_id}' not found. Expected one of: {_graph_ids()}")


def search_assistants(tenant: Tenant, query: AssistantSearch) -> list[Assistant]:
    """One more than asked for when there are more."""
    sort = query.sort_by or "created_at"
    columns = list(dict.fromkeys((sort, "assistant_id")))
    own, system = (part.values_list(*columns) for part in _matching(tenant, query))
    # Each part comes in order out of an index; the rows themselves are read for one page only.
    found = own.union(system, all=True).order_by(sort if query.sort_order == "asc" else f"-{sort}", "assistant_id")
    ids = [row[-1] for row in found[query.offset : query.offset + query.limit + 1]]
    # They are the tenant's; asked for whose they are again, SQLite would read all that the organisation has.
    rows = Assistant.objects.in_bulk(ids)
    return [rows[assistant_id] for assistant_id in ids if assistant_id in rows]


def count_assistants(tenant: Tenant, query: AssistantCount) -> int:
    return sum(part.count() for part in _matching(tenant, query))


def _matching(tenant: Tenant, query: AssistantCount | AssistantSearch) -> list[AssistantQuerySet]:
    """The organisation's own and the system's, apart: no index has both in one order."""
    found = Assistant.objects.for_tenant(tenant)
    if query.graph_id:
        found = found.filter(graph_id=query.graph_id)
    if query.name:
        found = found.filter(name__icontains=query.name)
    found = with_metadata(found, query.metadata)
    return [found.filter(organization_id=tenant.organization_id), found.filter(organization=None)]


def create_assistant(tenant: Tenant, body: AssistantCreate) -> Assistant:
    """Its first version. Raises NotFound for an unknown graph, Conflict for an id that is taken, whoever has it."""
    _check_graph(body.graph_id)
    assistant_id = uuid.UUID(body.assistant_id) if body.assistant_id else new_id()
    config, context = body.configuration({}, {})
    fields: dict[str, Any] = {
        "organization_id": tenant.organization_id,
        "owner_id": tenant.user_id,
        "graph_id": body.graph_id,
        "name": body.name or body.graph_id,
        "description": body.description,
        "config": config,
        "context": context,
        "metadata": body.metadata or {},
    }
    try:
        with transaction.atomic():
            made = Assistant.objects.create(assistant_id=assistant_id, **fields)
            _keep_version(made)
            return made
    except IntegrityError:
        existing = Assistant.objects.for_tenant(tenant).filter(assistant_id=assistant_id).first()
        if existing and body.if_exists == "do_nothing":
            return existing
        raise Conflict(f"Assistant {assistant_id} already exists") from None


def patch_assistant(tenant: Tenant, name: str, body: AssistantPatch) -> Assistant:
    """Make a new version, of a number above all others, and make it the current one.

    Raises NotFound, for an unknown graph too, and Conflict for the system's.
    """
    if body.graph_id:
        get_assistant(tenant, name)
        _check_graph(body.graph_id)
    with transaction.atomic():
        assistant = _held(tenant, name)
        assistant.graph_id = body.graph_id or assistant.graph_id
        assistant.name = body.name or assistant.name
        if body.description is not None:
            assistant.description = body.description
        assistant.config, assistant.context = body.configuration(assistant.config, assistant.context)
        assistant.metadata = {**assistant.metadata, **(body.metadata or {})}
        assistant.version = 1 + max(assistant.version, _last_version(assistant))
        assistant.save()
        _keep_version(assistant)
    return assistant


def set_latest_version(tenant: Tenant, name: str, version: int) -> Assistant:
    """Make a version the current one. Raises NotFound, for an unknown version too, and Conflict for the system's."""
    with transaction.atomic():
        assistant = _held(tenant, name)
        kept = AssistantVersion.objects.filter(assistant=assistant, version=version).first()
        if kept is None:
            raise NotFound(VERSION_NOT_FOUND)
        for field in _VERSIONED:
            setattr(assistant, field, getattr(kept, field))
        assistant.version = version
        assistant.save()
    return assistant


def list_versions(tenant: Tenant, name: str, query: VersionSearch) -> list[AssistantVersion]:
    """Newest first. Raises NotFound."""
    assistant = get_assistant(tenant, name)
    if assistant.is_system:
        return _system_versions(assistant, query)
    found = with_metadata(AssistantVersion.objects.filter(assistant=assistant), query.metadata)
    return list(found.order_by("-version")[query.offset : query.offset + query.limit])


def _system_versions(assistant: Assistant, query: VersionSearch) -> list[AssistantVersion]:
    wanted = query.metadata or {}
    fits = all(key in assistant.metadata and assistant.metadata[key] == value for key, value in wanted.items())
    return [_version_of(assistant)] if fits and not query.offset else []


def delete_assistant(tenant: Tenant, name: str, *, delete_threads: bool) -> None:
    """Delete an assistant with its versions and crons; its runs stay.

    `delete_threads`: before it, the caller's own threads that it ran on last; when that breaks off, asking again goes
    on. Raises NotFound, and Conflict for the system's.
    """
    assistant = _own(get_assistant(tenant, name))
    if delete_threads:
        _delete_threads(tenant, assistant)
    with transaction.atomic():
        _let_go(assistant)
        # Whoever makes a run of it meanwhile waits, and then finds none.
        Assistant.objects.for_tenant(tenant).select_for_update().filter(pk=assistant.pk).first()
        deleted, _ = Assistant.objects.for_tenant(tenant).filter(pk=assistant.pk).delete()
    if not deleted:
        raise NotFound(NOT_FOUND)


def _let_go(assistant: Assistant) -> None:
    """Delete its crons, and take it from its runs: before it is held, as whoever holds one of them may wait for it.

    Threads come before their crons and runs, and each kind comes in one order for everybody.
    """
    crons = Cron.objects.filter(assistant=assistant)
    lock_threads(list(crons.exclude(thread=None).values_list("thread_id", flat=True)))
    held = list(crons.order_by("pk").select_for_update().values_list("pk", flat=True))
    Cron.objects.filter(pk__in=held).delete()
    runs = Run.objects.filter(assistant=assistant)
    for _ in runs.order_by("pk").select_for_update(no_key=True).values_list("pk").iterator():
        pass  # Held in this order; an update has none.
    runs.update(assistant=None)


def _delete_threads(tenant: Tenant, assistant: Assistant) -> None:
    threads = Thread.objects.for_tenant(tenant).filter(owner_id=tenant.user_id)
    ran = with_metadata(threads, {"assistant_id": str(assistant.pk)})
    for thread_id in list(ran.values_list("pk", flat=True)):
        with contextlib.suppress(NotFound):  # somebody else was here
            delete_thread(tenant, thread_id)


def _held(tenant: Tenant, name: str) -> Assistant:
    """One of the organisation's own, held until the transaction ends."""
    # Its key does not change: runs of it may be made meanwhile.
    found = Assistant.objects.for_tenant(tenant).select_for_update(no_key=True).filter(pk=_id_of(name)).first()
    if found is None:
        raise NotFound(NOT_FOUND)
    return _own(found)


def _own(assistant: Assistant) -> Assistant:
    if assistant.is_system:
        raise Conflict("The assistant of a graph is the system's and stays as it is; make one of your own.")
    return assistant


def _last_version(assistant: Assistant) -> int:
    last: int | None = AssistantVersion.objects.filter(assistant=assistant).aggregate(last=Max("version"))["last"]
    return last or 0


def _keep_version(assistant: Assistant) -> None:
    _version_of(assistant).save()


def _version_of(assistant: Assistant) -> AssistantVersion:
    fields = {field: getattr(assistant, field) for field in _VERSIONED}
    return AssistantVersion(assistant=assistant, version=assistant.version, created_at=assistant.created_at, **fields)
