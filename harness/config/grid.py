"""A grid: languages × recipes × scales × seeds, of which each combination is a run."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import NamedTuple

from pydantic import Field, NonNegativeInt, model_validator

from harness.config.load import read_checked
from harness.config.values import Strict, refusal
from harness.errors import UsageError


class Cell(NamedTuple):
    """One run of a grid; without a seed it has the scale's own."""

    language: str
    recipe: str
    scale: str
    seed: int | None

    def __str__(self) -> str:
        seed = "" if self.seed is None else f" seed {self.seed}"
        return f"{self.language} {self.recipe} {self.scale}{seed}"


class Exclusion(Strict):
    """The cells that are left out: those that equal every value that is given."""

    language: str | None = None
    recipe: str | None = None
    scale: str | None = None
    seed: NonNegativeInt | None = None

    def covers(self, cell: Cell) -> bool:
        """Return whether a cell is left out."""
        return all(value is None or value == getattr(cell, name) for name, value in self)


class Grid(Strict):
    """What `harness grid` runs: the cells, and the options that all of them share.

    Attributes:
        name: of the file.
        languages: codes.
        recipes: names, ``NAME@VARIANT``, or YAML files.
        scales: names or YAML files.
        seeds: of everything that is drawn but the scores; none: each scale's own.
        data: data folder with text and tasks; None: the scale's source.
        teacher: a model's folder, or a hub id; None: the scale's.
        tasks: to score; none: the scale's.
        exclude: combinations that are left out.
    """

    name: str
    languages: tuple[str, ...] = Field(min_length=1)
    recipes: tuple[str, ...] = Field(min_length=1)
    scales: tuple[str, ...] = Field(default=("mini",), min_length=1)
    seeds: tuple[NonNegativeInt, ...] = ()
    data: str | None = None
    teacher: str | None = None
    tasks: tuple[str, ...] = ()
    exclude: tuple[Exclusion, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Grid:
        whole = self._combine()
        for place, exclusion in enumerate(self.exclude):
            if not any(map(exclusion.covers, whole)):
                raise refusal(f"exclude[{place}]: expected values of a cell; no cell has them; correct them")
        if not self.cells:
            raise refusal("expected at least one cell; exclude leaves out all of them; shorten it")
        return self

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The runs of the grid, each once; those that share a language are apart, since they share stages."""
        return tuple(one for one in self._combine() if not any(out.covers(one) for out in self.exclude))

    def _combine(self) -> tuple[Cell, ...]:
        axes = product(self.scales, self.seeds or (None,), self.recipes, self.languages)
        cells = (Cell(language, recipe, scale, seed) for scale, seed, recipe, language in axes)
        return tuple(dict.fromkeys(cells))


def load_grid(path: Path) -> Grid:
    """Read a grid from a YAML file.

    Raises:
        UsageError: there is no such file, or it is wrong.
    """
    if not path.is_file() or path.suffix not in {".yaml", ".yml"}:
        raise UsageError(f"{path}: expected the YAML file of a grid; there is none; name one, as grid.yaml")
    return read_checked("grid", str(path), [], Grid, "")
