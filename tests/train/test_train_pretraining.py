"""Language-model training: it learns, resumes exactly, and returns true figures."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from harness.config.losses import DISTILL_LOSSES
from harness.data.batches import IGNORED, pack
from harness.errors import HarnessError
from harness.models.loading import checkpoint
from harness.pipeline.checkpoints import CannotResumeError, drop_broken, seal_checkpoint
from harness.train.fitting import split_rows
from harness.train.language_model import training
from harness.train.language_model.batches import MaskedBatches
from harness.train.language_model.training import measure_held_out_loss, train
from harness.train.losses.objective import MLM, Objective
from harness.train.trainer import (
    OrderedTrainer,
    TimedCheckpoint,
    find_last_checkpoint,
    make_arguments,
    override_dropout,
)

MSE = Objective({"mlm": 0.5, "logit_mse": 0.5}, "attended")
INNER = Objective({"feature_mse": 1.0, "relation_vv": 1.0}, relation_split=1)


class InterruptError(Exception):
    """Stand in for whatever ends a process."""


def ignore_progress(*_):
    """Do nothing with a report of progress."""


def interrupt_after(tokens):
    def progress(done, *_):
        if done >= tokens:
            raise InterruptError

    return progress


def same_weights(one, other):
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


@pytest.fixture
def run(tokenizer, packed, tmp_path):
    """Return a function that trains in a folder of its own and returns the figures."""

    def run(model, budget, folder="stage", **changes):
        settings = {"objective": MLM, "teacher": None, "progress": ignore_progress} | changes
        return train(model, tokenizer, packed, budget=budget, folder=tmp_path / folder, **settings)

    return run


@pytest.fixture
def measure(tokenizer, documents, make_budget):
    def measure(model, lines=None, **changes):
        budget = make_budget(**changes)
        return measure_held_out_loss(model, tokenizer, lines or documents[:40], budget=budget, max_tokens=600)

    return measure


def test_training_learns_and_returns_its_figures(run, measure, make_model, make_budget):
    model = make_model()
    before = measure(model)["loss"]
    facts = run(model, make_budget(tokens=4000, batch_tokens=96, learning_rate=1e-2))
    assert measure(model)["loss"] < before - 0.2
    assert not model.training
    assert 4000 <= facts["tokens"] < 4000 + 96
    assert facts["tokens_per_s"] == pytest.approx(facts["tokens"] / facts["train_s"])
    assert facts["resumed"] is False
    assert [entry["step"] for entry in facts["losses"]] == list(range(10, facts["steps"] + 1, 10))
    assert facts["losses"][-1]["loss"] < facts["losses"][0]["loss"]


def test_learning_rate_rises_and_falls_linearly(run, make_model, make_budget):
    facts = run(make_model(), make_budget(warmup_fraction=0.25, learning_rate=1.0e-3))
    steps, rising = facts["steps"], math.ceil(0.25 * facts["steps"])
    for entry in facts["losses"]:
        done = entry["step"] - 1
        share = done / rising if done < rising else (steps - done) / (steps - rising)
        assert entry["learning_rate"] == pytest.approx(1e-3 * share, rel=0.1)


def test_equal_arguments_train_equal_weights(run, make_model, make_budget):
    one, other = make_model(), make_model()
    run(one, make_budget(tokens=700), "one")
    torch.manual_seed(4)
    run(other, make_budget(tokens=700), "other")
    assert same_weights(one, other)


@pytest.mark.parametrize("case", ["mlm", "distil"])
def test_a_second_gpu_changes_nothing(case, run, make_model, make_budget, monkeypatch):
    given = {"teacher": make_model(seed=9), "objective": MSE} if case == "distil" else {}

    def find_two_gpus(*given):
        settings = make_arguments(*given)
        settings._n_gpu = 2  # what the library finds where two GPUs are
        return settings

    one, other = make_model(), make_model()
    run(one, make_budget(), "one", **given)
    monkeypatch.setattr(training, "make_arguments", find_two_gpus)
    run(other, make_budget(), "two", **given)
    assert same_weights(one, other)


def test_progress_is_reported_after_every_step(run, make_model, make_budget):
    reports = []
    facts = run(make_model(), make_budget(), progress=lambda *report: reports.append(report))
    assert len(reports) == facts["steps"]
    assert [done for done, *_ in reports] == sorted({done for done, *_ in reports})
    assert reports[-1][:3] == (facts["tokens"], facts["tokens"], "tokens")
    assert math.isnan(reports[0][3]["loss"])
    assert reports[-1][3]["loss"] > 0


@pytest.mark.parametrize("tokens", [90, 2000])
def test_a_diverging_training_is_refused(tokens, run, make_model, make_budget):
    with pytest.raises(
        HarnessError, match=r"training: expected a finite .*; got (nan|inf): it diverged; low"
    ):
        run(make_model(), make_budget(tokens=tokens, batch_tokens=30, learning_rate=1e30))


@pytest.mark.parametrize("case", ["mlm", "distil", "accumulated"])
def test_a_run_interrupted_twice_ends_with_the_same_weights(case, run, make_model, make_budget):
    budget = make_budget(device_tokens=24 if case == "accumulated" else None)
    settings = {"objective": MSE, "teacher": make_model(seed=2)} if case == "distil" else {}
    whole = make_model()
    facts = run(whole, budget, "whole", **settings)
    assert facts["steps"] >= 40
    for tokens in (300, 900):
        with pytest.raises(InterruptError):
            run(
                make_model(),
                replace(budget, checkpoint_s=0.0),
                "cut",
                progress=interrupt_after(tokens),
                **settings,
            )
    last = make_model()
    resumed = run(last, budget, "cut", **settings)
    assert same_weights(whole, last)
    assert resumed["resumed"] is True
    assert resumed["tokens_per_s"] is None
    assert resumed["steps"] == facts["steps"]
    assert resumed["tokens"] == facts["tokens"]


@pytest.mark.parametrize("case", ["mlm", "distil", "inner"])
def test_activation_checkpointing_keeps_the_weights(case, run, make_model, make_budget):
    objectives = {"mlm": Objective({"mlm": 1.0}), "distil": MSE, "inner": INNER}
    settings = {"objective": objectives[case], "teacher": None if case == "mlm" else make_model(seed=2)}
    kept, recomputed = make_model(), make_model()
    calls = [], []
    for model, list_of_calls in zip((kept, recomputed), calls, strict=True):
        layer = model.base_model.encoder.layer[0]
        layer.intermediate.register_forward_hook(lambda *_, to=list_of_calls: to.append(1))
    run(kept, make_budget(), "kept", **settings)
    run(recomputed, make_budget(activation_checkpointing=True), "recomputed", **settings)
    assert same_weights(kept, recomputed)
    assert len(calls[1]) == 2 * len(calls[0]) > 0
    assert not any(getattr(one, "gradient_checkpointing", False) for one in recomputed.modules())


def test_a_run_resumes_with_activation_checkpointing(run, make_model, make_budget):
    whole, last = make_model(), make_model()
    run(whole, make_budget(), "whole")
    with pytest.raises(InterruptError):
        run(make_model(), make_budget(checkpoint_s=0.0), "cut", progress=interrupt_after(300))
    assert run(last, make_budget(activation_checkpointing=True), "cut")["resumed"]
    assert same_weights(whole, last)


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from harness.data.batches import Packed
from harness.models.loading import checkpoint
from harness.train.language_model.budget import Budget
from harness.train.language_model.training import train
folder, budget = Path(sys.argv[1]), Budget(**eval(sys.argv[2]))
torch.set_num_threads(int(sys.argv[3]))
loaded = checkpoint.load_checkpoint(folder / "model")
def progress(done, total, unit, figures):
    if done >= 500:
        os.kill(os.getpid(), signal.SIGKILL)
rows = Packed.load(folder / "rows.npz")
train(loaded.model, loaded.tokenizer, rows, budget=budget, folder=folder, progress=progress)
"""


@pytest.fixture
def beginning(make_model, tokenizer, packed, tmp_path):
    """Return a folder with a model and its rows, for another process to read."""
    checkpoint.save_checkpoint(make_model(), tokenizer, tmp_path / "cut" / "model")
    packed.save(tmp_path / "cut" / "rows.npz")
    return tmp_path / "cut"


def test_a_killed_process_is_resumed(run, make_model, make_budget, beginning):
    budget, folder = make_budget(checkpoint_s=0.0), beginning
    command = [sys.executable, "-c", KILLED, str(folder), repr(vars(budget)), str(torch.get_num_threads())]
    killed = subprocess.run(
        command, check=False, capture_output=True, env=os.environ | {"PYTHONPATH": os.getcwd()}
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert find_last_checkpoint(folder) is not None
    whole, last = make_model(), make_model()
    run(whole, make_budget(), "whole")
    assert run(last, make_budget(), "cut")["resumed"] is True
    assert same_weights(whole, last)


def test_an_incomplete_checkpoint_is_passed_over(run, make_model, make_budget, monkeypatch):
    whole, last = make_model(), make_model()
    run(whole, make_budget(), "whole")
    real = OrderedTrainer._save_optimizer_and_scheduler

    def cut(trainer, folder):
        if trainer.state.global_step == 8:
            raise InterruptError
        real(trainer, folder)

    monkeypatch.setattr(OrderedTrainer, "_save_optimizer_and_scheduler", cut)
    with pytest.raises(InterruptError):
        run(make_model(), make_budget(checkpoint_s=0.0), "cut")
    monkeypatch.setattr(OrderedTrainer, "_save_optimizer_and_scheduler", real)
    assert run(last, make_budget(), "cut")["resumed"] is True
    assert same_weights(whole, last)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


DAMAGES = {
    "flip": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
}
CHECKPOINT_FILES = {
    "model.safetensors": "flip",
    "optimizer.pt": "flip",
    "rng_state.pth": "gone",
    "scheduler.pt": "cut",
    "trainer_state.json": "empty",
    "training_args.bin": "flip",
}
"""Files of a checkpoint and the damage done to each here; `make torture` does every damage to each."""


@pytest.mark.parametrize("name", CHECKPOINT_FILES)
def test_damaged_checkpoint_changes_no_weight(name, run, make_model, make_budget, tmp_path):
    whole, last = make_model(), make_model()
    run(whole, make_budget(), "whole")
    with pytest.raises(InterruptError):
        run(make_model(), make_budget(checkpoint_s=0.0), "cut", progress=interrupt_after(500))
    checkpoints = tmp_path / "cut" / "checkpoints"
    newest = Path(find_last_checkpoint(tmp_path / "cut"))
    DAMAGES[CHECKPOINT_FILES[name]](newest / name)
    (line,) = drop_broken(checkpoints)
    assert line.startswith(f"{newest.name} is damaged ({name} ")
    assert find_last_checkpoint(tmp_path / "cut") is not None
    assert run(last, make_budget(), "cut")["resumed"] is True
    assert same_weights(whole, last)


@pytest.mark.parametrize("name", ["optimizer.pt", "model.safetensors", "trainer_state.json", "rng_state.pth"])
def test_checkpoint_that_cannot_be_read_is_not_resumed(name, run, make_model, make_budget, tmp_path):
    """Every byte as it was written, and yet unreadable: as a checkpoint of another torch version may be."""
    with pytest.raises(InterruptError):
        run(make_model(), make_budget(checkpoint_s=0.0), "cut", progress=interrupt_after(300))
    newest = Path(find_last_checkpoint(tmp_path / "cut"))
    (newest / name).write_bytes(b"another format")
    seal_checkpoint(newest)
    with pytest.raises(CannotResumeError, match=rf"^{newest.name} cannot be resumed \("):
        run(make_model(), make_budget(), "cut")


def test_usual_time_between_checkpoints_grows_with_their_cost(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("harness.train.trainer.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("harness.train.trainer.seal_checkpoint", lambda _: None)
    arguments, state = SimpleNamespace(output_dir=str(tmp_path)), SimpleNamespace(global_step=1, max_steps=9)

    def save_after(callback, seconds, cost):
        control = SimpleNamespace(should_save=False)
        clock[0] += seconds
        callback.on_step_end(arguments, state, control)
        clock[0] += cost
        if control.should_save:
            callback.on_save(arguments, state, control)
        return control.should_save

    usual, exact = TimedCheckpoint(None), TimedCheckpoint(10.0)
    saved = [save_after(usual, 61, 6), save_after(usual, 110, 0), save_after(usual, 11, 0)]
    assert saved == [True, False, True]
    exact.last_s = clock[0]
    assert [save_after(exact, 11, 6), save_after(exact, 11, 6), save_after(exact, 5, 0)] == [
        True,
        True,
        False,
    ]


def test_checkpoints_follow_time_and_two_are_kept(run, make_model, make_budget, tmp_path):
    run(make_model(), make_budget(checkpoint_s=1e6), "none")
    assert not list((tmp_path / "none").glob("checkpoints/*"))
    with pytest.raises(InterruptError):
        run(make_model(), make_budget(checkpoint_s=0.0), "many", progress=interrupt_after(300))
    kept = sorted((tmp_path / "many" / "checkpoints").iterdir(), key=lambda path: path.stat().st_mtime)
    assert len(kept) == 2
    assert find_last_checkpoint(tmp_path / "many") == str(kept[-1])
    assert find_last_checkpoint(tmp_path / "nothing") is None


def test_weights_are_saved_as_safetensors_alone(run, make_model, make_budget, tmp_path):
    with pytest.raises(InterruptError):
        run(make_model(), make_budget(checkpoint_s=0.0), progress=interrupt_after(500))
    names = {path.name for path in (tmp_path / "stage").rglob("checkpoint-*/*")}
    assert "model.safetensors" in names
    assert "pytorch_model.bin" not in names


def test_distillation_leaves_the_teacher_unchanged(run, make_model, make_budget, weights_of):
    teacher = make_model(seed=2)
    before = weights_of(teacher)
    run(make_model(), make_budget(tokens=1000), objective=MSE, teacher=teacher.train())
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert not teacher.training
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_distillation_brings_the_logits_nearer(run, make_model, make_budget, measure, batch):
    student, teacher = make_model(seed=1), make_model(seed=2)
    distance = lambda: float((student(**batch).logits - teacher(**batch).logits).detach().pow(2).mean())  # noqa: E731
    before = distance()
    objective = Objective({"logit_mse": 1.0}, "attended")
    run(student, make_budget(tokens=8000, learning_rate=1e-2), objective=objective, teacher=teacher)
    assert distance() < 0.5 * before


def test_gradients_of_micro_batches_are_averaged(run, make_model, make_budget, tokenizer, packed):
    """One step over two micro-batches uses the mean of their gradients."""
    budget = make_budget(tokens=60, batch_tokens=96, device_tokens=48, warmup_fraction=0.0, weight_decay=0.0)
    stream = MaskedBatches(packed, tokenizer, budget)
    assert len(stream) == budget.accumulation == 2
    model = make_model()
    mean = torch.stack([model(**stream[index]).loss for index in range(2)]).mean()
    expected = torch.autograd.grad(mean, model.bert.embeddings.word_embeddings.weight)[0]
    captured = {}

    def capture(module, *_):
        captured["gradient"] = module.bert.embeddings.word_embeddings.weight.grad.clone()

    trainer = OrderedTrainer(
        model=model,
        args=make_arguments(Path("unused"), budget, max_grad_norm=0.0),
        train_dataset=stream,
        loss=lambda module, batch, _: module.eval()(**batch).loss,
    )
    trainer.create_optimizer()
    trainer.optimizer.register_step_pre_hook(lambda *_: capture(model))
    trainer.train()
    torch.testing.assert_close(captured["gradient"], expected, rtol=1e-4, atol=1e-7)


def test_only_matrices_decay(make_model, make_budget, tokenizer, packed):
    budget = make_budget()
    model = make_model()
    trainer = OrderedTrainer(
        model=model,
        args=make_arguments(Path("unused"), budget),
        train_dataset=MaskedBatches(packed, tokenizer, budget),
        loss=lambda *_: None,
    )
    groups = trainer.create_optimizer().param_groups
    for group in groups:
        ranks = {parameter.dim() for parameter in group["params"]}
        assert ranks == ({2} if group["weight_decay"] else {1})
    assert {group["weight_decay"] for group in groups} == {0.0, 0.01}


def test_bf16_training_keeps_weights_in_fp32(run, make_model, make_budget):
    model, objective = (
        make_model(),
        Objective(dict.fromkeys(DISTILL_LOSSES, 0.2), "attended", 2.0, relation_split=2),
    )
    budget = make_budget(tokens=1000, precision="bf16")
    teacher, seen = make_model(seed=2), set()
    for one in (model, teacher):
        inner = one.bert.encoder.layer[0].intermediate.dense
        inner.register_forward_hook(lambda _, __, output: seen.add(output.dtype))
    facts = run(model, budget, objective=objective, teacher=teacher)
    assert seen == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert all(math.isfinite(entry["loss"]) for entry in facts["losses"])


def test_dropout_is_overridden_for_a_while(make_model):
    model = make_model()
    with override_dropout(model, 0.0):
        assert {layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)} == {0.0}
    with override_dropout(model, None):
        assert {layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)} == {0.1}
    assert {layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)} == {0.1}


def test_dropout_changes_training(run, make_model, make_budget, batch):
    losses = []
    for probability in (0.0, None):
        model = make_model()
        facts = run(model, make_budget(tokens=500, dropout=probability), f"with-{probability}")
        losses.append(facts["losses"] or model.state_dict()["cls.predictions.bias"].tolist())
    assert losses[0] != losses[1]


def test_held_out_loss_of_equal_logits_is_log_vocabulary(make_model, measure, tokenizer, documents):
    model = make_model()
    with torch.no_grad():
        model.cls.predictions.decoder.weight.zero_()
        model.cls.predictions.bias.zero_()
    figures = measure(model)
    assert figures["loss"] == pytest.approx(math.log(90), rel=1e-5)
    assert figures["perplexity"] == pytest.approx(90, rel=1e-4)
    assert figures["accuracy"] == 0.0
    rows = pack(documents[:40], tokenizer, 24)
    num_bytes = sum(len(line.encode()) for document in documents[:40] for line in document)
    tokens_per_byte = (int(rows.lengths.sum()) - 2 * len(rows)) / num_bytes
    assert figures["loss_per_byte"] == pytest.approx(math.log(90) * tokens_per_byte, rel=1e-5)


def test_held_out_loss_equals_the_stock_loss_over_masked_positions(
    make_model, measure, tokenizer, documents, make_budget
):
    model = make_model()
    figures = measure(model)
    rows = pack(documents[:40], tokenizer, 24)
    stream = MaskedBatches(
        rows, tokenizer, make_budget(tokens=min(600, int(rows.lengths.sum())), seed=20250516)
    )
    total = masked = 0.0
    for index in range(len(stream)):
        count = int((stream[index]["labels"] != IGNORED).sum())
        total += model(**stream[index]).loss.item() * count
        masked += count
    assert figures["masked"] == masked
    assert figures["loss"] == pytest.approx(total / masked, rel=1e-5)


def test_held_out_masks_do_not_depend_on_training_settings(make_model, measure):
    one = measure(make_model(), seed=1, learning_rate=1.0)
    other = measure(make_model(), seed=2, warmup_fraction=0.5)
    assert one == other
    assert measure(make_model(seed=2))["loss"] != one["loss"]


def test_held_out_text_goes_through_the_model_in_parts_of_device_tokens(make_model, measure, monkeypatch):
    model, sizes = make_model(), []
    model.base_model.register_forward_pre_hook(
        lambda _, __, given: sizes.append(given["input_ids"].numel()), with_kwargs=True
    )
    whole = measure(model)
    most, sizes[:] = max(sizes), []
    monkeypatch.setattr(training, "_LOGIT_ROWS", 3)
    parts = measure(model, device_tokens=30)
    assert max(sizes) <= 30 < most
    assert parts == pytest.approx(whole, rel=1e-6)
    assert parts["masked"] == whole["masked"]


def test_a_row_longer_than_device_tokens_goes_through_the_model_alone():
    batch = {"input_ids": torch.arange(12).view(3, 4), "labels": torch.arange(12).view(3, 4)}
    parts = [*split_rows(batch, 3)]
    assert [part["labels"].tolist() for part in parts] == [[row] for row in batch["labels"].tolist()]
    assert [len(part["input_ids"]) for part in split_rows(batch, 11)] == [2, 1]


@pytest.mark.parametrize("loss", ["feature_mse", "relation_kk", "attention_score_mse", "patient"])
def test_layer_losses_fall_against_a_deeper_teacher(loss, run, make_model, make_budget):
    facts = run(
        make_model(),
        make_budget(learning_rate=5e-3),
        objective=Objective({loss: 1.0}, relation_split=2),
        teacher=make_model(seed=2, layers=4),
    )
    assert facts["losses"][-1]["loss"] < 0.8 * facts["losses"][0]["loss"]


def test_a_projection_survives_resuming_and_is_left_out_of_the_student(run, make_model, make_budget):
    settings = {
        "objective": Objective({"feature_mse": 1.0}, projection=True),
        "teacher": make_model(seed=2, hidden=24),
    }
    whole, cut = make_model(), make_model()
    names = set(whole.state_dict())
    run(whole, make_budget(), **settings)
    with pytest.raises(InterruptError):
        run(cut, make_budget(checkpoint_s=0.0), "cut", progress=interrupt_after(800), **settings)
    last = make_model()
    assert run(last, make_budget(checkpoint_s=0.0), "cut", **settings)["resumed"] is True
    assert set(last.state_dict()) == names
    assert same_weights(whole, last)


def test_frozen_parts_stay_unchanged(run, make_model, make_budget, weights_of):
    model = make_model()
    before = weights_of(model)
    run(model, make_budget(freeze=("embeddings", "mlm_head")))
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all("encoder" in name for name in changed)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_mask_smoothing_masks_rare_tokens_more_often(packed, tokenizer, make_budget):
    shares = []
    for smoothing in (None, 0.7):
        batches = MaskedBatches(packed, tokenizer, make_budget(mask_smoothing=smoothing, tokens=4000))
        masked = torch.cat([batches[index]["labels"].flatten() for index in range(len(batches))])
        masked = masked[masked != IGNORED]
        counts = torch.bincount(torch.from_numpy(packed.ids).long(), minlength=len(tokenizer))
        shares.append(float(counts[masked].float().mean()))
    assert shares[1] < 0.75 * shares[0]
