import pytest
from django.conf import LazySettings

from accounts.models import User
from accounts.tenancy import Tenant
from runs.api import access
from runs.api import feed as feed_module
from runs.log import hub as hub_module
from runs.models import Run
from runs.states import RunStatus
from tests.factories import make_run, tenant_of
from tests.fakes import LAYERS
from tests.runs.feeds import NEVER


@pytest.fixture
def tenant(alice: User, acme: object) -> Tenant:
    return tenant_of(alice)


@pytest.fixture
def run(tenant: Tenant) -> Run:
    return make_run(tenant, status=RunStatus.RUNNING)


@pytest.fixture
def layer(request: pytest.FixtureRequest, settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """How the doorbell rings. Where it rings every time, nobody looks without having heard it."""
    name = getattr(request, "param", "live")
    settings.CHANNEL_LAYERS = {"default": LAYERS[name]}
    settings.STREAM_HEARTBEAT = NEVER
    for module in (hub_module, access, feed_module):
        monkeypatch.setattr(module, "POLL_SECONDS", NEVER if name == "live" else 0.01)
    monkeypatch.setattr("runs.api.access.ACCESS_SECONDS", NEVER)
    monkeypatch.setattr("runs.api.access._LOOK_SECONDS", 0.001)
