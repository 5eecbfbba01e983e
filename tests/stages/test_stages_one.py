"""Single stages where they refuse, are cut, or stand alone."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file

from harness import ops
from harness.cli import doctor
from harness.cli.publish import mirror, publish_model, publish_run
from harness.config.load import load_recipe, load_scale
from harness.config.shape import Shape
from harness.errors import HarnessError
from harness.pipeline.store import Store
from harness.plans.run import plan_pretraining, plan_run
from harness.stages import corpus, fetch, narrow, prune, tasks
from harness.stages import pretrain as pretraining
from harness.stages.io import artifacts


class CutError(Exception):
    """Stands for whatever ends a process."""


@pytest.fixture
def data(tmp_path, write_data):
    return write_data(tmp_path / "data", ("mt", "sw"))


def test_text_of_one_document_cannot_be_parted(corpus_config, data, make_context):
    (data / "corpus/mt/text.txt").write_text("kadin mifa\ntoki numo\n", encoding="utf-8")
    context = make_context(corpus_config, {"data:corpus/mt": data / "corpus/mt"})
    with pytest.raises(
        HarnessError, match=r"wanted two documents or more in 'mt', .*; got 1; add text, or part"
    ):
        corpus.run(context)


def test_text_of_several_languages_lies_in_a_folder_each(corpus_config, data, make_context):
    config = corpus_config | {"languages": ["mt", "sw"], "excluded_tasks": {"mt": ["topic"], "sw": []}}
    names = ("corpus/mt", "corpus/sw", "topic/mt")
    context = make_context(config, {f"data:{name}": data / name for name in names})
    corpus.run(context)
    found = {path.relative_to(context.out).as_posix() for path in context.out.rglob("*.txt")}
    assert found == {f"{language}/{part}.txt" for language in ("mt", "sw") for part in ("train", "held_out")}
    assert set(context.facts) == {"mt", "sw"}


def test_text_of_a_source_language_is_mixed_in_as_many_lines_of_each(corpus_config, data, make_context):
    config = corpus_config | {"source_language": "sw", "excluded_tasks": {"mt": [], "sw": []}}
    config["held_out_fraction"] = 0.6  # Swahili has more to give than is wanted
    for place in ("mt", "sw"):
        text = data / "corpus" / place / "text.txt"
        more = "" if place == "mt" else "".join(f"\n{place} neno{number}\n" for number in range(300))
        lines = text.read_text(encoding="utf-8").split("\n")
        named = "\n".join(f"{place} {line}" if line else "" for line in lines)
        text.write_text(named + more, encoding="utf-8")
    inputs = {f"data:corpus/{place}": data / "corpus" / place for place in ("mt", "sw")}
    mixed = make_context(config, inputs, out=data.parent / "mixed")
    alone = make_context({key: value for key, value in config.items() if key != "source_language"}, inputs)
    corpus.run(mixed)
    corpus.run(alone)
    lines = (mixed.out / "train.txt").read_text(encoding="utf-8").split("\n")
    own = [line for line in lines if line.startswith("mt ")]
    assert own == [line for line in (alone.out / "train.txt").read_text("utf-8").split("\n") if line]
    beside = sum(line.startswith("sw ") for line in lines)
    assert len(own) - 3 <= beside <= len(own)
    assert {line[:2] for line in lines[:4] if line} == {"mt", "sw"}
    assert (mixed.out / "held_out.txt").read_bytes() == (alone.out / "held_out.txt").read_bytes()
    assert set(mixed.facts) == {"mt", "sw"}


@pytest.mark.parametrize("read", [{"languages": ["mt", "sw"]}, {"source_language": "sw"}])
def test_a_text_that_is_scored_in_one_language_is_trained_on_in_none(read, corpus_config, data, make_context):
    scored = (data / "topic/mt/test.tsv").read_text(encoding="utf-8").splitlines()[1].split("\t")[0]
    other = data / "corpus/sw/text.txt"
    other.write_text(f"{scored}\n\nneno moja\n\nneno mbili\n\nneno tatu\n", encoding="utf-8")
    names = ("corpus/mt", "corpus/sw", "topic/mt/dev.tsv", "topic/mt/test.tsv")
    context = make_context(
        corpus_config | read | {"excluded_tasks": {"mt": ["topic"], "sw": []}},
        {f"data:{name}": data / name for name in names},
    )
    corpus.run(context)
    written = [path.read_text(encoding="utf-8").splitlines() for path in context.out.rglob("*.txt")]
    assert not any(scored in lines for lines in written)
    assert context.facts["sw"]["excluded"] == 1


def test_what_a_language_holds_out_is_not_mixed_in_from_another(corpus_config, data, make_context):
    own = (data / "corpus/mt/text.txt").read_text(encoding="utf-8")
    config = corpus_config | {"source_language": "sw", "held_out_fraction": 0.3}
    lines = "\n\n".join(line for line in own.splitlines() if line)  # a document each: parted by another hash
    (data / "corpus/sw/text.txt").write_text(f"neno moja\n\n{lines}\n", encoding="utf-8")
    context = make_context(
        config | {"excluded_tasks": {"mt": [], "sw": []}},
        {f"data:corpus/{place}": data / "corpus" / place for place in ("mt", "sw")},
    )
    corpus.run(context)
    train, held_out = (
        {line for line in (context.out / f"{part}.txt").read_text(encoding="utf-8").splitlines() if line}
        for part in ("train", "held_out")
    )
    assert held_out
    assert not train & held_out


def test_a_task_that_went_away_is_an_error(data, make_context):
    config = {"source": "folder", "language": "mt", "names": ["topic"], "sizes": [None] * 3, "seed": 1}
    (data / "topic/mt/train.tsv").unlink()
    with pytest.raises(HarnessError, match=r"tasks: wanted 'topic' in 'mt'; .*has no train.tsv"):
        tasks.run(make_context(config, {"data:topic/mt": data / "topic/mt"}))


def test_a_task_that_was_not_written_names_the_stage_that_writes_it(make_context, tmp_path):
    with pytest.raises(
        HarnessError, match=r"ner: wanted ner.json from the stage 'tasks'; got none; run that stage"
    ):
        artifacts.read_task(make_context({}, {"tasks": tmp_path}), "ner")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.safetensors", r"expected weights \(model.safetensors\); got none; save the model"),
        ("tokenizer.json", r"expected a tokenizer .*; got none; save the tokenizer in the model"),
        ("config.json", r"expected config.json; got a folder without it; name the folder of a saved model"),
    ],
)
def test_a_teacher_that_lacks_a_file_is_refused(name, message, make_context, write_teacher, tmp_path):
    folder = write_teacher(tmp_path / "teacher")
    (folder / name).unlink()
    with pytest.raises(HarnessError, match=message):
        fetch.run(make_context({"name": "small", "shape": {}}, {"folder": folder}))


def test_a_teacher_that_is_no_longer_what_was_planned_is_refused(make_context, write_teacher, tmp_path):
    folder = write_teacher(tmp_path / "teacher")
    planned = Shape.from_transformers(json.loads((folder / "config.json").read_text())).model_dump() | {
        "ffn": 25
    }
    with pytest.raises(HarnessError, match=r"wanted ffn 25, as the plan has it; got 24; take another"):
        fetch.run(make_context({"name": "small", "shape": planned}, {"folder": folder}))


@pytest.mark.parametrize(
    ("now", "target", "rounds", "widths"), [(24, 16, 2, [20, 16]), (10, 3, 3, [8, 6, 3]), (8, 8, 1, [8])]
)
def test_rounds_of_pruning_take_equal_parts_and_end_at_the_target(now, target, rounds, widths):
    assert prune._widths(now, target, rounds) == widths


def test_neurons_are_scored_by_magnitude_without_text(
    corpus_config, make_context, write_teacher, tmp_path, data
):
    write_teacher(tmp_path / "teacher" / "model")
    text = tmp_path / "text"
    text.mkdir()
    corpus.run(make_context(corpus_config, {"data:corpus/mt": data / "corpus/mt"}, out=text))
    config = {"ffn": 10, "score": "magnitude", "rounds": 1, "held_out_length": 32}
    context = make_context(config, {"model": tmp_path / "teacher", "corpus": text})
    prune.run(context)
    assert context.facts["shape"]["ffn"] == 10


def test_neurons_are_scored_on_none_of_the_text_that_the_loss_is_measured_on(
    corpus_config, make_context, write_teacher, tmp_path, data
):
    write_teacher(tmp_path / "teacher" / "model")
    scored = {"tokens": 600, "batch_tokens": 96, "mask_fraction": 0.2, "sequence_length": 24, "seed": 1}
    config = {"ffn": 10, "score": "taylor", "rounds": 1, "held_out_length": 32, **scored}
    kept = {}
    for changed in (None, "held_out", "train"):
        text = tmp_path / f"text-{changed}"
        text.mkdir()
        corpus.run(make_context(corpus_config, {"data:corpus/mt": data / "corpus/mt"}, out=text))
        if changed:
            (path,) = text.glob(f"{changed}.*")
            path.write_text("\n".join(path.read_text(encoding="utf-8").splitlines()[:3]), encoding="utf-8")
        context = make_context(config, {"model": tmp_path / "teacher", "corpus": text})
        prune.run(context)
        kept[changed] = (context.out / "model" / "model.safetensors").read_bytes()
    assert kept["held_out"] == kept[None] != kept["train"]


@pytest.fixture
def pretrain(tmp_path, write_scale, make_context, data):
    """Runs the stage that trains a teacher, whole or cut after some steps."""
    shallow = {"layers": 1, "tokens": 1500, "learning_rate": 2e-3}
    changes = {
        "teacher.pretrain.shallow": shallow,
        "teacher.pretrain.tokens": 1500,
        "teacher.pretrain.vocabulary": 60,
    }
    changes |= {"teacher.pretrain.languages": ["mt", "sw"]}
    scale = load_scale(write_scale(tmp_path, changes)).with_data(str(data))
    corpora, teacher = plan_pretraining(scale)
    text = make_context(dict(corpora.config), dict(corpora.inputs), out=tmp_path / "corpora")
    corpus.run(text)

    def run(folder, cut_at=None):
        done = []

        def progress(*told):
            done.append(told)
            if len(done) == cut_at:
                raise CutError

        config = dict(teacher.config) | {"checkpoint_s": 0.0 if cut_at else 60.0}
        context = make_context(config, {"corpora": text.out}, out=tmp_path / folder, progress=progress)
        pretraining.run(context)
        return context, len(done)

    return run


def test_a_teacher_cut_while_shallow_and_while_deep_ends_as_an_undisturbed_one(pretrain):
    whole, steps = pretrain("whole")
    with pytest.raises(CutError):
        pretrain("cut", cut_at=5)
    with pytest.raises(CutError):
        pretrain("cut", cut_at=steps - 15)
    last, left = pretrain("cut")
    assert left < 15
    one, other = (load_file(context.out / "model" / "model.safetensors") for context in (whole, last))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert last.facts["shape"] == whole.facts["shape"]
    assert last.facts["shape"]["layers"] == 2
    told, resumed = whole.facts["training"], last.facts["training"]
    assert told["tokens"] == sum(half["tokens"] for half in told["halves"]) == resumed["tokens"]
    assert (told["resumed"], resumed["resumed"]) == (False, True)
    assert told["tokens_per_s"] > 0
    assert resumed["tokens_per_s"] is None


def test_a_teacher_of_one_language_finds_its_text(tmp_path, write_scale, make_context, data):
    changes = {
        "teacher.pretrain.languages": ["mt"],
        "teacher.pretrain.tokens": 200,
        "teacher.pretrain.vocabulary": 60,
    }
    scale = load_scale(write_scale(tmp_path, changes)).with_data(str(data))
    corpora, teacher = plan_pretraining(scale)
    text = make_context(dict(corpora.config), dict(corpora.inputs), out=tmp_path / "corpora")
    corpus.run(text)
    context = make_context(dict(teacher.config), {"corpora": text.out})
    pretraining.run(context)
    assert context.facts["parameters"]


def test_precision_is_what_was_asked_or_what_the_processor_does_well():
    assert artifacts.precision("fp32") == "fp32"
    assert artifacts.precision("bf16") == "bf16"
    assert artifacts.precision("auto") in {"fp32", "bf16"}


def test_nothing_is_published_of_a_run_that_is_not_there(tmp_path, write_scale, write_recipe):
    blueprint = plan_run("mt", load_recipe(write_recipe(tmp_path)), load_scale(write_scale(tmp_path)))
    for publish in (
        lambda: publish_run(blueprint, Store(tmp_path / "runs"), tmp_path / "out"),
        lambda: publish_model(blueprint.plan, Store(tmp_path / "runs"), tmp_path / "out"),
    ):
        with pytest.raises(
            HarnessError, match=r"publish: wanted the finished stage \w+ in .*runs; got none; run it"
        ):
            publish()
    assert not (tmp_path / "out").exists()


def test_a_mirror_holds_every_file_but_the_manifest(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "deep").mkdir(parents=True)
    for name in ("a.txt", "deep/b.txt", "manifest.json"):
        (source / name).write_text(name)
    mirror(source, target)
    assert {path.name for path in target.rglob("*.*")} == {"a.txt", "b.txt"}


def test_two_processes_may_publish_the_same_at_once(tmp_path, monkeypatch):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "model.onnx").write_text("weights")
    copy, others = shutil.copyfile, [lambda: mirror(source, target)]

    def copy_beside_another(path, half):
        copy(path, half)
        if others:
            others.pop()()

    monkeypatch.setattr(shutil, "copyfile", copy_beside_another)
    mirror(source, target)
    assert not others
    assert [path.name for path in target.iterdir()] == ["model.onnx"]


def test_the_doctor_tells_of_everything_a_user_may_need(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = {check.what: check for check in doctor.examine()}
    assert list(found) == ["C++ compiler", "kernels", "processor", "GPU", "container engine", "hub", "node"]
    assert all(check.found for check in found.values())
    assert found["hub"].found == "switched off by HF_HUB_OFFLINE"
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    found = {check.what: check for check in doctor.examine()}
    assert found["node"].found == "none"


@pytest.mark.parametrize(
    ("implementation", "advice"),
    [
        ("compiled", "none is needed: the kernels are compiled"),
        ("reference", "install g++ (Debian: build-essential), then `make build`"),
    ],
)
def test_a_compiler_is_asked_for_only_where_kernels_are_to_be_built(implementation, advice, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(ops, "implementation", lambda *_: implementation)
    assert {check.what: check for check in doctor.examine()}["C++ compiler"].advice == advice


@pytest.mark.parametrize(
    ("listed", "found", "advice"),
    [
        ("", "none", "none is needed for the scales mini and small; paper wants one"),
        (
            "GPU 0: NVIDIA H100 (UUID: GPU-1)",
            "GPU 0: NVIDIA H100, which torch (CPU build) cannot use",
            "take a torch build for your driver: `rm -r .venv`, then `make build TORCH=torch==VERSION`",
        ),
    ],
)
def test_a_gpu_that_torch_cannot_use_is_told(listed, found, advice, tmp_path, monkeypatch):
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\necho '{listed}'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    told = {check.what: check for check in doctor.examine()}["GPU"]
    assert (told.found, told.advice) == (found, advice)


def test_a_manifest_is_told_of_the_machine():
    told = doctor.environment()
    assert told.device in {"cpu", "cuda"}
    assert told.threads == torch.get_num_threads()
    assert told.ops in {"compiled", "reference"}
    assert (
        told.versions["torch"] == torch.__version__.split("+")[0]
        or told.versions["torch"] == torch.__version__
    )


@pytest.mark.parametrize("basis", ["importance", "pca"])
def test_narrowing_looks_at_the_text_to_train_on(finished, make_context, basis):
    inputs = {"model": finished.folder("prune"), "corpus": finished.folder("corpus")}
    text = {"tokens": 600, "batch_tokens": 96, "mask_fraction": 0.2, "sequence_length": 24}
    ways = {"basis": basis, "within": "svd", "refit": basis == "pca", "heads_mode": "narrowed"}
    shape = finished.facts("prune")["shape"]
    sizes = {"hidden": shape["hidden"] // 2, "heads": shape["heads"]}
    settings = {"precision": "fp32", "seed": 3, "held_out_length": 24}
    context = make_context(sizes | ways | text | settings, inputs)
    narrow.run(context)
    assert context.facts["shape"] == shape | sizes
    assert 0 < context.facts["held_out"]["loss"] < 10
