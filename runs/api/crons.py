from rest_framework.request import Request
from rest_framework.response import Response

from runs.api import schema
from runs.api.base import ApiViewSet, page
from runs.api.once import once_of
from runs.api.query import body_of, tenant_of
from runs.api.schema import operation
from runs.api.shapes import cron_fields
from runs.protocol.requests.crons import CronCount, CronCreate, CronPatch, CronSearch
from runs.services import crons


class CronViewSet(ApiViewSet):
    required_permissions = {
        "create": "runs:create",
        "create_for_thread": "runs:create",
        "search": "runs:read",
        "count": "runs:read",
        "retrieve": "runs:read",
        "partial_update": "runs:create",
        "destroy": "runs:cancel",
    }

    @operation(
        "create_cron",
        "Start runs by a schedule, each on a thread of its own",
        body=CronCreate,
        answers={200: schema.Cron},
        parameters=[schema.ONCE],
        refusals=[404, 409],
    )
    def create(self, request: Request) -> Response:
        made = crons.create_cron(tenant_of(request), None, body_of(request, CronCreate), once_of(request))
        return Response(cron_fields(made))

    @operation(
        "create_thread_cron",
        "Start runs by a schedule on a thread",
        body=CronCreate,
        answers={200: schema.Cron},
        parameters=[schema.ONCE],
        refusals=[404, 409],
    )
    def create_for_thread(self, request: Request, thread_id: str) -> Response:
        made = crons.create_cron(tenant_of(request), thread_id, body_of(request, CronCreate), once_of(request))
        return Response(cron_fields(made))

    @operation("search_crons", "Find crons", body=CronSearch, answers={200: schema.Crons}, parameters=schema.PAGES)
    def search(self, request: Request) -> Response:
        query = body_of(request, CronSearch)
        return page(crons.search_crons(tenant_of(request), query), query, cron_fields)

    @operation("count_crons", "Count crons", body=CronCount, answers={200: schema.Count})
    def count(self, request: Request) -> Response:
        return Response(crons.count_crons(tenant_of(request), body_of(request, CronCount)))

    @operation("get_cron", "Get a cron", answers={200: schema.Cron}, refusals=[404])
    def retrieve(self, request: Request, cron_id: str) -> Response:
        return Response(cron_fields(crons.get_cron(tenant_of(request), cron_id)))

    @operation("change_cron", "Change a cron", body=CronPatch, answers={200: schema.Cron}, refusals=[404, 409])
    def partial_update(self, request: Request, cron_id: str) -> Response:
        return Response(cron_fields(crons.patch_cron(tenant_of(request), cron_id, body_of(request, CronPatch))))

    @operation("delete_cron", "Delete a cron", answers={204: schema.EMPTY}, refusals=[404])
    def destroy(self, request: Request, cron_id: str) -> Response:
        crons.delete_cron(tenant_of(request), cron_id)
        return Response(status=204)
