"""The fit of latencies to shapes."""

from __future__ import annotations

import pytest

from harness.config.shape import KNOWN_TEACHERS
from harness.deploy.latency_table import list_table_shapes
from harness.measure.latency_model import TERMS, fit_latency

TEACHER = KNOWN_TEACHERS["e5-small"].shape


def take_ms(shape):
    work = 4e-6 * shape.hidden**2 + 2e-6 * shape.hidden * shape.ffn + 1e-3 * shape.ffn + 0.05
    return 0.2 + shape.layers * work


def test_additive_latencies_are_predicted_exactly():
    shapes = list_table_shapes(TEACHER)
    model = fit_latency(shapes, [take_ms(shape) for shape in shapes])
    other = TEACHER.model_copy(update={"layers": 5, "heads": 7, "hidden": 224, "ffn": 640})
    assert other not in shapes
    assert model.predict_ms(other) == pytest.approx(take_ms(other), rel=1e-6)
    assert model.worst_error < 1e-6


def test_no_term_is_negative_and_errors_are_of_unseen_shapes():
    shapes = list_table_shapes(TEACHER)
    noisy = [take_ms(shape) * (1.2 if number % 2 else 1.0) for number, shape in enumerate(shapes)]
    model = fit_latency(shapes, noisy)
    assert len(model.coefficients) == len(TERMS)
    assert min(model.coefficients) >= 0
    assert len(model.errors) == len(shapes)
    assert 0.05 < model.worst_error < 0.4


def test_more_of_anything_takes_no_less_time():
    shapes = list_table_shapes(TEACHER)
    model = fit_latency(shapes, [take_ms(shape) for shape in shapes])
    small = TEACHER.model_copy(update={"layers": 3, "heads": 4, "hidden": 128, "ffn": 256})
    for larger in ({"layers": 4}, {"heads": 5, "hidden": 160}, {"ffn": 512}):
        assert model.predict_ms(small.model_copy(update=larger)) >= model.predict_ms(small)
