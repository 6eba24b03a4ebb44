"""The site's PostgreSQL for those who speak to it without Django."""

from typing import Any

from django.db import connection


def connection_parameters(purpose: str) -> dict[str, Any]:
    """psycopg's keywords for a connection of one's own; `purpose` is seen in the database's list of connections."""
    parameters: dict[str, Any] = dict(connection.get_connection_params())
    for django_s in ("cursor_factory", "context", "prepare_threshold"):
        parameters.pop(django_s, None)
    # Planning these statements costs more than running them.
    return {**parameters, "application_name": f"deerflow {purpose}", "prepare_threshold": 2}
