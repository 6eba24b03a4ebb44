"""Starting the runs of crons that are due: a request that nobody sends, so it goes the way of all others."""

import contextlib
import logging
import uuid
from collections import Counter
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db import DataError, Error, transaction
from pydantic import ValidationError

from accounts.services import tenant_for
from accounts.tenancy import Tenant
from runs.exceptions import Refusal
from runs.lifecycle import lock_threads
from runs.models import Cron
from runs.models.cron import CronQuerySet
from runs.protocol.requests.runs import RunRequest
from runs.schedules import next_time
from runs.services.creation import create_run, create_stateless_run

logger = logging.getLogger(__name__)

_BATCH = 100
#: Of each organization in one tick: nobody waits for all that another one has due.
_PER_ORGANIZATION = 10
#: For how long a cron is put off that the database failed: no longer, as its time has come.
_PUT_OFF = timedelta(seconds=5)
_NOT_ALLOWED = "Its owner may not start runs in its organization any more."
_NOT_VALID = "What it asks for is not valid any more."
_FAILED = "The server failed to start its run."
_NO_TIME = "Its schedule or its time zone can not be read any more."


class _Due(NamedTuple):
    cron_id: uuid.UUID
    organization_id: uuid.UUID
    thread_id: str | None
    due_at: datetime | None


def fire_due(now: datetime) -> int:
    """Start a run of each cron that is due, each in a transaction of its own. Answers how many were started.

    A cron that missed several times starts one run. What somebody else holds is left for the next time, and a run that
    is refused or fails waits for its next time too: none keeps the others waiting.
    """
    started = 0
    for due in _due(now):
        try:
            started += _fire(due, now)
        except Error as exc:
            logger.warning("cron %s waits: %s", due.cron_id, exc)
            _at(due).update(next_run_at=now + _PUT_OFF)
        except Exception:  # Whatever one of them holds, those of all others are still to come.
            logger.exception("cron %s failed", due.cron_id)
            _pass_over(due, now)
    return started


def _due(now: datetime) -> list[_Due]:
    """Longest due first; a few of each organization."""
    chosen: list[_Due] = []
    counts: Counter[uuid.UUID] = Counter()
    while len(chosen) < _BATCH:
        full = [organization_id for organization_id, count in counts.items() if count >= _PER_ORGANIZATION]
        left = Cron.objects.filter(next_run_at__lte=now).exclude(organization_id__in=full)
        rows = left.exclude(pk__in=[due.cron_id for due in chosen]).order_by("next_run_at")[:_BATCH]
        found = [_Due(*row) for row in rows.values_list("cron_id", "organization_id", "thread_id", "next_run_at")]
        before = len(chosen)
        for due in found:
            if len(chosen) < _BATCH and counts[due.organization_id] < _PER_ORGANIZATION:
                counts[due.organization_id] += 1
                chosen.append(due)
        if len(found) < _BATCH or len(chosen) == before:
            break
    return chosen


def _at(due: _Due) -> CronQuerySet:
    """The cron, as long as nobody has moved its time."""
    return Cron.objects.filter(cron_id=due.cron_id, next_run_at=due.due_at)


def _pass_over(due: _Due, now: datetime) -> None:
    """Leave this run out; the cron is disabled when nobody can tell when the next one is due."""
    if (cron := _at(due).first()) is None:
        return
    with contextlib.suppress(Exception):
        following = next_time(cron.schedule, cron.timezone, after=now, until=cron.end_time)
        _at(due).update(next_run_at=following, error=_FAILED)
        return
    _at(due).update(enabled=False, next_run_at=None, error=_NO_TIME)


@transaction.atomic
def _fire(due: _Due, now: datetime) -> bool:
    """Whether a run was started. The thread is held before the cron, as by those who delete it."""
    if due.thread_id is not None and not lock_threads([due.thread_id], skip_locked=True):
        return False
    cron = _at(due).select_for_update(skip_locked=True).first()
    if cron is None:
        return False
    following = next_time(cron.schedule, cron.timezone, after=now, until=cron.end_time)
    if not _at(due).update(next_run_at=following):
        return False
    if cron.end_time is not None and cron.end_time < now:
        return False
    tenant = tenant_for(cron.owner_id, cron.organization_id) if cron.owner_id else None
    if tenant is None or not tenant.can("runs:create"):
        logger.warning("cron %s is disabled: %s", cron.pk, _NOT_ALLOWED)
        Cron.objects.filter(pk=cron.pk).update(enabled=False, next_run_at=None, error=_NOT_ALLOWED)
        return False
    error = _start(tenant, cron)
    if error != cron.error:
        Cron.objects.filter(pk=cron.pk).update(error=error)
    return not error


def _start(tenant: Tenant, cron: Cron) -> str:
    """Start a run in the caller's transaction; answers why there is none, if there is none."""
    try:
        with transaction.atomic():
            _create(tenant, cron)
    except Refusal as exc:
        error = exc.detail
    except (ValidationError, DataError):
        error = _NOT_VALID
    else:
        return ""
    logger.warning("cron %s started no run: %s", cron.cron_id, error)
    return error


def _create(tenant: Tenant, cron: Cron) -> None:
    # Nobody is there who could leave.
    request = {**cron.request(), "on_disconnect": "continue"}
    if cron.thread_id is not None:
        create_run(tenant, cron.thread_id, RunRequest.model_validate({**request, "if_not_exists": "reject"}))
    else:
        body = RunRequest.model_validate({**request, "on_completion": cron.on_run_completed})
        create_stateless_run(tenant, body)
