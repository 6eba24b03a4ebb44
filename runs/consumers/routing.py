"""The WebSockets of the API, by their paths. Served by the site at the root and under /api."""

from runs.consumers.thread import ThreadConsumer

SOCKETS = {r"threads/(?P<thread_id>[^/]+)/stream/events": ThreadConsumer.as_asgi()}
