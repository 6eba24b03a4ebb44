"""Values as the database driver takes them, for statements that are written out by hand."""

import uuid
from datetime import datetime
from typing import Any

from django.db import connection


def adapted_id(value: uuid.UUID) -> Any:
    return value if connection.features.has_native_uuid_field else value.hex


def adapted_time(value: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(value)
