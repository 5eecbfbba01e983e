"""The kinds of values in ``results.json``, and three of its smaller parts."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Key = Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")]
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class ReportModel(BaseModel):
    """The base of the schema: frozen; unknown names, NaN and infinity are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class IntervalValue(ReportModel):
    """Two bounds; ``level`` is the share of repetitions whose bounds contain the true value."""

    low: float
    high: float
    level: Share = 0.95

    @model_validator(mode="after")
    def _check_order(self) -> IntervalValue:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self

    def excludes(self, number: float) -> bool:
        """Return whether ``number`` is outside the interval."""
        return not self.low <= number <= self.high


class SpeedRatio(ReportModel):
    """How many times as fast as the teacher in fp32, measured in one run."""

    value: Amount
    interval: IntervalValue


class Estimate(IntervalValue):
    """A number with its interval."""

    value: float


class TeacherNote(ReportModel):
    """A change that was made to a teacher before it was used: a head that was fitted, rows left out."""

    note: Annotated[str, Field(min_length=1)]
    key: Key


class Cost(ReportModel):
    """The cost of a recipe's model: of all its steps, including those shared with other recipes.

    Attributes:
        tokens: all tokens of training.
        wall_s: None where a step was interrupted and resumed, so that its time was not measured whole.
        keys: of the manifests of the steps.
    """

    model: str
    tokens: Count
    wall_s: Amount | None
    keys: tuple[Key, ...]


class StudyDescription(ReportModel):
    """The question that several models were made to answer.

    Attributes:
        question: in one sentence.
        paper: the papers' answer; None where recipes are compared.
        reference: the model that the others are compared with, in addition to the teacher, if any.
    """

    question: str
    paper: str | None
    reference: str | None
