from rest_framework.request import Request
from rest_framework.response import Response

from runs.api import schema
from runs.api.base import ApiViewSet, page
from runs.api.query import body_of, tenant_of
from runs.api.schema import operation
from runs.api.shapes import assistant_fields
from runs.protocol.requests.assistants import AssistantCreate, AssistantSearch
from runs.services import assistants


class AssistantViewSet(ApiViewSet):
    required_permissions = {"search": "threads:read", "retrieve": "threads:read", "create": "threads:write"}

    @operation(
        "search_assistants",
        "Find assistants",
        body=AssistantSearch,
        answers={200: schema.Assistants},
        parameters=schema.PAGES,
    )
    def search(self, request: Request) -> Response:
        query = body_of(request, AssistantSearch)
        return page(assistants.search_assistants(tenant_of(request), query), query, assistant_fields)

    @operation(
        "create_assistant",
        "Make an assistant of a graph",
        body=AssistantCreate,
        answers={200: schema.Assistant},
        refusals=[409],
    )
    def create(self, request: Request) -> Response:
        made = assistants.create_assistant(tenant_of(request), body_of(request, AssistantCreate))
        return Response(assistant_fields(made))

    @operation(
        "get_assistant",
        "Get an assistant by its id, or the system's by the id of its graph",
        answers={200: schema.Assistant},
        refusals=[404],
    )
    def retrieve(self, request: Request, assistant_id: str) -> Response:
        return Response(assistant_fields(assistants.get_assistant(tenant_of(request), assistant_id)))
