"""What services refuse, in words for the caller.

Refusal
├── Forbidden     403  seen by the tenant, but not theirs to do
├── NotFound      404  no such thing, or not the tenant's: the same words for both
├── Conflict      409  not in this state
├── Invalid       422  names the field
└── Unavailable   503  worth trying again
"""


class Refusal(Exception):
    """The request can not be served. `detail` is for the caller."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Forbidden(Refusal):
    pass


class NotFound(Refusal):
    pass


class Conflict(Refusal):
    pass


class Invalid(Refusal):
    """`loc` is the path of the field that is wrong."""

    def __init__(self, loc: tuple[str | int, ...], detail: str) -> None:
        super().__init__(detail)
        self.loc = loc


class Unavailable(Refusal):
    pass
