"""PostgreSQL as Django has it, but for a database that is away.

Whoever asks the pool for a connection then waits some seconds in vain. One at a time finds that out; the others are
refused at once, so that a server's few threads answer everybody.
"""

import threading
import time
from typing import Any

from django.db.backends.postgresql import base
from django.db.utils import OperationalError

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


class DatabaseWrapper(base.DatabaseWrapper):
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
