"""Arithmetic for a tool that strangers feed: no names, no calls, and bounded in size at each step."""

import ast
import math
import operator
import unicodedata
from collections.abc import Callable

Number = int | float

#: No expression is longer, and no whole number on the way to the result has more bits.
MAX_LENGTH = 200
MAX_BITS = 4096

SPELLINGS = str.maketrans({"\u00d7": "*", "\u00f7": "/", "\u2212": "-", "^": "**"})


class CalculationError(Exception):
    """The expression has no value; the message says why."""


def evaluate(expression: str) -> Number:
    """Return the value of numbers joined by + - * / // % ** and brackets, some in other spellings.

    Raises CalculationError.
    """
    if len(expression) > MAX_LENGTH:
        raise CalculationError(f"the expression is longer than {MAX_LENGTH} characters")
    try:
        tree = ast.parse(unicodedata.normalize("NFKC", expression).translate(SPELLINGS).strip(), mode="eval")
        return _value(tree.body)
    except (SyntaxError, ValueError) as exc:
        raise CalculationError("that is not arithmetic") from exc
    except ZeroDivisionError as exc:
        raise CalculationError("division by zero") from exc
    except OverflowError as exc:
        raise CalculationError("the result is too large") from exc


def _value(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return _bounded(value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return _bounded(OPERATORS[type(op)](_value(left), _value(right)))
    raise CalculationError("that is not arithmetic")


def _power(base: Number, exponent: Number) -> Number:
    # Whole numbers are computed to the last digit, so a result that is too long is refused beforehand.
    whole = isinstance(base, int) and isinstance(exponent, int) and abs(base) > 1
    if whole and abs(exponent) * math.log2(abs(base)) > MAX_BITS:
        raise OverflowError
    return operator.pow(base, exponent)  # type: ignore[no-any-return]


def _bounded(value: Number | complex) -> Number:
    if isinstance(value, complex):
        raise CalculationError("the result is not a real number")
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise OverflowError
    if isinstance(value, float) and not math.isfinite(value):
        raise OverflowError
    return value


OPERATORS: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
