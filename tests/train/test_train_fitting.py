"""Batches that do not fit into the memory: halved, the optimiser's step kept, and said in the facts."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from transformers import TrainerCallback

from harness.limits import Limits
from harness.models.loading import checkpoint
from harness.ops.pool import explain_pool
from harness.pipeline.checkpoints import CannotResumeError
from harness.pipeline.process_group import AgreedError, ProcessGroup
from harness.train.finetuning.distillation import TaskDistillation
from harness.train.finetuning.finetune import finetune
from harness.train.finetuning.protocol import Protocol
from harness.train.finetuning.teacher_logits import encode_with_logits
from harness.train.fitting import FittingTrainer, StartTogether, take_fewest
from harness.train.language_model.training import train
from harness.train.losses.objective import MLM, Objective
from harness.train.parts import compute_part_shares, count_units, split_rows, take_rows

PROTOCOL = Protocol(
    epochs=2,
    learning_rate=5e-3,
    batch_size=8,
    warmup_fraction=0.1,
    weight_decay=0.0,
    max_length=16,
    precision="fp32",
    dropout=0.0,
)


@contextmanager
def too_little_memory(room, place="forward"):
    """Let torch have no memory for layers of more than so many tokens, in a forward or a backward pass."""

    def refuse(module, given, *_):
        if type(module).__name__.endswith("Layer") and module.training and given[0][..., 0].numel() > room:
            raise torch.OutOfMemoryError("no memory")

    register = {
        "forward": torch.nn.modules.module.register_module_forward_pre_hook,
        "backward": torch.nn.modules.module.register_module_full_backward_pre_hook,
    }[place]
    hook = register(refuse)
    try:
        yield
    finally:
        hook.remove()


class KeepGradients(TrainerCallback):
    """Keep the gradients of the first optimiser step."""

    def __init__(self, kept):
        self.kept = kept

    def on_pre_optimizer_step(self, _args, state, _control, model=None, **_):
        if state.global_step == 0:
            self.kept.append(
                {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
            )


@pytest.fixture
def gradients(monkeypatch):
    """Return the gradients of the first step of each training, clipped as they are."""
    kept, initialise = [], FittingTrainer.__init__

    def initialise_and_keep(trainer, *given, **settings):
        initialise(trainer, *given, **settings)
        trainer.add_callback(KeepGradients(kept))

    monkeypatch.setattr(FittingTrainer, "__init__", initialise_and_keep)
    return kept


def assert_equal_gradients(one, two):
    """Check that gradients differ by rounding alone; those of key biases are nothing but rounding."""
    assert one.keys() == two.keys()
    largest = max(float(gradient.abs().max()) for gradient in one.values())
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-5 * largest


@pytest.fixture
def run(tokenizer, packed, tmp_path, make_model, make_budget):
    """Return a function that trains a new model and returns what went through it at once."""

    def run(name, teacher=None, objective=MLM, **budget):
        model = make_model()
        facts = train(
            model,
            tokenizer,
            packed,
            objective=objective,
            teacher=teacher,
            budget=make_budget(dropout=0.0, batch_tokens=96, **budget),
            folder=tmp_path / name,
            progress=lambda *_: None,
        )
        return facts["fitting_tokens"]

    return run


@pytest.mark.parametrize("place", ["forward", "backward"])
@pytest.mark.parametrize("budget", [{}, {"device_tokens": 48}])
def test_a_batch_that_does_not_fit_is_halved_and_the_step_is_kept(run, gradients, place, budget):
    assert run("whole", **budget) is None
    with too_little_memory(30, place):
        assert 15 <= run("halved", **budget) <= 30
    assert_equal_gradients(*gradients)


def test_a_distillation_keeps_its_step(run, gradients, make_model):
    given = {"teacher": make_model(seed=9), "objective": Objective({"logit_mse": 1.0}, "attended")}
    run("whole", **given)
    with too_little_memory(30):
        assert run("halved", **given) is not None
    assert_equal_gradients(*gradients)


def test_each_loss_of_a_sum_keeps_its_own_mean(run, gradients, make_model):
    """A sum of means over labels, attended positions, rows and pairs is that of the whole batch."""
    weights = dict.fromkeys(("mlm", "logit_mse", "hidden_mse", "patient", "attention_mse"), 1.0)
    given = {"teacher": make_model(seed=9), "objective": Objective(weights, "attended")}
    run("whole", **given)
    with too_little_memory(30):
        assert run("halved", **given) is not None
    assert_equal_gradients(*gradients)


def test_a_row_that_does_not_fit_ends_the_training(run):
    with too_little_memory(3), pytest.raises(torch.OutOfMemoryError, match="no memory"):
        run("none")


def test_memory_is_no_fault_of_a_checkpoint(run):
    with too_little_memory(3):
        try:
            run("none")
        except CannotResumeError:
            pytest.fail("expected the error of the memory")
        except torch.OutOfMemoryError:
            pass


@pytest.mark.parametrize("name", ["tagged", "sorted_texts"])
@pytest.mark.parametrize("distilled", [False, True])
def test_a_finetuning_keeps_its_steps(name, distilled, request, gradients):
    data, make_model, tokenizer, tmp_path = map(
        request.getfixturevalue, (name, "make_model", "tokenizer", "tmp_path")
    )
    checkpoint.save_checkpoint(make_model(), tokenizer, tmp_path / "encoder")

    def tune(**more):
        return finetune(
            tmp_path / "encoder", tokenizer, data, protocol=PROTOCOL, seed=1, score=lambda _: 0.0,
            folder=tmp_path / "scratch", **more,
        )  # fmt: skip

    more = {}
    if distilled:
        checkpoint.save_checkpoint(tune().model, tokenizer, tmp_path / "teacher")
        teachers = (tmp_path / "teacher",) * 2
        rows = encode_with_logits(data.train, data, tokenizer, PROTOCOL, teachers=teachers)
        more = {"train": rows, "distillation": TaskDistillation(teachers, {"class_mse": 1.0})}
    gradients.clear()
    assert tune(**more).fitting_tokens is None
    with too_little_memory(60):
        assert tune(**more).fitting_tokens is not None
    assert_equal_gradients(*gradients)


@pytest.mark.skipif(not explain_pool()[0], reason=explain_pool()[1])
def test_the_free_memory_bounds_a_batch(monkeypatch, request):
    tokenizer, packed, tmp_path, make_model, make_budget = map(
        request.getfixturevalue, ("tokenizer", "packed", "tmp_path", "make_model", "make_budget")
    )

    def run(name, free):
        monkeypatch.setattr(Limits, "read_free_memory", lambda _: free)
        return train(
            make_model(ffn=4096), tokenizer, packed, progress=lambda *_: None, folder=tmp_path / name,
            budget=make_budget(tokens=8000, batch_tokens=4000, dropout=0.0),
        )  # fmt: skip

    assert run("ample", 2**32)["fitting_tokens"] is None
    assert 24 <= run("scarce", 120 * 2**20)["fitting_tokens"] < 4000


def test_rows_are_split_with_the_logits_of_their_labels():
    batch = {
        "input_ids": torch.arange(6).view(3, 2),
        "labels": torch.tensor([[1, -100], [0, 1], [-100, -100]]),
        "teacher_logits": torch.arange(6.0).view(3, 2),
    }
    parts = [part["teacher_logits"].tolist() for part in split_rows(batch, 2)]
    assert parts == [[[0.0, 1.0]], [[2.0, 3.0], [4.0, 5.0]], []]


class Two(ProcessGroup):
    """The main process of two, and what the other answers."""

    size = 2

    def __init__(self, *answers):
        self.answers = iter(answers)

    def gather(self, value):
        return [value, next(self.answers)]


@pytest.mark.parametrize(
    ("answers", "error", "line"),
    [
        (("checkpoint-5 cannot be resumed",), CannotResumeError, "^checkpoint-5 cannot be resumed$"),
        (("", True), AgreedError, "^training: expected one precision in all processes; got bf16 in some"),
    ],
)
def test_processes_start_together(make_model, answers, error, line):
    begin = partial(StartTogether(Two(*answers)).on_train_begin, model=make_model())
    with pytest.raises(error, match=line):
        begin(SimpleNamespace(bf16=False), None, None)


def test_each_row_is_taken_by_one_process(batch):
    for size in (1, 2, 3, 5):
        parts = [take_rows(batch, rank, size) for rank in range(size)]
        for name, value in batch.items():
            assert torch.equal(torch.cat([part[name] for part in parts]), value)
        assert max(len(part["labels"]) for part in parts) - min(len(part["labels"]) for part in parts) <= 1


def test_the_shares_of_all_parts_are_the_whole(batch):
    whole = count_units(batch)
    assert whole == {"labels": 4, "attended": 19, "rows": 3, "pairs": 81 + 36 + 16}
    shares = [compute_part_shares(take_rows(batch, rank, 3), whole) for rank in range(3)]
    assert [sum(share[unit] for share in shares) for unit in whole] == pytest.approx([1] * 4)


def test_the_fewest_tokens_of_several_trainings_are_taken():
    assert take_fewest(None, 512, 1024) == 512
    assert take_fewest(None, None) is None
