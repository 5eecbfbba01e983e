"""Every table that a command prints, at 80 and at 200 columns: no cell is cut."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.table import Table

from harness.api import LabelledSpan, LabelledWord, PairScore, Prediction, VocabularyChoice
from harness.cli import grids, pairs, push, vocabularies
from harness.cli.app import app, print_table
from harness.cli.doctor import Check
from harness.cli.labelling import _print_prediction
from harness.cli.watch import _tabulate_stages
from harness.config.grid import Cell
from harness.deploy.push import Upload
from harness.models.tokenizers.sizes import TokenisedText, VocabularySize
from harness.pipeline.plan import Plan, Stage
from harness.pipeline.status import status
from harness.pipeline.store import Store

GOLDEN = Path(__file__).parent / "tables"


@pytest.fixture
def terminal(monkeypatch):
    """Return a function that runs something and returns what a terminal of a width shows."""

    def terminal(width, run):
        file = io.StringIO()
        console = Console(
            file=file,
            width=width,
            force_terminal=True,
            color_system=None,
            highlight=False,
            legacy_windows=False,
        )
        for module in ("app", "watch", "recipes", "machine", "export", "score", "labelling", "grids"):
            monkeypatch.setattr(sys.modules[f"harness.cli.{module}"], "out", console)
        run()
        return "\n".join(line.rstrip() for line in file.getvalue().splitlines()).rstrip()

    return terminal


def make_export_record():
    """Return the record of an export with two files, as far as its table reads it."""
    speed = {"value": 1.71, "low": 1.62, "high": 1.8}
    row = {
        "file": "onnx/model_quantized.onnx", "size_bytes": 6_123_456, "compressed_bytes": 4_123_456,
        "max_abs_delta": 1.2e-5, "argmax_agreement": 0.998, "p50_ms": 1.21, "p99_ms": 2.05,
        "precision": "int8", "speed_ratio": speed, "scores": {"macro_f1": {"value": 0.812}}, "gate": "passed",
        "kept_parts": ["embeddings"],
    }  # fmt: skip
    return {"files": [row | {"file": "onnx/model.onnx", "precision": "fp32", "kept_parts": []}, row]}


def make_scores():
    """Return the scores of two models on a task, as far as their table reads them."""
    cell = {"mean": 0.7123, "std": 0.011, "low": 0.69, "high": 0.73, "values": [0.71, 0.72, 0.7]}
    comparison = {
        "model": "compact-student-of-a-long-name", "task": "topic", "p_holm": 0.0312, "verdict": "worse",
        "difference": {"value": -0.02, "low": -0.03, "high": -0.01},
    }  # fmt: skip
    models = ("multilingual-e5-small", comparison["model"])
    return {
        "names": {name: name for name in models},
        "scores": {name: {"topic": {"n_test": 204, "metrics": {"macro_f1": cell}}} for name in models},
        "comparisons": [comparison],
    }


def call(*arguments):
    """Return a function that runs a command."""
    return lambda: app(args=list(arguments), standalone_mode=False)


def print_export():
    """Print the table of an export."""
    from harness.cli.export import _print_files

    _print_files(make_export_record())


def print_scores():
    """Print the table of a score."""
    from harness.cli.score import _tabulate

    print_table(_tabulate(make_scores(), "topic", "macro_f1"))


def print_doctor():
    """Print the table of a machine's checks."""
    checks = [
        Check("kernels", "compiled for AVX-512, bf16 and int8", ""),
        Check("GPU", "none", "on a machine with one: install torch for CUDA, see docs/containers.md"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.cli.doctor.run_checks", lambda: checks)
        call("doctor")()


def print_stages():
    """Print the table of a plan with nothing done."""
    stages = [
        Stage("tasks", "tasks", 1, {"language": "mt"}, {}),
        Stage("score.topic.student-of-a-long-name", "score", 1, {}, {"tasks": "tasks"}),
    ]
    rows = status(Plan(stages), Store(Path("nowhere")))
    print_table(_tabulate_stages("mt/gurgurov2025-mini", rows), keys=2)


def print_predictions():
    """Print what a tagger and a classifier say of a text."""
    words = (LabelledWord("Malta", "B-LOC", 0.97531, 0, 5), LabelledWord("🙂", None, None, 6, 7))
    spans = (LabelledSpan("Malta", "LOC", 0.97531, 0, 5),)
    _print_prediction(Prediction("Malta 🙂", words=words, spans=spans))
    _print_prediction(Prediction("Il-logħba ntemmet 2-1.", label="sports", probability=0.8))


def print_upload():
    """Print the files that would go to the hub."""
    files = {"README.md": 2048, "onnx/model_quantized.onnx": 6_123_456, "tokenizer.json": 912_345}
    print_table(push._tabulate(Upload(Path("onnx"), "some-lab/maltese-topics", "model", files, None)))


def print_pairs():
    """Print the scores of two models on minimal pairs."""
    name, worse, same = "student-of-a-long-name", (-0.617, -0.75, -0.483), (-0.1, -0.2, 0.0)
    scores = [
        PairScore("teacher", "", 60, 0.95, 0.883, 1.0),
        PairScore(name, "", 60, 0.333, 0.217, 0.45, worse, 0.0002, "worse"),
        PairScore("teacher", "SV-#", 40, 1.0, 1.0, 1.0),
        PairScore(name, "SV-#", 40, 0.9, 0.8, 0.975, same, 0.12, "not told apart"),
    ]
    print_table(pairs._tabulate(scores), keys=2)


def print_vocabulary():
    """Print what trimming to two numbers of tokens does to a language's text."""
    rows = [("all", 250_002, 1, 1.733), ("0.05 % of the documents", 19_737, 0.9934, 1.7)]
    choices = []
    for rule, number, share, ratio in rows:
        held_out, names = (TokenisedText(900, one, ratio, 0.0) for one in (share, share**7))
        size = VocabularySize(rule, number, {"held-out text": held_out, "ner": names})
        choices.append(VocabularyChoice(size, 384 * number + 21_000_000))
    print_table(vocabularies._tabulate(choices))


def print_grid():
    """Print how far the cells of a grid are."""
    cells = [Cell("mt", "compact2026@14m", "laptop", None), Cell("sw", "gurgurov2025", "mini", 2)]
    done = [(cells[0], 12, 40), (cells[1], 0, 0)]
    planned = SimpleNamespace(grid=SimpleNamespace(name="languages-of-the-islands"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grids, "count_done", lambda *_: done)
        grids.print_progress(planned, Path("runs"))


TABLES = {
    "grid": print_grid,
    "doctor": print_doctor,
    "vocabulary": print_vocabulary,
    "pairs": print_pairs,
    "plan": print_stages,
    "predict": print_predictions,
    "push": print_upload,
    "recipe": call("recipe", "show", "gurgurov2025", "--scale", "mini"),
    "languages": call("languages"),
    "sources": call("languages", "--sources"),
    "export": print_export,
    "score": print_scores,
}


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("name", TABLES)
def test_tables_look_as_kept(name, width, terminal):
    shown = terminal(width, TABLES[name]).partition("note: ")[0].rstrip()
    assert "…" not in shown.replace("0, 2, …", "")
    assert max(map(len, shown.splitlines())) <= width
    path = GOLDEN / f"{name}-{width}.txt"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{shown}\n", encoding="utf-8")
    assert shown == path.read_text(encoding="utf-8").rstrip("\n")


@pytest.mark.parametrize("width", [80, 200])
def test_plan_shows_every_stage_and_what_is_left(width, terminal, tmp_path):
    shown = terminal(width, call("plan", "mt", "--runs", str(tmp_path)))
    assert "…" not in shown
    assert re.search(r"score\.sentiment\.random-teacher", shown)
    assert re.search(r"^to do:  \d+ stages$", shown, re.MULTILINE)
    assert re.search(r"^time:   about .* \(.* to .*\), from this processor's speed", shown, re.MULTILINE)
    assert re.search(r"^disk:   about .*; .* are free$", shown, re.MULTILINE)
    assert re.search(r"^memory: about .* this machine has ", shown, re.MULTILINE)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_cell_is_lost_where_a_table_is_split(width, terminal):
    table = Table("name", *(f"column {number}" for number in range(12)))
    for row in range(2):
        table.add_row(f"model-{row}.onnx", *(f"{row}-{number}-value" for number in range(12)))
    shown = terminal(width, lambda: print_table(table))
    for row in range(2):
        assert f"model-{row}.onnx" in shown
        assert all(f"{row}-{number}-value" in shown for number in range(12))


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (("languages",), {"code", "name", "script", "builtin", "in_folder", "sources"}),
        (("doctor",), {"what", "state", "advice"}),
        (("plan", "mt"), {"run", "stages", "estimate"}),
        (("recipe", "show", "gurgurov2025"), {"recipe", "source", "scale", "steps"}),
    ],
)
def test_json_can_be_read(arguments, keys, terminal, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    value = json.loads(terminal(80, call(*arguments, "--json")))
    assert set(value[0] if isinstance(value, list) else value) == keys
