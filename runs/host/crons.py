"""Starting the runs of crons that are due: a request that nobody sends, so it goes the way of all others."""

import logging
import uuid
from datetime import datetime

from django.db import DataError, IntegrityError, OperationalError, transaction
from pydantic import ValidationError

from accounts.services import tenant_for
from accounts.tenancy import Tenant
from runs.exceptions import Refusal
from runs.lifecycle import lock_threads
from runs.models import Cron
from runs.protocol.requests.runs import RunRequest
from runs.schedules import next_time
from runs.services.creation import create_run, create_stateless_run

logger = logging.getLogger(__name__)

_BATCH = 100
_NOT_ALLOWED = "Its owner may not start runs in its organization any more."
_NOT_VALID = "What it asks for is not valid any more."


def fire_due(now: datetime) -> int:
    """Start a run of each cron that is due, each in a transaction of its own. Answers how many were started.

    A cron that missed several times starts one run. What somebody else holds is left for the next time, and a run that
    is refused waits for its next time too: none keeps the others waiting.
    """
    due = Cron.objects.filter(next_run_at__lte=now).order_by("next_run_at")
    started = 0
    for cron_id, thread_id, due_at in list(due.values_list("cron_id", "thread_id", "next_run_at")[:_BATCH]):
        try:
            started += _fire(cron_id, thread_id, due_at, now)
        except (OperationalError, IntegrityError) as exc:
            logger.warning("cron %s waits: %s", cron_id, exc)
    return started


@transaction.atomic
def _fire(cron_id: uuid.UUID, thread_id: str | None, due_at: datetime | None, now: datetime) -> bool:
    """Whether a run was started. The thread is held before the cron, as by those who delete it."""
    if thread_id is not None and not lock_threads([thread_id], skip_locked=True):
        return False
    cron = Cron.objects.filter(cron_id=cron_id, next_run_at=due_at).select_for_update(skip_locked=True).first()
    if cron is None:
        return False
    following = next_time(cron.schedule, cron.timezone, after=now, until=cron.end_time)
    if not Cron.objects.filter(cron_id=cron_id, next_run_at=due_at).update(next_run_at=following):
        return False
    if cron.end_time is not None and cron.end_time < now:
        return False
    tenant = tenant_for(cron.owner_id, cron.organization_id) if cron.owner_id else None
    if tenant is None or not tenant.can("runs:create"):
        logger.warning("cron %s is disabled: %s", cron_id, _NOT_ALLOWED)
        Cron.objects.filter(cron_id=cron_id).update(enabled=False, next_run_at=None, error=_NOT_ALLOWED)
        return False
    error = _start(tenant, cron)
    if error != cron.error:
        Cron.objects.filter(cron_id=cron_id).update(error=error)
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
