"""What the server tells every program about itself: that it is there, and what it can do."""

from importlib.metadata import version
from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from runs.api.schema import Shape
from runs.api.wire import Negotiation


class Health(Shape):
    ok: bool


class Flags(Shape):
    assistants: bool
    crons: bool
    langsmith: bool
    strict_resume: bool


class Host(Shape):
    kind: str


class Info(Shape):
    """No more than clients ask for: not what else runs here, nor in which versions."""

    version: str
    langgraph_py_version: str
    flags: Flags
    host: Host


INFO = Info(
    version=settings.VERSION,
    langgraph_py_version=version("langgraph"),
    flags=Flags(assistants=True, crons=True, langsmith=False, strict_resume=True),
    host=Host(kind="self-hosted"),
)


class OpenView(APIView):
    """For everybody, whatever credentials they send."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    content_negotiation_class = Negotiation

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        answer = super().finalize_response(request, response, *args, **kwargs)
        answer.headers.setdefault("Cache-Control", "no-store")
        return answer


class HealthView(OpenView):
    @extend_schema(operation_id="get_health", summary="Whether the server answers", responses=Health, auth=[])
    def get(self, request: Request) -> Response:
        return Response({"ok": True})


class InfoView(OpenView):
    @extend_schema(operation_id="get_info", summary="What the server is and can do", responses=Info, auth=[])
    def get(self, request: Request) -> Response:
        return Response(INFO.model_dump())
