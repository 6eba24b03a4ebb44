"""What the server serves."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "deerflow_site.settings")
django.setup()

from channels.routing import ProtocolTypeRouter  # noqa: E402  needs the settings

from deerflow_site.handler import ASGIHandler  # noqa: E402
from deerflow_site.handshake import sockets  # noqa: E402
from deerflow_site.health import Health  # noqa: E402

health = Health(ASGIHandler())
application = ProtocolTypeRouter({"http": health, "websocket": sockets})
