"""The types of values in recipes and scales, read from YAML; a wrong value is refused in one line.

PyYAML follows YAML 1.1, in which ``1.6e9`` and ``5e-5`` are strings: every number is read from text too.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from harness.errors import UsageError
from harness.units import parse_count

MOST = 10**15
"""The largest number of tokens, lines, neurons or anything else."""
MOST_SEED = 2**32 - 1
"""The largest seed that every generator of random numbers takes."""
_MOST_DIGITS = 30


def refusal(reason: str) -> PydanticCustomError:
    """Return an error that pydantic passes on, with the place, to `harness.config.load`."""
    return PydanticCustomError("refused", "{reason}", {"reason": reason})


def describe_unknown(kind: str, name: object, known: Iterable[object]) -> str:
    """Return ``unknown key 'losss'; there are: loss, teacher. Did you mean 'loss'?``."""
    names = [str(entry) for entry in known]
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f". Did you mean '{near[0]}'?" if near else ""
    return f"unknown {kind} '{name}'; there are: {', '.join(names) or 'none'}{hint}"


class Strict(BaseModel):
    """A frozen schema that refuses an unknown key and lists the known keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            for key in data:
                if key not in cls.model_fields:
                    raise refusal(describe_unknown("key", key, cls.model_fields))
        elif not isinstance(data, cls):
            raise refusal(
                f"expected keys and values ({', '.join(cls.model_fields)}); got {quote_value(data)}"
            )
        return data


def quote_value(value: object) -> str:
    """Return a value as a message quotes it, cut at 60 letters."""
    try:
        text = "nothing" if value is None else f"'{' '.join(str(value).split())}'"
    except ValueError:  # Python prints no number of more than 4,300 digits
        return "a number of too many digits"
    return text if len(text) <= 60 else f"{text[:56]}…'"


def _count(value: Any) -> int:
    if not isinstance(value, bool | None | list | dict):
        try:
            count = parse_count(value)
        except UsageError:
            count = 0
        if count > MOST:
            raise refusal(f"expected a whole number of at most {MOST:.0e}; got {quote_value(value)}")
        if count >= 1:
            return count
    raise refusal(f"expected a whole number of one or more, as 1600 or 1.6e9; got {quote_value(value)}")


def _number(expected: str, is_valid: Callable[[float], bool]) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number) or not is_valid(number):
            raise refusal(f"expected {expected}; got {quote_value(value)}")
        return number

    return read


@dataclass(frozen=True)
class Ratio:
    """A share written as the paper's own numbers: ``312/768``."""

    kept: int
    of: int

    def __str__(self) -> str:
        return f"{self.kept}/{self.of}"

    def times(self, number: int) -> Fraction:
        """Return the exact share of a number."""
        return Fraction(self.kept * number, self.of)


def nearest(number: Fraction) -> int:
    """Return the nearest whole number; halves are rounded up."""
    return math.floor(number + Fraction(1, 2))


def _ratio(value: Any) -> Ratio:
    if isinstance(value, Ratio):
        return value
    kept, slash, of = quote_value(value).strip("'").replace(" ", "").partition("/")
    digits = (kept + of).isascii() and len(kept + of) <= _MOST_DIGITS
    if not slash or not digits or not kept.isdecimal() or not of.isdecimal() or int(of) == 0:
        raise refusal(f"expected a ratio of whole numbers, as 6/12; got {quote_value(value)}")
    if int(kept) > int(of):
        raise refusal(f"expected a ratio of at most 1; got '{value}', which keeps more than there is")
    return Ratio(int(kept), int(of))


def _ratio_or_count(value: Any) -> Ratio | int:
    return _ratio(value) if isinstance(value, Ratio) or "/" in quote_value(value) else _count(value)


def _seed(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MOST_SEED:
        raise refusal(f"expected a whole number from 0 to {MOST_SEED}; got {quote_value(value)}")
    return value


def _is_positive(number: float) -> bool:
    return 0 < number <= 1e6


def _is_rate(number: float) -> bool:
    return 0 < number <= 1


Count = Annotated[int, BeforeValidator(_count)]
"""A whole number of one or more."""
Seed = Annotated[int, BeforeValidator(_seed)]
Positive = Annotated[float, BeforeValidator(_number("a number above 0, of at most 1e6", _is_positive))]
"""Above 0: seconds, weights, tolerances."""
Rate = Annotated[float, BeforeValidator(_number("a rate above 0, of at most 1, as 5e-5", _is_rate))]
"""A learning rate: AdamW moves every weight by about as much in a step."""
Share = Annotated[float, BeforeValidator(_number("a fraction between 0 and 1, as 0.15", lambda x: 0 < x < 1))]
"""Between 0 and 1, both excluded."""
Portion = Annotated[float, BeforeValidator(_number("a fraction from 0 to below 1", lambda x: 0 <= x < 1))]
"""From 0 to below 1."""
WholeShare = Annotated[float, BeforeValidator(_number("a share above 0, of at most 1, as 0.0005", _is_rate))]
"""Above 0, and at most 1."""
RatioValue = Annotated[Ratio, BeforeValidator(_ratio)]
RatioOrCount = Annotated[Ratio | int, BeforeValidator(_ratio_or_count)]
