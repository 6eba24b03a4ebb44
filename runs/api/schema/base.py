"""What all shapes of answers are, and those of refusals."""

from pydantic import BaseModel, ConfigDict, RootModel


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FieldProblem(Shape):
    loc: list[str | int]
    msg: str
    type: str


class Problem(Shape):
    detail: str | list[FieldProblem]


class Count(RootModel[int]):
    """How many there are."""
