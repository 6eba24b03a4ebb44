"""Assistants: the system's, one for each graph, and an organisation's own."""

import uuid
from typing import Any

from django.db import IntegrityError, transaction

from accounts.prepared import Prepared
from accounts.tenancy import Tenant
from runs.exceptions import Conflict, Invalid, NotFound
from runs.identifiers import is_uuid, new_id, system_assistant_id
from runs.models import Assistant, Graph
from runs.protocol.requests.assistants import AssistantCreate, AssistantSearch
from runs.services.filters import with_metadata

NOT_FOUND = "Assistant not found."

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
    assistant_id = uuid.UUID(name) if is_uuid(name) else system_assistant_id(name)
    row = _assistant.first(organization_id=tenant.organization_id, assistant_id=assistant_id)
    if row is None:
        raise NotFound(NOT_FOUND)
    *values, error = row
    return Assistant.from_db(None, _FIELDS, values), error


def runnable_assistant(tenant: Tenant, name: str) -> Assistant:
    """The assistant that a run is to execute. Raises NotFound for an id, Invalid for a graph that can not run."""
    try:
        assistant, error = _find(tenant, name)
    except NotFound:
        if is_uuid(name):
            raise
        graphs = ", ".join(Graph.objects.order_by("graph_id").values_list("graph_id", flat=True))
        reason = f"must be the id of an assistant, or one of the graphs: {graphs}"
        raise Invalid(("body", "assistant_id"), reason) from None
    if error:
        raise Invalid(("body", "assistant_id"), f"the graph '{assistant.graph_id}' can not run: {error}")
    return assistant


def search_assistants(tenant: Tenant, query: AssistantSearch) -> list[Assistant]:
    """One more than asked for when there are more."""
    found = Assistant.objects.for_tenant(tenant)
    if query.graph_id:
        found = found.filter(graph_id=query.graph_id)
    if query.name:
        found = found.filter(name__icontains=query.name)
    found = with_metadata(found, query.metadata)
    order = query.sort_by or "created_at"
    found = found.order_by(order if query.sort_order == "asc" else f"-{order}", "assistant_id")
    return list(found[query.offset : query.offset + query.limit + 1])


def create_assistant(tenant: Tenant, body: AssistantCreate) -> Assistant:
    """Raises Invalid for an unknown graph, Conflict for an id that is taken."""
    if not Graph.objects.filter(graph_id=body.graph_id).exists():
        raise Invalid(("body", "graph_id"), f"Graph '{body.graph_id}' not found.")
    assistant_id = uuid.UUID(body.assistant_id) if body.assistant_id else new_id()
    fields: dict[str, Any] = {
        "organization_id": tenant.organization_id,
        "owner_id": tenant.user_id,
        "graph_id": body.graph_id,
        "name": body.name or body.graph_id,
        "description": body.description,
        "config": body.config.model_dump(exclude_none=True) if body.config else {},
        "context": body.context or {},
        "metadata": body.metadata or {},
    }
    try:
        with transaction.atomic():
            return Assistant.objects.create(assistant_id=assistant_id, **fields)
    except IntegrityError:
        existing = Assistant.objects.for_tenant(tenant).filter(assistant_id=assistant_id).first()
        if existing and body.if_exists == "do_nothing":
            return existing
        raise Conflict(f"Assistant {assistant_id} already exists.") from None
