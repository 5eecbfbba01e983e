"""The stage that fine-tunes: rates chosen on dev, collapsed attempts and diverged seeds in its facts."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import MappingProxyType

import pytest

from harness.config.steps.tune import ResolvedTune
from harness.errors import HarnessError
from harness.pipeline.checkpoints import CannotResumeError
from harness.pipeline.store import open_partial
from harness.stages import score as stage
from harness.train.finetuning import task_training
from harness.train.finetuning.finetune import finetune
from harness.train.trainer import DivergedError


@pytest.fixture
def run(finished, make_context):
    """Return a function that runs the stage on the topics of a finished run and returns its facts."""

    def run(
        seeds=(1, 2), *, keep_model=False, step=None, teacher=None, more=MappingProxyType({}), out=None,
        progress=None, checkpoint_s=None, **protocol,
    ):  # fmt: skip
        config = dict(finished.manifest("score.topic.teacher").config)
        settings = {**config["protocol"], **protocol}
        if "learning_rates" in protocol:
            del settings["learning_rate"]
        config |= {"seeds": list(seeds), "keep_model": keep_model, "protocol": settings}
        inputs = {name: finished.folder(name) for name in ("teacher", "tasks")}
        given = {"model": inputs["teacher"], "tasks": inputs["tasks"]}
        if step is not None:
            given |= {"teacher": teacher, "corpus": finished.folder("corpus")}
        context = replace(
            make_context({**config, **more}, given, out, progress, step), checkpoint_s=checkpoint_s
        )
        facts = stage.run(context).scores
        assert json.loads((context.out / "scores.json").read_text())["by_seed"] == facts.by_seed
        return facts, context.out

    return run


@pytest.fixture
def diverge(monkeypatch):
    """Return a function that lets the fine-tunings of some seeds and rates diverge."""

    def set_up(diverges):
        def diverging(*given, protocol, seed, **settings):
            if diverges(seed, protocol.learning_rate):
                raise DivergedError("training: expected a finite loss; got nan")
            return finetune(*given, protocol=protocol, seed=seed, **settings)

        monkeypatch.setattr(task_training, "finetune", diverging)

    return set_up


def test_the_rate_of_the_first_seed_serves_the_others(run):
    facts, _ = run(learning_rates=[1e-3, 1e-4])
    first, second = facts.seeds["1"], facts.seeds["2"]
    assert [attempt.learning_rate for attempt in first.attempts[:2]] == [1e-3, 1e-4]
    assert second.attempts[0].learning_rate == first.learning_rate
    assert ",learning_rates=0.001/0.0001," in facts.signature
    assert ",learning_rate=" not in facts.signature


def test_a_diverged_attempt_is_repeated_at_a_lower_rate(run, diverge):
    diverge(lambda _, rate: rate == 1e-3)
    facts, _ = run(learning_rate=1e-3)
    attempts = facts.seeds["1"].attempts
    assert [attempt.learning_rate for attempt in attempts[:2]] == [1e-3, 2.5e-4]
    assert attempts[0].problem == "non-finite loss"
    assert facts.dropped == {}


def test_a_seed_that_diverges_at_every_rate_is_dropped(run, diverge):
    diverge(lambda seed, _: seed == 1)
    facts, out = run(keep_model=True)
    assert facts.by_seed == [2]
    assert [attempt.problem for attempt in facts.dropped["1"]] == ["non-finite loss"] * 3
    assert (out / "model" / "model.safetensors").is_file()


def test_a_stage_whose_seeds_all_diverge_is_refused(run, diverge):
    diverge(lambda *_: True)
    with pytest.raises(HarnessError, match=r"score: topic: expected a finite loss .* rate of 6.25e-05; low"):
        run(learning_rate=1e-3)


def test_the_majority_label_of_training_is_recorded(run, finished):
    facts, _ = run(seeds=(1,))
    counts = json.loads((finished.folder("tasks") / "topic.json").read_text())
    labels = [example["label"] for example in counts["train"]]
    assert facts.majority.train_fraction == labels.count(facts.majority.label) / len(labels)
    assert 0 < facts.majority.dev_score < 1


TEXT = {"learning_rate": 1e-3, "epochs": 1}
STEP = ResolvedTune(
    teacher="teacher", loss={"labels": 0.5, "class_kl": 0.5}, temperature=1, method="full", text=40,
    teachers="all",
)  # fmt: skip


@pytest.fixture
def teacher(run):
    """Return the folder of a teacher that was fine-tuned with two seeds, both kept."""
    _, out = run(keep_model=True, more={"keep_all_seeds": True})
    kept = sorted(path.parent.relative_to(out).as_posix() for path in out.rglob("model.safetensors"))
    assert kept == ["model", "models/2"]
    return out.rename(out.with_name("teacher"))


def test_a_student_learns_from_text_that_all_seeds_of_its_teacher_label(run, teacher):
    facts, out = run(step=STEP, teacher=teacher, more={"text": TEXT})
    assert (facts.text.lines, facts.text.epochs, facts.text.learning_rate) == (40, 1, 1e-3)
    assert facts.text.tokens > 40
    assert all(seed.dev_after_text > 0 for seed in facts.seeds.values())
    assert "/2 teachers/40 lines" in facts.signature
    assert {path.name for path in out.iterdir()} == {"scores.json", "predictions.json.gz", "checkpoints"}


def test_a_seed_that_diverges_on_the_text_is_dropped(run, teacher, diverge):
    diverge(lambda seed, rate: seed == 1 and rate == TEXT["learning_rate"])
    facts, _ = run(step=STEP, teacher=teacher, more={"text": TEXT}, learning_rate=1e-4)
    assert facts.by_seed == [2]
    assert [attempt.problem for attempt in facts.dropped["1"]] == ["non-finite loss"]


def test_a_small_task_takes_more_epochs(run):
    facts, _ = run(seeds=(1,), min_steps=9)
    assert "min_steps" not in facts.signature
    assert ",evaluate_every=" in facts.signature


@pytest.fixture
def count_trainings(monkeypatch):
    """Return a function that counts the trainings from now on, and stops the stage before one of them."""

    def set_up(stop_before=math.inf):
        calls = []

        def counted(*given, protocol, seed, **settings):
            calls.append((seed, protocol.learning_rate))
            if len(calls) == stop_before:
                raise KeyboardInterrupt
            return finetune(*given, protocol=protocol, seed=seed, **settings)

        monkeypatch.setattr(task_training, "finetune", counted)
        return calls

    return set_up


def stop_and_resume(run, count_trainings, tmp_path, stop_before, **settings):
    """Run the stage whole; stop it before a training and run it again; return facts and trainings of both."""
    settings["checkpoint_s"] = 0
    calls = count_trainings()
    whole, out = run(**settings)
    predictions = (out / "predictions.json.gz").read_bytes()
    out.rename(tmp_path / "whole")
    count_trainings(stop_before)
    out.mkdir()
    with pytest.raises(KeyboardInterrupt):
        run(out=out, **settings)
    assert open_partial(out) == [], "what the stopped stage left is whole"
    resumed_calls = count_trainings()
    resumed, _ = run(out=out, **settings)
    assert (out / "predictions.json.gz").read_bytes() == predictions
    return (whole, calls), (resumed, resumed_calls)


@pytest.mark.parametrize(("method", "stop_before"), [("full", 4), ("adapter", 2), ("lora", 3)])
def test_a_stopped_stage_goes_on_after_its_last_training(run, count_trainings, tmp_path, method, stop_before):
    (whole, calls), (resumed, resumed_calls) = stop_and_resume(
        run, count_trainings, tmp_path, stop_before, learning_rates=[1e-3, 1e-4], method=method
    )
    assert resumed == whole
    assert resumed_calls == calls[stop_before - 1 :]


@pytest.mark.parametrize("stop_before", [2, 4])
def test_a_stopped_stage_keeps_what_a_text_taught(run, teacher, count_trainings, tmp_path, stop_before):
    (whole, calls), (resumed, resumed_calls) = stop_and_resume(
        run, count_trainings, tmp_path, stop_before, step=STEP, teacher=teacher, more={"text": TEXT}
    )
    assert resumed == whole
    assert resumed_calls == calls[stop_before - 1 :]


def test_a_checkpoint_of_another_shape_begins_the_stage_again(run, count_trainings, tmp_path):
    count_trainings(stop_before=2)
    out = tmp_path / "stopped"
    out.mkdir()
    with pytest.raises(KeyboardInterrupt):
        run(out=out, learning_rates=[1e-3, 1e-4], method="adapter", checkpoint_s=0)
    with pytest.raises(CannotResumeError, match="the fine-tunings of seed 1 cannot be read"):
        run(out=out, learning_rates=[1e-3, 1e-4])


def test_progress_counts_the_steps_of_all_trainings(run, teacher):
    seen = []
    run(step=STEP, teacher=teacher, more={"text": TEXT}, progress=lambda *given: seen.append(given[:3]))
    counts = [done for done, *_ in seen]
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert seen[-1] == (counts[-1], counts[-1], "steps")
    assert len({done for done, *_ in seen}) == counts[-1] + 1, "each step is reported"
