"""Grids: their cells, and what is refused."""

from __future__ import annotations

import pytest

from harness.config.grid import Cell, load_grid
from harness.errors import UsageError


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a grid's file."""

    def write(text):
        (tmp_path / "grid.yaml").write_text(text)
        return tmp_path / "grid.yaml"

    return write


def test_cells_are_all_combinations_once_without_the_excluded(write):
    grid = load_grid(
        write(
            "languages: [mt, sw, mt]\nrecipes: [a, b]\nscales: [mini, small]\nseeds: [1, 2]\n"
            "exclude: [{language: sw, recipe: b}, {scale: small, seed: 2}]\n"
        )
    )
    cells = grid.cells
    assert len(cells) == len(set(cells)) == 9
    assert cells[:3] == (Cell("mt", "a", "mini", 1), Cell("sw", "a", "mini", 1), Cell("mt", "b", "mini", 1))
    assert not [cell for cell in cells if (cell.language, cell.recipe) == ("sw", "b")]
    assert str(cells[0]) == "mt a mini seed 1"


def test_scales_and_seeds_have_defaults(write):
    assert load_grid(write("languages: [mt]\nrecipes: [a]\n")).cells == (Cell("mt", "a", "mini", None),)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("languages: []\nrecipes: [a]", "grid.yaml: languages: expected a list with at least one entry"),
        ("languages: [mt]", "grid.yaml: lacks the key 'recipes'; add it"),
        ("languages: [no]\nrecipes: [a]", "grid.yaml: languages[0]: expected text; got 'False'"),
        ("languages: [mt]\nrecipes: [a]\nseeds: [-1]", "grid.yaml: seeds[0]: "),
        ("languages: [mt]\nrecipes: [a]\nseed: [1]", "grid.yaml: unknown key 'seed'; there are: "),
        ("languages: [mt]\nrecipes: [a]\nexclude: [{}]", "grid.yaml: expected at least one cell; exclude"),
        (
            "languages: [mt]\nrecipes: [a]\nexclude: [{language: sk}]",
            "grid.yaml: exclude[0]: expected values",
        ),
        ("[]", "grid.yaml: expected keys and values"),
    ],
)
def test_wrong_grid_is_one_line(text, line, write):
    with pytest.raises(UsageError) as caught:
        load_grid(write(text))
    assert str(caught.value).startswith(line)


def test_missing_grid_is_one_line(tmp_path):
    with pytest.raises(UsageError, match=r"gone.yaml: expected the YAML file of a grid; there is none"):
        load_grid(tmp_path / "gone.yaml")


def test_grid_of_many_cells_is_listed_at_once(write):
    languages = ", ".join(f"l{number}" for number in range(200))
    recipes = ", ".join(f"r{number}" for number in range(13))
    assert len(load_grid(write(f"languages: [{languages}]\nrecipes: [{recipes}]\n")).cells) == 2600
