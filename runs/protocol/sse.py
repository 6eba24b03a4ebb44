"""Server-Sent Events as bytes."""

#: A comment that keeps the connection alive.
HEARTBEAT = b": heartbeat\r\n\r\n"

CONTENT_TYPE = "text/event-stream"


def frame(event: str, data: bytes, seq: int | None = None) -> bytes:
    """One event. `data` is JSON, which holds no raw line break; `event` comes from a fixed set of names."""
    if seq is None:
        return b"event: %b\r\ndata: %b\r\n\r\n" % (event.encode(), data)
    return b"event: %b\r\ndata: %b\r\nid: %d\r\n\r\n" % (event.encode(), data, seq)
