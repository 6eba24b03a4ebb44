from rest_framework.request import Request
from rest_framework.response import Response

from runs.api.base import ApiViewSet, page
from runs.api.query import body_of, tenant_of
from runs.api.shapes import assistant_fields
from runs.protocol.requests import AssistantCreate, AssistantSearch
from runs.services import assistants


class AssistantViewSet(ApiViewSet):
    required_permissions = {"search": "threads:read", "retrieve": "threads:read", "create": "threads:write"}

    def search(self, request: Request) -> Response:
        query = body_of(request, AssistantSearch)
        return page(assistants.search_assistants(tenant_of(request), query), query, assistant_fields)

    def create(self, request: Request) -> Response:
        made = assistants.create_assistant(tenant_of(request), body_of(request, AssistantCreate))
        return Response(assistant_fields(made))

    def retrieve(self, request: Request, assistant_id: str) -> Response:
        return Response(assistant_fields(assistants.get_assistant(tenant_of(request), assistant_id)))
