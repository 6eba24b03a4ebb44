from rest_framework.request import Request
from rest_framework.response import Response

from runs.api import schema
from runs.api.base import ApiViewSet, page
from runs.api.query import body_of, demand, depth, flag, tenant_of
from runs.api.schema import operation
from runs.api.shapes import assistant_fields, version_fields
from runs.protocol.requests.assistants import (
    AssistantCount,
    AssistantCreate,
    AssistantPatch,
    AssistantSearch,
    VersionChoice,
    VersionSearch,
)
from runs.services import assistants, graphs


class AssistantViewSet(ApiViewSet):
    required_permissions = {
        "search": "threads:read",
        "count": "threads:read",
        "retrieve": "threads:read",
        "versions": "threads:read",
        "create": "threads:write",
        "partial_update": "threads:write",
        "destroy": "threads:write",
        "set_latest": "threads:write",
    }

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

    @operation("count_assistants", "Count assistants", body=AssistantCount, answers={200: schema.Count})
    def count(self, request: Request) -> Response:
        return Response(assistants.count_assistants(tenant_of(request), body_of(request, AssistantCount)))

    @operation(
        "create_assistant",
        "Make an assistant of a graph",
        body=AssistantCreate,
        answers={200: schema.Assistant},
        refusals=[404, 409],
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

    @operation(
        "patch_assistant",
        "Make a new version of an assistant",
        body=AssistantPatch,
        answers={200: schema.Assistant},
        refusals=[404, 409],
    )
    def partial_update(self, request: Request, assistant_id: str) -> Response:
        body = body_of(request, AssistantPatch)
        return Response(assistant_fields(assistants.patch_assistant(tenant_of(request), assistant_id, body)))

    @operation(
        "delete_assistant",
        "Delete an assistant with its versions",
        answers={204: schema.EMPTY},
        parameters=[schema.DELETE_THREADS],
        refusals=[404, 409],
    )
    def destroy(self, request: Request, assistant_id: str) -> Response:
        tenant = tenant_of(request)
        if delete_threads := flag(request, "delete_threads"):
            demand(tenant, "threads:delete")
        assistants.delete_assistant(tenant, assistant_id, delete_threads=delete_threads)
        return Response(status=204)

    @operation(
        "search_assistant_versions",
        "List the versions of an assistant, newest first",
        body=VersionSearch,
        answers={200: schema.AssistantVersions},
        refusals=[404],
    )
    def versions(self, request: Request, assistant_id: str) -> Response:
        query = body_of(request, VersionSearch)
        found = assistants.list_versions(tenant_of(request), assistant_id, query)
        return Response([version_fields(version) for version in found])

    @operation(
        "set_latest_assistant_version",
        "Make a version of an assistant the current one",
        body=VersionChoice,
        answers={200: schema.Assistant},
        refusals=[404, 409],
    )
    def set_latest(self, request: Request, assistant_id: str) -> Response:
        version = body_of(request, VersionChoice).version
        return Response(assistant_fields(assistants.set_latest_version(tenant_of(request), assistant_id, version)))


class GraphViewSet(ApiViewSet):
    """What the graph of an assistant looks like."""

    required_permissions = {
        "drawing": "threads:read",
        "schemas": "threads:read",
        "subgraphs": "threads:read",
        "subgraph": "threads:read",
    }

    @operation(
        "get_assistant_graph",
        "Get the nodes and edges of an assistant's graph",
        answers={200: schema.Drawing},
        parameters=[schema.XRAY],
        refusals=[404, 422],
    )
    def drawing(self, request: Request, assistant_id: str) -> Response:
        return Response(graphs.get_graph(tenant_of(request), assistant_id, xray=depth(request, "xray")))

    @operation(
        "get_assistant_schemas",
        "Get the schemas of what an assistant's graph takes and gives",
        answers={200: schema.GraphSchemas},
        refusals=[404, 422],
    )
    def schemas(self, request: Request, assistant_id: str) -> Response:
        return Response(graphs.get_schemas(tenant_of(request), assistant_id))

    @operation(
        "get_assistant_subgraphs",
        "Get the schemas of the subgraphs of an assistant's graph",
        answers={200: schema.Subgraphs},
        parameters=[schema.RECURSE],
        refusals=[404, 422],
    )
    def subgraphs(self, request: Request, assistant_id: str) -> Response:
        recurse = flag(request, "recurse")
        return Response(graphs.get_subgraphs(tenant_of(request), assistant_id, namespace=None, recurse=recurse))

    @operation(
        "get_assistant_subgraph",
        "Get the schemas of the subgraph that has this namespace",
        answers={200: schema.Subgraphs},
        parameters=[schema.RECURSE],
        refusals=[404, 422],
    )
    def subgraph(self, request: Request, assistant_id: str, namespace: str) -> Response:
        recurse = flag(request, "recurse")
        return Response(graphs.get_subgraphs(tenant_of(request), assistant_id, namespace=namespace, recurse=recurse))
