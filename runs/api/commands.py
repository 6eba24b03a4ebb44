from rest_framework.request import Request
from rest_framework.response import Response

from runs.api import schema
from runs.api.base import ApiViewSet
from runs.api.once import once_of
from runs.api.query import tenant_of
from runs.api.schema import operation
from runs.protocol.commands import Command, CommandFailed, CommandMalformed, ErrorCode, failure, parse, success
from runs.services.commands import perform


class CommandViewSet(ApiViewSet):
    """The Agent Streaming Protocol, without a socket."""

    #: Some commands need more.
    required_permissions = {"perform": "threads:read"}

    @operation(
        "perform_command",
        "Perform a command of the Agent Streaming Protocol",
        body=Command,
        answers={200: schema.CommandAnswer, 400: schema.CommandRefusal},
        parameters=[schema.ONCE],
    )
    def perform(self, request: Request, thread_id: str) -> Response:
        try:
            command = parse(request.data)
        except CommandMalformed as exc:
            return Response(failure(exc.id, ErrorCode.INVALID_ARGUMENT, exc.message), 400)
        # The number of a command is its sender's, who may have begun to count anew.
        once = once_of(request, [command.method, command.params])
        try:
            return Response(success(command.id, perform(tenant_of(request), thread_id, command, once)))
        except CommandFailed as exc:
            return Response(failure(command.id, exc.code, exc.message))
