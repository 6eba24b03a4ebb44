"""PostgreSQL as Django has it, but for a database that is away.

Whoever asks the pool for a connection then waits some seconds in vain. One at a time finds that out; the others are
refused at once, so that a server's few threads answer everybody.
"""

import math
import threading
import time
from typing import Any
from weakref import WeakKeyDictionary

from django.db.backends.postgresql import base
from django.db.utils import OperationalError
from psycopg_pool import ConnectionPool

#: How long after a failure nobody else tries.
_PAUSE_SECONDS = 1.0


class _Outage:
    """What this process knows of the database's absence."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed_at: float | None = None
        self._asking = False

    def may_try(self) -> bool:
        """True for everybody while the database answers, and for one at a time after a pause when it does not."""
        with self._lock:
            if self._failed_at is None:
                return True
            if self._asking or time.monotonic() - self._failed_at < _PAUSE_SECONDS:
                return False
            self._asking = True
            return True

    def tell(self, *, answered: bool) -> None:
        with self._lock:
            self._failed_at = None if answered else time.monotonic()
            self._asking = False


_outage = _Outage()

#: A connection that was in use so lately is taken for alive.
_FRESH_SECONDS = 1.0


class _Checks:
    """When each connection of a pool was last found alive: asking before every request would cost a fifth of it."""

    def __init__(self) -> None:
        self._seen: WeakKeyDictionary[Any, float] = WeakKeyDictionary()

    def __call__(self, connection: Any) -> None:
        now = time.monotonic()
        if now - self._seen.get(connection, -math.inf) > _FRESH_SECONDS:
            ConnectionPool.check_connection(connection)
        self._seen[connection] = now


class DatabaseWrapper(base.DatabaseWrapper):
    @property
    def pool(self) -> Any:
        """Django's pool, whose connections are asked whether they live only after a rest."""
        pool = super().pool
        if pool is not None and not isinstance(pool._check, _Checks):
            pool._check = _Checks()
        return pool

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        if not _outage.may_try():
            raise OperationalError("the database does not answer")
        answered = False
        try:
            connection = super().get_new_connection(conn_params)
            answered = True
        finally:
            _outage.tell(answered=answered)
        return connection
