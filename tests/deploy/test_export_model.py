"""The command `harness export`: a saved model in, a folder of checked ONNX files out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import transformers
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers

from harness.deploy import evaluation_text, export_model, export_record
from harness.deploy.export_record import choose_default
from harness.deploy.output_folder import check_output_folder
from harness.errors import HarnessError, UsageError
from harness.export.record import RECORD, FileRecord
from harness.precisions import COPIES
from harness.report.model_card import render_model_card
from harness.tasks import HEADS, UPOS

QUICK = ["--graphs", "legacy", "--seconds", "0.05", "--length", "16"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """The folder of a tiny tagger."""
    folder = tmp_path_factory.mktemp("deploy") / "model"
    torch.manual_seed(0)
    labels = dict(enumerate(UPOS))
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{n}" for n in range(59))]
    made = Tokenizer(models.WordLevel({name: place for place, name in enumerate(names)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    config = transformers.BertConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=32, id2label=labels, label2id={name: n for n, name in labels.items()},
    )  # fmt: skip
    transformers.BertForTokenClassification(config).save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(folder)  # fmt: skip
    return folder


def export(saved: Path, out: Path, task: str = "pos", **changes) -> dict[str, object]:
    settings = {"graphs": ("legacy",), "precisions": (), "length": 16, "seconds": 0.05}
    return export_model.export_model(saved, task, out, **{**settings, **changes}).as_dict()


def test_a_folder_has_every_file_in_its_layout_and_a_record_of_them(saved, tmp_path: Path):
    lines: list[str] = []
    changes = {"layout": "transformers.js", "precisions": ("fp16", "int8", "q4")}
    record = export(saved, tmp_path / "out", **changes, report_step=lines.append)
    names = {
        str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()
    }
    assert names == {
        "onnx/model.onnx", "onnx/model_fp16.onnx", "onnx/model_int8.onnx", "onnx/model_q4.onnx",
        "onnx/model_quantized.onnx", "config.json", "tokenizer.json", "tokenizer_config.json", RECORD,
        "README.md", "predict.py",
    }  # fmt: skip
    assert json.loads(json.dumps(record)) == json.loads(
        (tmp_path / "out" / RECORD).read_text(encoding="utf-8")
    )
    rows = {row["precision"]: row for row in record["files"]}
    assert rows["fp32"]["max_abs_delta"] <= 1e-4
    assert rows["fp32"]["speed_ratio"]["value"] == 1
    assert (rows["int8"]["standard_operators"], rows["q4"]["standard_operators"]) == (True, False)
    for row in rows.values():
        assert row["size_bytes"] == (tmp_path / "out" / row["file"]).stat().st_size
        assert row["compressed_bytes"] < row["size_bytes"]
        assert 0 < row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"]
    assert record["default"] == "fp32"
    assert "no smaller copy was scored" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    quantized = (tmp_path / "out/onnx/model_quantized.onnx").read_bytes()
    assert quantized == (tmp_path / "out/onnx/model_int8.onnx").read_bytes()
    assert lines[0] == "trying 1 graphs: legacy"
    assert not list(tmp_path.glob(".*"))


def test_an_earlier_export_is_replaced_and_anything_else_is_not(saved, tmp_path: Path):
    out = tmp_path / "out"
    export(saved, out, precisions=("int8",))
    export(saved, out)
    assert not (out / "model_int8.onnx").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    for folder, got in {"full": "a folder in use that no export made", "full/letter.txt": "a file"}.items():
        with pytest.raises(HarnessError, match=f"or an earlier export; got {got}; name another"):
            check_output_folder(tmp_path / folder)
    (tmp_path / "full" / RECORD).write_text("[1]")
    with pytest.raises(HarnessError, match="in use that no export made"):
        check_output_folder(tmp_path / "full")


def test_an_export_may_go_into_the_working_directory(saved, tmp_path: Path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.chdir(out)
    for _ in range(2):
        export(saved, Path())
        assert Path("model.onnx").is_file(), "the folder itself stays"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_export_that_fails_leaves_what_was_there(saved, tmp_path: Path, monkeypatch):
    out = tmp_path / "out"
    export(saved, out)
    before = (out / "model.onnx").read_bytes()
    with pytest.raises(
        HarnessError, match="expected text to calibrate static int8 with; got none; add --lang"
    ):
        export(saved, out, precisions=("int8-static",))
    monkeypatch.setattr(export_record, "render_model_card", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(saved, out)
    assert (out / "model.onnx").read_bytes() == before
    assert not list(tmp_path.glob(".*"))


@pytest.fixture(scope="module")
def scored(saved, tmp_path_factory) -> Path:
    """The folder of an export whose copies were scored on a built-in language."""
    out = tmp_path_factory.mktemp("scored") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation_text, "BUILTIN_SIZES", (4, 30, 20))
        changes = {"language": "mt", "precisions": ("int8", "int8-static", "fp16"), "layout": "ort"}
        export(saved, out, **changes)
    return out


def test_copies_are_scored_and_described(scored):
    record = json.loads((scored / RECORD).read_text(encoding="utf-8"))
    rows = {row["precision"]: row for row in record["files"]}
    assert [row["gate"] for row in rows.values()] == ["the measure", "passed", "passed", "passed"]
    assert record["default"] in rows
    for row in rows.values():
        score = row["scores"]["accuracy"]
        assert 0 <= score["low"] <= score["value"] <= score["high"] <= 1
    assert rows["int8"]["form"] in {"as exported", "norms spelled out"}
    assert "times as fast as" in rows["int8"]["form_reason"]
    assert rows["fp32"]["label_agreement"] == 1
    assert all(0.5 < row["label_agreement"] <= 1 for row in rows.values())
    assert rows["int8"]["verdict"]["part"] == "dev"
    assert rows["int8"]["verdict"]["num_items"] == 30
    card = (scored / "README.md").read_text(encoding="utf-8")
    head = read_head(card)
    index = head.pop("model-index")
    assert head.pop("metrics") == ["accuracy", "f1"]
    assert head == {
        "language": "mt", "license": "unknown", "pipeline_tag": "token-classification", "tags": ["onnx"],
        "library_name": "onnx",
    }  # fmt: skip
    listed = {metric["name"] for one in index[0]["results"] for metric in one["metrics"]}
    assert listed == set(rows["fp32"]["scores"])
    for words in ("On 20 test items (the built-in language)", "may lose 0.5 points", "licence: not stated"):
        assert words in card
    assert all(f"`{row['file']}`" in card for row in rows.values())


def read_head(card: str) -> dict[str, object]:
    return yaml.safe_load(card.split("---\n")[1])


@pytest.mark.parametrize(
    ("licence", "name"),
    [("no", "no"), ("1.0", "1.0"), ("custom: see NOTICE", "custom-see-notice"), ("Lab # 2", "lab-2")],
)
def test_the_head_of_a_card_keeps_words_that_yaml_would_convert(scored, licence, name):
    record = json.loads((scored / RECORD).read_text(encoding="utf-8"))
    head = read_head(render_model_card(record | {"language": "no", "licence": licence}))
    assert (head["language"], head["license"], head["license_name"]) == ("no", "other", name)


def test_the_ort_layout_has_its_own_format_and_the_operators_of_a_reduced_build(scored):
    names = {path.name for path in scored.iterdir()}
    assert {"model.ort", "model_int8.ort", "model_static.ort", "model_fp16.ort", "model.onnx"} <= names
    (config,) = scored.glob("*required_operators*")
    assert "MatMul" in config.read_text(encoding="utf-8")
    feed = {"input_ids": [[2, 7, 3]], "attention_mask": [[1, 1, 1]], "token_type_ids": [[0, 0, 0]]}
    feed = {name: np.array(value) for name, value in feed.items()}
    both = [
        onnxruntime.InferenceSession(scored / name, providers=["CPUExecutionProvider"]).run(None, feed)[0]
        for name in ("model.ort", "model.onnx")
    ]
    assert np.allclose(*both, atol=1e-5)


def predict(folder: Path, *words: str, **settings) -> subprocess.CompletedProcess[bytes]:
    asked = [sys.executable, str(folder / "predict.py"), *words]
    return subprocess.run(asked, capture_output=True, check=False, **settings)


def test_only_a_line_feed_ends_a_line_of_input(scored):
    lines = "word1\u0085word2\u2028word3\x0cword4", "word5\rword6"
    whole = predict(scored, input="\r\n".join([*lines, ""]).encode()).stdout.splitlines()
    assert whole == [predict(scored, line).stdout.strip() for line in lines]


def test_the_program_predicts_as_torch_without_torch(scored, saved):
    program = str(scored / "predict.py")
    code = f"""
import runpy, sys
sys.modules |= dict.fromkeys(["torch", "transformers", "harness"])
sys.argv = ["x", "--file", "model.onnx", "--pieces", "word1 word2 word3"]
runpy.run_path({program!r}, run_name="__main__")
"""
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    prediction = json.loads(output.stdout)
    model = transformers.BertForTokenClassification.from_pretrained(saved)
    with torch.inference_mode():
        best = model(torch.tensor([prediction["ids"]])).logits[0].argmax(-1)
    assert prediction["tokens"] == ["word1", "word2", "word3"]
    assert prediction["labels"] == [model.config.id2label[int(one)] for one in best]


def test_a_model_without_labels_has_no_program(saved, tmp_path: Path):
    export(saved, tmp_path / "out", "encoder")
    assert (tmp_path / "out" / "model.onnx").is_file()
    assert not (tmp_path / "out" / "predict.py").exists()
    assert "predict.py" not in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_bad_text_and_broken_files_are_one_line(scored, tmp_path: Path):
    cases = {
        "got an empty one": predict(scored, " "),
        "expected 32 tokens at most; got 40": predict(scored, "--pieces", "word1 " * 40),
        "expected UTF-8; got byte 3": predict(scored, input=b"ab \xff"),
        "expected UTF-8; got bytes that are none": predict(scored, b"ab \xff"),
    }
    broken = shutil.copytree(scored, tmp_path / "broken")
    for path in broken.glob("*.onnx"):
        path.write_bytes(path.read_bytes()[:100])
    cases["expected a whole model in"] = predict(broken, "--file", "model.onnx", "word1")
    cases["export it again"] = predict(scored, "--file", "none.onnx", "word1")
    for message, done in cases.items():
        assert done.returncode != 0
        assert message in done.stderr.decode()
        assert done.stderr.count(b"\n") == 1


def row(precision: str, gate: str, size: int, high: float) -> FileRecord:
    filled = dict.fromkeys(field.name for field in fields(FileRecord))
    values = {"precision": precision, "gate": gate, "size_bytes": size, "speed_ratio": {"high": high}}
    return FileRecord(**{**filled, **values, "verdict": gate != "x"})


def test_the_default_is_the_smallest_that_passed_and_is_not_slower():
    base = row("fp32", "x", 9, 1)
    slow, failed, good = (
        row("q4", "passed", 1, 0.9),
        row("uint8", "FAILED", 2, 3),
        row("int8", "passed", 3, 3),
    )
    assert choose_default([base, slow, failed, good])[0] == "int8"
    assert choose_default([base, slow, failed]) == (
        "fp32",
        "no smaller copy both passed the gate and kept pace with it",
    )


def test_data_that_does_not_fit_is_refused(saved, tmp_path: Path):
    with pytest.raises(UsageError, match="'xx'"):
        export(saved, tmp_path / "out", language="xx")
    (tmp_path / "data/corpus/mt").mkdir(parents=True)
    (tmp_path / "data/corpus/mt/a.txt").write_text("kelb\n")
    with pytest.raises(
        HarnessError, match="expected the task 'pos' in 'mt' to score copies on; got none, since"
    ):
        export(saved, tmp_path / "out", language="mt", data=tmp_path / "data")
    assert not (tmp_path / "out").exists()


def run(*words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TERM": "dumb", "COLUMNS": "200"}
    asked = [sys.executable, "-m", "harness", "export", *words]
    return subprocess.run(asked, capture_output=True, text=True, env=environment, check=False)


def test_the_command_prints_what_it_made(saved, tmp_path: Path):
    done = run(str(saved), "--task", "pos", "--out", str(tmp_path / "out"), *QUICK)
    assert (done.returncode, done.stderr.count("\n")) == (0, 3)
    assert "model_int8.onnx" in done.stdout
    assert "'legacy' was the only graph that was asked for" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "tags"], f"unknown task 'tags'; there are: {', '.join(HEADS)}"),
        (
            ["--task", "pos", "--precisions", "int4"],
            f"unknown precision 'int4'; there are: {', '.join(COPIES)}, all, none",
        ),
        (
            ["--task", "pos", "--layout", "zip"],
            "unknown layout 'zip'; there are: plain, transformers.js, ort",
        ),
        (["--task", "pos", "--data", "."], "--data: expected a --lang to read in it; got none"),
        (
            ["--task", "pos", "--lang", "mt", "--data", "none"],
            "--data none: expected a data folder; got none",
        ),
        (["--task", "pos", "--graphs", "fx"], "unknown graph 'fx'; there are: legacy"),
        (["--task", "topic"], "expected weights of a …ForSequenceClassification model for the task 'topic'"),
    ],
)
def test_a_bad_command_line_is_one_line(refused, saved, tmp_path: Path, words, message):
    code, output = refused("export", saved, "--out", tmp_path / "out", *words)
    assert code != 0
    assert message in output
    assert not (tmp_path / "out").exists()
