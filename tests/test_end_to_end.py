"""From a language to a tested ONNX model, by the command; cut at any moment, it ends with equal numbers."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForMaskedLM, AutoTokenizer

from harness import cli
from harness.models.loading.folder import quiet
from harness.report.answer import write_answer
from harness.report.results import Results

RUN = "mt/short-tiny"
WAIT_S = 300


def settings(runs):
    """The environment of every process here: one thread, no network."""
    return os.environ | {
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "PYTHONPATH": str(Path(cli.__file__).parents[2]),
        "RUNS": str(runs),
    }


@pytest.fixture(scope="session")
def files(tmp_path_factory, write_scale, write_recipe):
    """A folder with the scale and the recipe."""
    folder = tmp_path_factory.mktemp("files")
    write_scale(folder)
    write_recipe(folder)
    write_recipe(folder, [{"trim": {"tokens": "1/2"}}], "trimmed")
    return folder


@pytest.fixture(scope="session")
def arguments(files):
    """Return the arguments of a run into a folder."""

    def arguments(runs, language="mt", recipe="short", scale="tiny"):
        given = {"--recipe": files / f"{recipe}.yaml", "--scale": files / f"{scale}.yaml", "--runs": runs}
        return ["reproduce", language, *(str(one) for pair in given.items() for one in pair)]

    return arguments


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, arguments):
    """One whole run in a process of its own."""
    runs = tmp_path_factory.mktemp("whole") / "runs"
    command = [sys.executable, "-m", "harness", *arguments(runs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=settings(runs))
    assert done.returncode == 0, done.stderr
    return runs, done


@pytest.fixture
def copied(undisturbed, tmp_path):
    """A copy of the whole run, to be damaged."""
    return shutil.copytree(undisturbed[0], tmp_path / "runs")


@pytest.fixture
def call(monkeypatch, capsys):
    """Run a command in this process, on one thread as the others, and return its exit code and output."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def call(*given):
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, given)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, *capsys.readouterr()

    yield call
    torch.set_num_threads(threads)


class Launched:
    """The command in a process of its own, to be stopped or killed."""

    def __init__(self, given, log):
        self.log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "harness", *given], stdout=file, stderr=file, env=settings(log.parent)
            )

    def lines(self):
        return self.log.read_text().splitlines()

    def wait_for(self, condition):
        ends_s = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < ends_s, self.lines()
            assert self.process.poll() is None, self.lines()
            time.sleep(0.005)

    def end(self, signal_number=None):
        """Send a signal, if one is named, and return the exit code, negative for a killed process."""
        if signal_number is not None:
            self.process.send_signal(signal_number)
        return self.process.wait(WAIT_S)


def written(runs):
    """Return the time of each file except for locks."""
    files = (path for path in runs.rglob("*") if path.is_file() and ".locks" not in path.parts)
    return {path: path.stat().st_mtime_ns for path in files}


def count_stages(runs):
    """Return the number of complete stages in the store."""
    return len(read_manifests(runs))


def read_results(runs, run=RUN):
    return Results.model_validate_json((runs / run / "results.json").read_text(encoding="utf-8"))


def read_manifests(runs):
    manifests = (json.loads(path.read_text(encoding="utf-8")) for path in runs.rglob("manifest.json"))
    return {manifest["key"]: manifest for manifest in manifests}


def numbers(results):
    """Return the results that do not depend on the clock."""
    return (
        results.scores,
        results.models,
        [(one.model, one.task, one.precision, one.size_bytes, one.max_abs_delta) for one in results.exports],
        [(one.step, one.tokens, one.loss_held_out) for one in results.training],
    )


def test_run_ends_and_names_its_report(undisturbed):
    runs, done = undisturbed
    folder = runs / RUN
    lines = done.stdout.splitlines()
    assert lines[:4] == [
        f"report: {folder / 'report.md'}  {folder / 'report.html'}  {folder / 'results.json'}",
        f"student: {folder / 'student'}  (AutoModelForMaskedLM.from_pretrained loads it)",
        f"ONNX: {folder / 'onnx/pos'}  (harness demo {folder / 'onnx/pos'})",
        f"ONNX: {folder / 'onnx/topic'}  (harness demo {folder / 'onnx/topic'})",
    ]
    assert tuple(lines[4:]) == write_answer(read_results(runs))
    lines = done.stderr.splitlines()
    count = count_stages(runs)
    assert lines[0].startswith(f"[1/{count}] tasks: done in ")
    assert lines[-1].startswith(f"{count} stages run, 0 were already done, in ")
    assert len(lines) == count + 1, "a line for each stage, and nothing of the libraries"
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if ".onnx" in path.name}
    assert {
        f"onnx/{task}/{name}" for task in ("pos", "topic") for name in ("model.onnx", "model_int8.onnx")
    } <= names


def test_run_hands_over_the_student(undisturbed):
    folder = undisturbed[0] / RUN / "student"
    with quiet():
        model = AutoModelForMaskedLM.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
    results = Results.model_validate_json((folder.parent / "results.json").read_text())
    student = next(one for one in reversed(results.models) if one.role == "student")
    assert sum(parameter.numel() for parameter in model.parameters()) == sum(student.parameters.values())
    assert len(tokenizer) == model.config.vocab_size
    head, card = (folder / "README.md").read_text().split("---\n", 2)[1:]
    assert yaml.safe_load(head)["language"] == "mt"
    assert f"{sum(student.parameters.values()):,}" in card
    for task, metric in results.declared.tasks.items():
        assert f"| {task} | {metric} |" in card


def test_every_reported_number_has_a_manifest(undisturbed):
    runs, _ = undisturbed
    results, manifests = read_results(runs), read_manifests(runs)
    assert results.find_problems(manifests) == []
    for score in results.scores:
        cells = manifests[score.keys[0]]["facts"]["scores"]
        cell = cells.get(score.task, cells)["metrics"][score.metric]
        assert score.mean == pytest.approx(cell.get("mean", cell.get("value")))
    for export in results.exports:
        assert export.size_bytes == manifests[export.key]["facts"][export.precision]["size_bytes"]
    titles = [model.title for model in results.models]
    for name in ("report.md", "report.html"):
        text = (runs / RUN / name).read_text(encoding="utf-8")
        assert all(name.replace("'", "&#39;") in text or name in text for name in titles)


def test_manifests_describe_machine_and_versions(undisturbed):
    for manifest in read_manifests(undisturbed[0]).values():
        assert manifest["versions"].keys() >= {"torch", "transformers", "onnxruntime", "harness"}
        assert (manifest["device"], manifest["threads"]) in {("cpu", 1), ("cuda", 1)}
        assert manifest["ops"] in {"compiled", "reference"}
        assert manifest["wall_s"] >= 0


WITHOUT_TORCH = """
import json, sys
sys.modules["torch"] = sys.modules["transformers"] = None
from pathlib import Path
import numpy, onnxruntime, tokenizers
folder = Path(sys.argv[1])
encoding = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).encode("Il-kelb jorqod.")
batch = {"input_ids": encoding.ids, "attention_mask": encoding.attention_mask}
batch["token_type_ids"] = encoding.type_ids
shapes = []
for name in ("model.onnx", "model_int8.onnx"):
    session = onnxruntime.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"])
    inputs = {one.name: numpy.array([batch[one.name]]) for one in session.get_inputs()}
    shapes.append(session.run(None, inputs)[0].shape)
labels = json.loads((folder / "config.json").read_text())["id2label"]
print(json.dumps([len(encoding.ids), len(labels), shapes]))
"""


@pytest.mark.parametrize("task", ["pos", "topic"])
def test_export_runs_without_torch(task, undisturbed):
    folder = undisturbed[0] / RUN / "onnx" / task
    command = [sys.executable, "-c", WITHOUT_TORCH, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    length, num_labels, shapes = json.loads(done.stdout)
    assert shapes == [[1, length, num_labels] if task == "pos" else [1, num_labels]] * 2


AGAIN = """
import sys
from harness import cli
try:
    cli.main()
finally:
    print("loaded:", *sorted({"torch", "transformers", "onnxruntime"} & set(sys.modules)))
"""


def test_second_run_runs_no_stage_and_loads_no_library(undisturbed, arguments):
    runs, _ = undisturbed
    before = written(runs)
    command = [sys.executable, "-c", AGAIN, *arguments(runs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=settings(runs))
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"0 stages run, {count_stages(runs)} were already done, in ")
    assert done.stdout.splitlines()[-1] == "loaded:"
    log = runs / RUN / "log.txt"
    after = written(runs)
    assert after.pop(log) > before.pop(log)  # it says when each command ran
    assert after == before


def test_second_language_reuses_the_teacher(copied, arguments, call, files, write_scale):
    write_scale(files, {"score.seeds": [1], "export.quantize": "none"}, "tiny-once")
    code, _, err = call(*arguments(copied, "sk", "trimmed", "tiny-once"))
    assert code == 0, err
    made = [line.split()[1] for line in err.splitlines() if " done in " in line]
    assert "tasks:" in made
    assert not {"corpora:", "teacher:", "random-teacher:"} & set(made)
    one, other = read_results(copied), read_results(copied, "sk/trimmed-tiny-once")
    assert one.models[0].key == other.models[0].key
    assert other.run.language_name == "Slovak"
    assert {export.precision for export in other.exports} == {"fp32"}


def test_damaged_stages_are_run_again(copied, arguments, call, undisturbed):
    (weights,) = copied.glob(f"{RUN}/*-adapt-*/model/model.safetensors")
    (manifest,) = copied.glob(f"{RUN}/*-score.topic.trim-*/manifest.json")
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    manifest.write_text(manifest.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    code, out, err = call("verify", "--runs", copied)
    assert code == 1
    assert sorted(out.splitlines()) == sorted(
        [f"{weights}: has other bytes than were written", f"{manifest}: manifest.json is not readable"]
    )
    assert err == "harness: verify: 2 damaged; the next `harness reproduce` runs their stages again\n"
    code, _, err = call(*arguments(copied))
    assert code == 0
    assert [line.split()[1] for line in err.splitlines() if " done in " in line] == [
        "adapt:",
        "score.topic.trim:",
    ]
    code, out, _ = call("verify", "--runs", copied)
    assert (code, out) == (0, f"{count_stages(copied)} stages, every byte as it was written\n")
    assert numbers(read_results(copied)) == numbers(read_results(undisturbed[0]))


def test_report_of_a_finished_run_is_printed(undisturbed, arguments, call):
    runs, _ = undisturbed
    _, *given = arguments(runs)
    code, out, _ = call("report", *given)
    assert code == 0
    assert out.strip() == (runs / RUN / "report.md").read_text(encoding="utf-8").strip()
    code, out, _ = call("plan", *given)
    assert code == 0
    assert out.count(" done ") == count_stages(runs)


def test_results_are_converted_for_other_programs(undisturbed, call, tmp_path):
    code, out, err = call("convert", undisturbed[0] / RUN, "--out", tmp_path / "out")
    assert code == 0, err
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert out == f"{len(files)} files in {tmp_path / 'out'}\n"
    results = read_results(undisturbed[0])
    models = {score.model for score in results.scores}
    assert sum(path.suffix == ".jsonl" for path in files) == len(models)
    for model in models:
        seeds = results.find_score(model, "pos").seeds
        written = {path.name for path in files if path.name.startswith(f"pos.{model}.")}
        assert written == {f"pos.{model}.seed{seed}.conllu" for seed in seeds}


def test_stopped_and_killed_run_ends_like_an_undisturbed_one(undisturbed, arguments, tmp_path):
    runs = tmp_path / "runs"
    given = arguments(runs)
    started = Launched(given, tmp_path / "log")
    started.wait_for(lambda: list(runs.glob(f"{RUN}/.partial-*-teacher-*/checkpoints")))
    assert started.end(signal.SIGINT) == 130
    *stages, last = started.lines()
    assert last == "harness: stopped; finished work is kept, run the same command again to resume"
    assert all(line.startswith("[") for line in stages)

    drawn = random.Random(8)
    for finished in (1, drawn.randint(2, 5), drawn.randint(3, 8)):
        started = Launched(given, tmp_path / "log")
        started.wait_for(lambda: sum(" done in " in line for line in started.lines()) >= finished)  # noqa: B023
        time.sleep(drawn.random() * 0.3)
        assert started.end(signal.SIGKILL) == -signal.SIGKILL

    started = Launched(given, tmp_path / "log")
    assert started.end() == 0, started.lines()
    assert numbers(read_results(runs)) == numbers(read_results(undisturbed[0]))
    assert read_results(runs).find_problems(read_manifests(runs)) == []
    assert read_manifests(runs).keys() == read_manifests(undisturbed[0]).keys()
