"""The exported files predict the same labels on aarch64, the processor of phones, by qemu-user."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.export.predict import Predictor

QEMU = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
MADE = os.environ.get("HARNESS_AARCH64")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(QEMU is None, reason="qemu-user is not installed"),
    pytest.mark.skipif(MADE is None, reason="HARNESS_AARCH64 names no folder that .ci/aarch64 made"),
]


def predict_on_aarch64(folder: Path, file: str, sentences: list[str]) -> list[dict[str, object]]:
    root = Path(str(MADE)) / "root"
    asked = [
        str(QEMU),
        "-cpu",
        "max",
        "-L",
        str(root),
        str(root / "usr/bin/python3.11"),
        str(folder / "predict.py"),
    ]
    done = subprocess.run(
        [*asked, "--file", file],
        input="\n".join(sentences).encode(),
        capture_output=True,
        check=False,
        env={"PYTHONPATH": str(Path(str(MADE)) / "packages"), "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr.decode()[-1000:]
    return [json.loads(line) for line in done.stdout.decode().splitlines()]


@pytest.mark.parametrize("kind", ["tagger", "classifier"])
@pytest.mark.parametrize(("file", "least"), [("onnx/model.onnx", 1.0), ("onnx/model_int8.onnx", 0.98)])
def test_aarch64_predicts_like_this_machine(exported, sentences, kind, file, least):
    """Agree in every label in fp32; int8 products are computed differently on other processors."""
    folder = exported(kind)
    here, there = (
        [Predictor(folder, file).predict(one) for one in sentences],
        predict_on_aarch64(folder, file, sentences),
    )
    assert [one["ids"] for one in there] == [one["ids"] for one in here]
    pairs = [
        (two, one)
        for first, second in zip(here, there, strict=True)
        for one, two in zip(list_labels(first), list_labels(second), strict=True)
    ]
    assert sum(one == two for one, two in pairs) >= least * len(pairs)


def list_labels(predicted: dict[str, object]) -> list[object]:
    labels = predicted.get("labels", [predicted.get("label")])
    return list(labels) if isinstance(labels, list) else [labels]
