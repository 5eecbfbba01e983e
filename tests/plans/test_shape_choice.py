"""The choice of a shape by a budget, and the recipe that makes it."""

from __future__ import annotations

import pytest

from harness.config.export_size import count_file_bytes
from harness.config.file_budget import parse_file_budget
from harness.config.load import load_recipe, load_scale
from harness.config.resolve import resolve
from harness.config.shape import KNOWN_TEACHERS
from harness.config.shape_cost import predict_cost
from harness.config.show import to_yaml
from harness.errors import UsageError
from harness.plans.shape_choice import make_recipe, propose_shapes

E5 = KNOWN_TEACHERS["e5-small"].shape


def take_ms(shape):
    return 0.3 + shape.layers * 1e-6 * shape.hidden * (shape.hidden + shape.ffn)


@pytest.fixture(scope="module")
def proposals():
    return propose_shapes(E5, parse_file_budget("6 MB int8, 2 ms"), take_ms)


def test_proposals_fit_the_budget(proposals):
    assert 1 < len(proposals) <= 10
    for one in proposals:
        assert one.size_bytes == count_file_bytes(one.shape, "int8") <= 6e6
        assert one.latency_ms == take_ms(one.shape) <= 2
        assert one.shape.head_size == E5.head_size
        assert one.shape.hidden % one.shape.heads == 0


def test_best_comes_first_and_no_two_are_alike(proposals):
    costs = [one.cost for one in proposals]
    assert costs == sorted(costs)
    assert len({(one.shape.layers, one.shape.hidden) for one in proposals}) == len(proposals)


def test_a_larger_budget_is_never_worse(proposals):
    larger = propose_shapes(E5, parse_file_budget("8 MB int8, 3 ms"), take_ms)
    assert larger[0].cost <= proposals[0].cost


def test_smaller_sizes_cost_more():
    assert predict_cost(E5, E5) == 0
    for smaller in ({"layers": 6}, {"heads": 6, "hidden": 192}, {"ffn": 512}, {"vocabulary": 8192}):
        assert predict_cost(E5.model_copy(update=smaller), E5) > 0


def test_nothing_that_fits_names_the_nearest():
    with pytest.raises(
        UsageError,
        match=r"plan: expected a student of at most 0\.1 MB and 2 ms in int8; got none; "
        r"the nearest is 1 layer of 32, FFN 128, 2,048 tokens \(0\.\d\d MB, 0\.\d\d ms\); raise the budget",
    ):
        propose_shapes(E5, parse_file_budget("0.1 MB int8, 2 ms"), take_ms)


def test_family_without_counted_size_is_refused():
    deberta = E5.model_copy(update={"family": "deberta-v2", "types": 0, "distances": 256})
    with pytest.raises(UsageError, match=r"plan: expected a teacher whose exported size is counted; got deb"):
        propose_shapes(deberta, parse_file_budget("6 MB"))


@pytest.mark.parametrize(
    ("teacher", "scale", "base"),
    [
        (E5, "laptop", "compact2026@14m"),
        (E5, "laptop", "gurgurov2025"),
        (KNOWN_TEACHERS["mbert"].shape, "paper", "compact2026"),
        (KNOWN_TEACHERS["xlmr"].shape, "paper", "cruz2025"),
    ],
)
@pytest.mark.parametrize("budget", ["6 MB int8", "20 MB int8", "60 MB", "90 MB fp32"])
def test_recipe_makes_the_shape(teacher, scale, base, budget, tmp_path):
    student = propose_shapes(teacher, parse_file_budget(budget))[0].shape
    amount = load_scale(scale)
    recipe = make_recipe(load_recipe(base), teacher, student, amount, "a note")
    path = tmp_path / "mine.yaml"
    path.write_text(to_yaml(recipe), encoding="utf-8")
    steps = resolve(load_recipe(path), amount, teacher)
    assert steps[-1].shape == student


def test_recipe_keeps_its_own_steps_where_they_suffice():
    student = E5.model_copy(update={"layers": 6, "ffn": 768, "vocabulary": 16384})
    recipe = make_recipe(load_recipe("compact2026@14m"), E5, student, load_scale("laptop"), "a note")
    kinds = [step.kind for step in recipe.steps]
    assert kinds == ["trim", "shorten", "distill", "prune", "distill", "tune"]
    assert recipe.notes == ("a note",)
    assert recipe.teacher == "e5-small"
