"""What threads take up, and taking it back."""

from contextlib import suppress

from django.db import transaction

from accounts.tenancy import Tenant
from runs import lifecycle
from runs.exceptions import Conflict, Invalid, NotFound
from runs.lifecycle import ThreadBusy
from runs.protocol.requests.threads import ThreadPrune
from runs.services.questions import ask
from runs.services.threads import delete_thread, get_thread, hold_thread


def prune_threads(tenant: Tenant, body: ThreadPrune) -> int:
    """Delete these threads, or all but the latest state of each; answers how many.

    What is not the tenant's is passed over, and so are, unless they are deleted, busy threads and those whose latest
    state needs all before it. Raises Unavailable, when some may be done already.
    """
    prune = delete_thread if body.strategy == "delete" else _keep_latest
    pruned = 0
    for thread_id in dict.fromkeys(body.thread_ids):
        with suppress(NotFound, Conflict, Invalid):
            prune(tenant, thread_id)
            pruned += 1
    return pruned


def _keep_latest(tenant: Tenant, thread_id: str) -> None:
    try:
        with transaction.atomic():
            position = lifecycle.reserve_position(hold_thread(tenant, thread_id))
    except ThreadBusy as exc:
        raise Conflict(str(exc)) from exc
    thread = get_thread(tenant, thread_id)
    ask("keep_latest", tenant, thread.graph_id, thread_id=thread.pk, position=position)


def storage_of(tenant: Tenant, thread_id: str) -> bytes:
    """How many checkpoints, values and pending writes there are, and how large, as JSON.

    Raises NotFound, Unavailable.
    """
    thread = get_thread(tenant, thread_id)
    return ask("storage", tenant, thread.graph_id, thread_id=thread.pk)
