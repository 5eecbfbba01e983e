"""The functions for Python: the same bytes as the stages of a run, and models that stay as they were."""

from __future__ import annotations

import hashlib
from functools import partial
from itertools import pairwise

import pytest
import torch

from harness import api
from harness.api.options import PlannedRun, plan_chosen_run
from harness.errors import HarnessError, UsageError

STEPS = [
    {"trim": {"tokens": 50}},
    {"shorten": {"layers": "1/2", "keep": "last"}},
    {"distill": {"teacher": "trim", "loss": {"mlm": 0.5, "logit_mse": 0.5}}},
    {"prune": {"width": "1/2", "score": "taylor"}},
    {"narrow": {"width": "1/2", "basis": "importance"}},
]
AMOUNTS = {"tokens": 600, "batch_tokens": 300, "mask_fraction": 0.2}


@pytest.fixture(scope="module")
def run(tmp_path_factory, write_scale, write_recipe, write_data, write_teacher):
    """Return a finished run of every step without tasks of its own, its plan, and the folder of runs."""
    folder = tmp_path_factory.mktemp("api")
    scale = write_scale(
        folder,
        {
            "training.distill": AMOUNTS | {"learning_rate": 1e-3, "warmup_fraction": 0.1, "dropout": 0.0},
            "training.prune": AMOUNTS,
            "training.narrow": AMOUNTS,
            "tasks.names": ["topic"],
        },
    )
    options = api.ScaleOptions(
        data=write_data(folder / "data"), teacher=str(write_teacher(folder / "teacher")), score="none"
    )
    recipe = str(write_recipe(folder, STEPS))
    finished = api.reproduce("mt", recipe=recipe, scale=scale, options=options, runs=folder / "runs")
    return finished, plan_chosen_run("mt", recipe, scale, options), folder / "runs"


def find_stage(run, stage):
    """Return the folder of a stage."""
    _, planned, runs = run
    return next((runs / planned.folder).glob(f"[0-9]*-{planned.plan.plan.keys[stage]}"))


def digest(folder):
    """Return the digest of the weights, the config and the tokenizer in a folder."""
    names = ("model.safetensors", "config.json", "tokenizer.json")
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names]


@pytest.fixture(scope="module")
def text(run):
    """Return the lines that the run trained on."""
    return api.read_text(find_stage(run, "corpus") / "train.txt")


@pytest.mark.parametrize(
    ("before", "step"), [*pairwise(["teacher", "trim", "shorten", "distill", "prune", "narrow"])]
)
def test_functions_write_the_bytes_of_the_stages(before, step, run, text, tmp_path):
    model = api.load(find_stage(run, before) / "model")
    shared = AMOUNTS | {"sequence_length": 32, "seed": 1}
    before_digest = digest(model.save(tmp_path / "before"))
    made = {
        "trim": lambda: api.trim(model, text, tokens=50),
        "shorten": lambda: api.shorten(model, model.shape.layers // 2, keep="last"),
        "distill": lambda: api.distill(
            model,
            api.load(find_stage(run, "trim") / "model"),
            text,
            learning_rate=1e-3,
            warmup_fraction=0.1,
            precision="fp32",
            **shared,
        ),
        "prune": lambda: api.prune(model, model.shape.ffn // 2, text, **shared),
        "narrow": lambda: api.narrow(model, model.shape.hidden // 2, text, basis="importance", **shared),
    }[step]()
    assert digest(made.save(tmp_path / "after")) == digest(find_stage(run, step) / "model")
    assert digest(model.save(tmp_path / "again")) == before_digest, "what a function is given stays as it was"


def test_reproduce_returns_the_folders_and_digests_of_the_run(run):
    finished, planned, runs = run
    assert isinstance(planned, PlannedRun)
    assert finished.folder == runs / "mt" / planned.name
    assert digest(finished.student) == digest(find_stage(run, "narrow") / "model")
    assert finished.report.is_file()
    assert set(finished.digests) == set(planned.plan.plan.keys)


def test_progress_and_callbacks_are_called(run, text):
    from transformers import TrainerCallback

    class Counter(TrainerCallback):
        steps = 0

        def on_step_end(self, *_, **__):
            self.steps += 1

    model, counter, seen = api.load(find_stage(run, "trim") / "model"), Counter(), []
    api.distill(
        model,
        model,
        text,
        tokens=600,
        batch_tokens=300,
        sequence_length=32,
        precision="fp32",
        progress=lambda *progress: seen.append(progress[:3]),
        callbacks=[counter],
    )
    assert counter.steps == len(seen) > 0
    assert seen[-1][0] == seen[-1][1]
    assert seen[-1][2] == "tokens"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda model: api.trim(model, ["a"], tokens=10**6),
            "trim: tokens 1000000 keeps 1000000; the vocabulary is",
        ),
        (lambda model: api.shorten(model, 99), "shorten: layers: expected a ratio of at most 1; got '99/"),
        (
            lambda model: api.shorten(model, 1, keep="influence", sequence_length=32),
            "text: expected lines to score the model on; got none",
        ),
        (lambda model: api.shorten(model, [3, 1]), r"shorten: keep: expected a rising list of layers"),
        (
            lambda model: api.prune(model, 4, sequence_length=32),
            "text: expected lines to score the model on; got none",
        ),
        (lambda model: api.prune(model, 4, ["a"], score="x"), "prune: score: Input should be 'taylor'"),
        (
            lambda model: api.prune(model, 4, ["a"], sequence_length=999),
            r"sequence_length: expected at most \d+, the positions of the model; got 999; lower it",
        ),
        (lambda model: api.narrow(model, 0, basis="first"), "narrow: width .* leaves no head"),
        (
            lambda model: api.distill(model, model, ["a"], tokens=1),
            "distill: 1 tokens are fewer than one batch",
        ),
        (
            lambda model: api.distill(model, model, ["a"], tokens=4096, loss={"x": 1}),
            "distill: loss: unknown loss 'x'; there are: ",
        ),
    ],
)
def test_wrong_numbers_are_refused_in_one_line(call, message, run):
    with pytest.raises(UsageError, match=message) as raised:
        call(api.load(find_stage(run, "teacher") / "model"))
    assert "\n" not in str(raised.value)


def test_model_without_a_head_is_fitted_one_first(run, text, tmp_path):
    from transformers import AutoModel

    folder = find_stage(run, "trim") / "model"
    AutoModel.from_pretrained(folder, add_pooling_layer=False).save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    teacher = api.load(tmp_path)
    assert teacher.has_new_head
    with pytest.raises(
        HarnessError, match="distill: expected a teacher with a masked-language head; got a new"
    ):
        api.distill(teacher, teacher, text, tokens=4096, sequence_length=32)
    fitted = api.fit_head(teacher, text, tokens=600, batch_tokens=300, sequence_length=32, precision="fp32")
    assert not fitted.has_new_head


def test_sequences_are_as_long_as_a_model_of_few_positions_takes(run, text):
    model = api.load(find_stage(run, "trim") / "model")
    assert model.shape.max_length < 128
    score = partial(api.prune, model, 4, text[:50], tokens=2048, batch_tokens=1024)
    weights, stated = (
        score(**length).network.state_dict() for length in ({}, {"sequence_length": model.shape.max_length})
    )
    assert all(torch.equal(weights[name], stated[name]) for name in stated)


def test_no_model_is_refused(tmp_path):
    with pytest.raises(HarnessError, match="expected a folder or a hub id"):
        api.load(tmp_path / "none")


def test_student_with_a_learned_vocabulary_is_distilled(run, text):
    teacher = api.load(find_stage(run, "teacher") / "model")
    student = api.retokenize(teacher, text, teacher.shape.vocabulary)
    assert student.shape == teacher.shape
    assert student.tokenizer.get_vocab() != teacher.tokenizer.get_vocab()
    loss, amount = {"mlm": 0.5, "hidden_cosine": 1.0}, AMOUNTS | {"sequence_length": 32, "precision": "fp32"}
    distilled = api.distill(student, teacher, text, loss=loss, align="last", **amount)
    assert digest_weights(distilled) != digest_weights(student)
    with pytest.raises(
        UsageError, match=r"distill: teacher 'teacher' has (\d+) tokens, the student \1 others; "
    ):
        api.distill(student, teacher, text, **amount)
    with pytest.raises(
        UsageError, match=r"distill: align is used where teacher and student read other tokens"
    ):
        api.distill(teacher, teacher, text, loss=loss, align="last", **amount)


def digest_weights(model):
    """Return the sum of every weight."""
    return sum(float(one.double().sum()) for one in model.network.parameters())
