"""The site's PostgreSQL for those who speak to it without Django."""

from typing import Any

import psycopg
from django.db import InterfaceError, OperationalError, connection

#: Classes of errors after which the same work may succeed: a connection that is lost or in the wrong state, a
#: transaction that met another one, a resource that is short for a while, a server that stops or starts.
_TRANSIENT_CLASSES = ("08", "25", "40", "53", "55", "57", "58")


def connection_parameters(purpose: str) -> dict[str, Any]:
    """psycopg's keywords for a connection of one's own; `purpose` is seen in the database's list of connections."""
    parameters: dict[str, Any] = dict(connection.get_connection_params())
    for django_s in ("cursor_factory", "context", "prepare_threshold"):
        parameters.pop(django_s, None)
    # Planning these statements costs more than running them.
    return {**parameters, "application_name": f"deerflow {purpose}", "prepare_threshold": 2}


def is_transient(error: BaseException) -> bool:
    """Whether PostgreSQL, or Django on its behalf, may take the same work later."""
    found = error if isinstance(error, psycopg.Error) else error.__cause__
    if not isinstance(found, psycopg.Error):
        return isinstance(error, OperationalError | InterfaceError)
    if found.sqlstate is None:
        return isinstance(found, psycopg.OperationalError | psycopg.InterfaceError)
    return found.sqlstate.startswith(_TRANSIENT_CLASSES)
