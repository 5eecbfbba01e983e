"""Training over a corpus: it learns, a cut run ends where an undisturbed one ends, what is measured is so."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from harness.config.losses import DISTILL_LOSSES
from harness.data.batches import IGNORED, pack
from harness.errors import HarnessError
from harness.models.loading import checkpoint
from harness.train.language_model import training
from harness.train.language_model.batches import MaskedBatches
from harness.train.language_model.training import dropout, held_out_loss, train
from harness.train.losses.objective import MLM, Objective
from harness.train.trainer import OrderedTrainer, arguments, last_checkpoint

MSE = Objective({"mlm": 0.5, "logit_mse": 0.5}, "attended")
INSIDE = Objective({"feature_mse": 1.0, "relation_vv": 1.0}, relation_split=1)


class CutError(Exception):
    """Stands for whatever ends a process."""


def silent(*told):
    """Is told, and does nothing."""


def cut_after(tokens):
    def progress(done, *told):
        if done >= tokens:
            raise CutError

    return progress


def same_weights(one, other):
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


@pytest.fixture
def run(tokenizer, packed, tmp_path):
    """Trains in a folder of its own, and gives what is worth recording."""

    def run(model, budget, folder="stage", **changes):
        settings = {"objective": MLM, "teacher": None, "progress": silent} | changes
        return train(model, tokenizer, packed, budget=budget, folder=tmp_path / folder, **settings)

    return run


@pytest.fixture
def measure(tokenizer, documents, make_budget):
    def measure(model, lines=None, **changes):
        budget = make_budget(**changes)
        return held_out_loss(model, tokenizer, lines or documents[:40], budget=budget, max_tokens=600)

    return measure


def test_training_learns_the_text_and_says_what_it_took(run, measure, make_model, make_budget):
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


def test_the_rate_rises_over_its_share_of_the_steps_and_falls_to_zero(run, make_model, make_budget):
    facts = run(make_model(), make_budget(warmup_fraction=0.25, learning_rate=1.0e-3))
    steps, rising = facts["steps"], math.ceil(0.25 * facts["steps"])
    for entry in facts["losses"]:
        done = entry["step"] - 1
        share = done / rising if done < rising else (steps - done) / (steps - rising)
        assert entry["learning_rate"] == pytest.approx(1e-3 * share, rel=0.1)


def test_equal_arguments_give_equal_weights(run, make_model, make_budget):
    one, other = make_model(), make_model()
    run(one, make_budget(tokens=700), "one")
    torch.manual_seed(4)
    run(other, make_budget(tokens=700), "other")
    assert same_weights(one, other)


@pytest.mark.parametrize("case", ["mlm", "distil"])
def test_a_second_gpu_changes_nothing(case, run, make_model, make_budget, monkeypatch):
    given = {"teacher": make_model(seed=9), "objective": MSE} if case == "distil" else {}

    def where_two_are(*told):
        settings = arguments(*told)
        settings._n_gpu = 2  # what the library finds there
        return settings

    one, other = make_model(), make_model()
    run(one, make_budget(), "one", **given)
    monkeypatch.setattr(training, "arguments", where_two_are)
    run(other, make_budget(), "two", **given)
    assert same_weights(one, other)


def test_progress_is_told_after_every_step_and_ends_at_the_total(run, make_model, make_budget):
    told = []
    facts = run(make_model(), make_budget(), progress=lambda *one: told.append(one))
    assert len(told) == facts["steps"]
    assert [done for done, *_ in told] == sorted({done for done, *_ in told})
    assert told[-1][:3] == (facts["tokens"], facts["tokens"], "tokens")
    assert math.isnan(told[0][3]["loss"])
    assert told[-1][3]["loss"] > 0


@pytest.mark.parametrize("tokens", [90, 2000])
def test_a_training_that_diverges_is_ended_and_told(tokens, run, make_model, make_budget):
    with pytest.raises(HarnessError, match=r"training: wanted a finite .*; got (nan|inf): it diverged; low"):
        run(make_model(), make_budget(tokens=tokens, batch_tokens=30, learning_rate=1e30))


@pytest.mark.parametrize("case", ["mlm", "distil", "accumulated"])
def test_a_run_cut_twice_ends_with_the_weights_of_an_undisturbed_one(case, run, make_model, make_budget):
    budget = make_budget(device_tokens=24 if case == "accumulated" else None)
    settings = {"objective": MSE, "teacher": make_model(seed=2)} if case == "distil" else {}
    whole = make_model()
    facts = run(whole, budget, "whole", **settings)
    assert facts["steps"] >= 40
    for tokens in (300, 900):
        with pytest.raises(CutError):
            run(
                make_model(), replace(budget, checkpoint_s=0.0), "cut", progress=cut_after(tokens), **settings
            )
    last = make_model()
    resumed = run(last, budget, "cut", **settings)
    assert same_weights(whole, last)
    assert resumed["resumed"] is True
    assert resumed["tokens_per_s"] is None
    assert resumed["steps"] == facts["steps"]
    assert resumed["tokens"] == facts["tokens"]


@pytest.mark.parametrize("case", ["mlm", "distil", "inside"])
def test_layers_computed_anew_give_the_same_weights(case, run, make_model, make_budget):
    objectives = {"mlm": Objective({"mlm": 1.0}), "distil": MSE, "inside": INSIDE}
    settings = {"objective": objectives[case], "teacher": None if case == "mlm" else make_model(seed=2)}
    kept, anew = make_model(), make_model()
    calls = [], []
    for one, told in zip((kept, anew), calls, strict=True):
        layer = one.base_model.encoder.layer[0]
        layer.intermediate.register_forward_hook(lambda *_, told=told: told.append(1))
    run(kept, make_budget(), "kept", **settings)
    run(anew, make_budget(activation_checkpointing=True), "anew", **settings)
    assert same_weights(kept, anew)
    assert len(calls[1]) == 2 * len(calls[0]) > 0
    assert not any(getattr(one, "gradient_checkpointing", False) for one in anew.modules())


def test_a_run_cut_for_want_of_memory_goes_on_with_less(run, make_model, make_budget):
    whole, last = make_model(), make_model()
    run(whole, make_budget(), "whole")
    with pytest.raises(CutError):
        run(make_model(), make_budget(checkpoint_s=0.0), "cut", progress=cut_after(300))
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
found = checkpoint.load_checkpoint(folder / "model")
def progress(done, total, unit, told):
    if done >= 500:
        os.kill(os.getpid(), signal.SIGKILL)
rows = Packed.load(folder / "rows.npz")
train(found.model, found.tokenizer, rows, budget=budget, folder=folder, progress=progress)
"""


@pytest.fixture
def beginning(make_model, tokenizer, packed, tmp_path):
    """Gives a folder with a model and its rows, for another process to read."""
    checkpoint.save_checkpoint(make_model(), tokenizer, tmp_path / "cut" / "model")
    packed.save(tmp_path / "cut" / "rows.npz")
    return tmp_path / "cut"


def test_a_killed_process_is_gone_on_from(run, make_model, make_budget, beginning):
    budget, folder = make_budget(checkpoint_s=0.0), beginning
    command = [sys.executable, "-c", KILLED, str(folder), repr(vars(budget)), str(torch.get_num_threads())]
    killed = subprocess.run(
        command, check=False, capture_output=True, env=os.environ | {"PYTHONPATH": os.getcwd()}
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert last_checkpoint(folder) is not None
    whole, last = make_model(), make_model()
    run(whole, make_budget(), "whole")
    assert run(last, make_budget(), "cut")["resumed"] is True
    assert same_weights(whole, last)


def test_a_checkpoint_cut_while_it_was_written_is_passed_over(run, make_model, make_budget, monkeypatch):
    whole, last = make_model(), make_model()
    run(whole, make_budget(), "whole")
    real = OrderedTrainer._save_optimizer_and_scheduler

    def cut(trainer, folder):
        if trainer.state.global_step == 8:
            raise CutError
        real(trainer, folder)

    monkeypatch.setattr(OrderedTrainer, "_save_optimizer_and_scheduler", cut)
    with pytest.raises(CutError):
        run(make_model(), make_budget(checkpoint_s=0.0), "cut")
    monkeypatch.setattr(OrderedTrainer, "_save_optimizer_and_scheduler", real)
    assert run(last, make_budget(), "cut")["resumed"] is True
    assert same_weights(whole, last)


def test_checkpoints_come_by_time_and_the_last_two_are_kept(run, make_model, make_budget, tmp_path):
    run(make_model(), make_budget(checkpoint_s=1e6), "none")
    assert not list((tmp_path / "none").glob("checkpoints/*"))
    with pytest.raises(CutError):
        run(make_model(), make_budget(checkpoint_s=0.0), "many", progress=cut_after(300))
    kept = sorted((tmp_path / "many" / "checkpoints").iterdir(), key=lambda path: path.stat().st_mtime)
    assert len(kept) == 2
    assert last_checkpoint(tmp_path / "many") == str(kept[-1])
    assert last_checkpoint(tmp_path / "nothing") is None


def test_no_file_but_safetensors_holds_the_weights(run, make_model, make_budget, tmp_path):
    with pytest.raises(CutError):
        run(make_model(), make_budget(checkpoint_s=0.0), progress=cut_after(500))
    names = {path.name for path in (tmp_path / "stage").rglob("checkpoint-*/*")}
    assert "model.safetensors" in names
    assert "pytorch_model.bin" not in names


def test_distilling_leaves_the_teacher_as_it_was(run, make_model, make_budget, weights_of):
    teacher = make_model(seed=2)
    before = weights_of(teacher)
    run(make_model(), make_budget(tokens=1000), objective=MSE, teacher=teacher.train())
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert not teacher.training
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_distilling_brings_the_student_nearer(run, make_model, make_budget, measure, batch):
    student, teacher = make_model(seed=1), make_model(seed=2)
    distance = lambda: float((student(**batch).logits - teacher(**batch).logits).detach().pow(2).mean())  # noqa: E731
    before = distance()
    objective = Objective({"logit_mse": 1.0}, "attended")
    run(student, make_budget(tokens=8000, learning_rate=1e-2), objective=objective, teacher=teacher)
    assert distance() < 0.5 * before


def test_gradients_of_micro_batches_add_up_to_their_mean(run, make_model, make_budget, tokenizer, packed):
    """One step of plain descent over two micro-batches moves the weights by the mean of their gradients."""
    budget = make_budget(tokens=60, batch_tokens=96, device_tokens=48, warmup_fraction=0.0, weight_decay=0.0)
    stream = MaskedBatches(packed, tokenizer, budget)
    assert len(stream) == budget.accumulation == 2
    model = make_model()
    mean = torch.stack([model(**stream[index]).loss for index in range(2)]).mean()
    expected = torch.autograd.grad(mean, model.bert.embeddings.word_embeddings.weight)[0]
    seen = {}

    def look(module, *_):
        seen["gradient"] = module.bert.embeddings.word_embeddings.weight.grad.clone()

    trainer = OrderedTrainer(
        model=model,
        args=arguments(Path("unused"), budget, max_grad_norm=0.0),
        train_dataset=stream,
        loss=lambda module, batch: module.eval()(**batch).loss,
    )
    trainer.create_optimizer()
    trainer.optimizer.register_step_pre_hook(lambda *_: look(model))
    trainer.train()
    torch.testing.assert_close(seen["gradient"], expected, rtol=1e-4, atol=1e-7)


def test_only_matrices_decay(make_model, make_budget, tokenizer, packed):
    budget = make_budget()
    model = make_model()
    trainer = OrderedTrainer(
        model=model,
        args=arguments(Path("unused"), budget),
        train_dataset=MaskedBatches(packed, tokenizer, budget),
        loss=lambda *_: None,
    )
    groups = trainer.create_optimizer().param_groups
    for group in groups:
        ranks = {parameter.dim() for parameter in group["params"]}
        assert ranks == ({2} if group["weight_decay"] else {1})
    assert {group["weight_decay"] for group in groups} == {0.0, 0.01}


def test_half_precision_trains_weights_kept_whole(run, make_model, make_budget):
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


def test_a_steps_own_dropout_replaces_the_models_and_goes_again(make_model):
    model = make_model()
    with dropout(model, 0.0):
        assert {layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)} == {0.0}
    with dropout(model, None):
        assert {layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)} == {0.1}
    assert {layer.p for layer in model.modules() if isinstance(layer, nn.Dropout)} == {0.1}


def test_without_dropout_two_passes_in_training_mode_agree(run, make_model, make_budget, batch):
    losses = []
    for probability in (0.0, None):
        model = make_model()
        facts = run(model, make_budget(tokens=500, dropout=probability), f"with-{probability}")
        losses.append(facts["losses"] or model.state_dict()["cls.predictions.bias"].tolist())
    assert losses[0] != losses[1]


def test_a_model_that_cannot_tell_tokens_apart_loses_the_logarithm_of_their_number(
    make_model, measure, tokenizer, documents
):
    model = make_model()
    with torch.no_grad():
        model.cls.predictions.decoder.weight.zero_()
        model.cls.predictions.bias.zero_()
    found = measure(model)
    assert found["loss"] == pytest.approx(math.log(90), rel=1e-5)
    assert found["perplexity"] == pytest.approx(90, rel=1e-4)
    assert found["accuracy"] == 0.0
    rows = pack(documents[:40], tokenizer, 24)
    num_bytes = sum(len(line.encode()) for document in documents[:40] for line in document)
    tokens_per_byte = (int(rows.lengths.sum()) - 2 * len(rows)) / num_bytes
    assert found["loss_per_byte"] == pytest.approx(math.log(90) * tokens_per_byte, rel=1e-5)


def test_the_held_out_loss_is_the_stock_classes_over_the_masked_positions(
    make_model, measure, tokenizer, documents, make_budget
):
    model = make_model()
    found = measure(model)
    rows = pack(documents[:40], tokenizer, 24)
    stream = MaskedBatches(
        rows, tokenizer, make_budget(tokens=min(600, int(rows.lengths.sum())), seed=20250516)
    )
    total = masked = 0.0
    for index in range(len(stream)):
        asked = int((stream[index]["labels"] != IGNORED).sum())
        total += model(**stream[index]).loss.item() * asked
        masked += asked
    assert found["masked"] == masked
    assert found["loss"] == pytest.approx(total / masked, rel=1e-5)


def test_held_out_text_is_masked_alike_whatever_trained_the_model(make_model, measure):
    one = measure(make_model(), seed=1, learning_rate=1.0, device_tokens=30)
    other = measure(make_model(), seed=2, warmup_fraction=0.5)
    assert one == other
    assert measure(make_model(seed=2))["loss"] != one["loss"]


@pytest.mark.parametrize("loss", ["feature_mse", "relation_kk", "attention_score_mse", "patient"])
def test_a_student_comes_nearer_to_a_deeper_teacher_by_what_it_minimises(loss, run, make_model, make_budget):
    facts = run(
        make_model(),
        make_budget(learning_rate=5e-3),
        objective=Objective({loss: 1.0}, relation_split=2),
        teacher=make_model(seed=2, layers=4),
    )
    assert facts["losses"][-1]["loss"] < 0.8 * facts["losses"][0]["loss"]


def test_a_projection_is_carried_over_a_cut_and_left_out_of_the_student(run, make_model, make_budget):
    settings = {
        "objective": Objective({"feature_mse": 1.0}, projection=True),
        "teacher": make_model(seed=2, hidden=24),
    }
    whole, cut = make_model(), make_model()
    names = set(whole.state_dict())
    run(whole, make_budget(), **settings)
    with pytest.raises(CutError):
        run(cut, make_budget(checkpoint_s=0.0), "cut", progress=cut_after(800), **settings)
    last = make_model()
    assert run(last, make_budget(checkpoint_s=0.0), "cut", **settings)["resumed"] is True
    assert set(last.state_dict()) == names
    assert same_weights(whole, last)


def test_frozen_parts_stay_and_the_others_learn(run, make_model, make_budget, weights_of):
    model = make_model()
    before = weights_of(model)
    run(model, make_budget(freeze=("embeddings", "mlm_head")))
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all("encoder" in name for name in changed)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_smoothing_masks_rare_tokens_more_often(packed, tokenizer, make_budget):
    shares = []
    for smoothing in (None, 0.7):
        batches = MaskedBatches(packed, tokenizer, make_budget(mask_smoothing=smoothing, tokens=4000))
        asked = torch.cat([batches[index]["labels"].flatten() for index in range(len(batches))])
        asked = asked[asked != IGNORED]
        counts = torch.bincount(torch.from_numpy(packed.ids).long(), minlength=len(tokenizer))
        shares.append(float(counts[asked].float().mean()))
    assert shares[1] < 0.75 * shares[0]
