"""Cutting a stream that comes in pieces into its frames."""

import re

from tests.faults.history import Frame

_END = b"\r\n\r\n"
_ID = re.compile(rb"^id: (\d+)\r?$", re.MULTILINE)
_NAME = re.compile(rb"^event: (.*?)\r?$", re.MULTILINE)


class FrameReader:
    """The whole frames of one connection; what it was cut in the middle of is nobody's."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[Frame]:
        """The frames that this piece completes, without the comments that keep connections alive."""
        *whole, self._rest = (self._rest + piece).split(_END)
        return [_frame(text) for text in whole if not text.startswith(b":")]


def _frame(text: bytes) -> Frame:
    number, name = _ID.search(text), _NAME.search(text)
    return Frame(int(number[1]) if number else None, name[1].decode() if name else "", text)
