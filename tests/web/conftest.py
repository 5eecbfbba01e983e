"""Two tiny models for five built-in languages, exported for the web, and the programs that run them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from harness.data import builtin
from harness.deploy.export_model import export_model
from harness.deploy.site import WEB, write_site
from harness.export.record import read_export
from harness.models.tokenizers.training import train_unigram, train_wordpiece
from harness.tasks import UPOS

LANGUAGES = ("mt", "sk", "sw", "he", "hi")
EACH = 40
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NODE = shutil.which("node")


def read_lines(language: str, count: int, seed: int) -> list[str]:
    lines = [line for document in builtin.read_corpus(language, 2 * count, seed) for line in document]
    return list(dict.fromkeys(lines))[:count]


@pytest.fixture(scope="session")
def sentences() -> list[str]:
    """200 sentences in five languages and three scripts."""
    sentences = [line for language in LANGUAGES for line in read_lines(language, EACH, 1)]
    assert len(sentences) == EACH * len(LANGUAGES)
    return sentences


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """Return a function that exports a tagger (WordPiece) or a classifier (Unigram) for the web."""
    made: dict[str, Path] = {}

    def export(kind: str) -> Path:
        if kind not in made:
            made[kind] = _export(kind, tmp_path_factory.mktemp(f"web-{kind}"))
        return made[kind]

    return export


def _export(kind: str, folder: Path) -> Path:
    text = [line for language in LANGUAGES for line in read_lines(language, 400, 0)]
    tagger = kind == "tagger"
    tokenizer = (train_wordpiece if tagger else train_unigram)(text, 1500, 64)
    labels = dict(enumerate(UPOS if tagger else ("fields", "sea", "town")))
    stock = transformers.BertConfig if tagger else transformers.XLMRobertaConfig
    config = stock(
        vocab_size=len(tokenizer), hidden_size=64, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=96, max_position_embeddings=66, id2label=labels,
        label2id={name: place for place, name in labels.items()}, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(0)
    ending = (
        transformers.BertForTokenClassification
        if tagger
        else transformers.XLMRobertaForSequenceClassification
    )
    model = ending(config)
    for parameter in model.parameters():
        parameter.data.mul_(4 if parameter.ndim > 1 else 1)
    if not tagger:
        _balance(model.eval(), tokenizer(text[::50], return_tensors="pt", padding=True))
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    task = "pos" if tagger else "topic"
    export_model(
        folder / "model", task, folder / "out", graphs=("legacy",), precisions=("int8",),
        layout="transformers.js", length=64, seconds=0.05,
    )  # fmt: skip
    return folder / "out"


def _balance(model: Any, texts: Any) -> None:
    """Move the bias so that every label is predicted for some text."""
    with torch.no_grad():
        model.classifier.out_proj.bias -= model(**texts).logits.mean(0)


@pytest.fixture(scope="session")
def node():
    """Return a function that runs a program of ``harness/web/check`` on sentences and returns its output."""
    if NODE is None:
        pytest.skip("node is not installed")
    if not (WEB / "node_modules" / "puppeteer-core").is_dir():
        pytest.skip("harness/web/node_modules is not there: run `make web CHECKS=1`")

    def run(program: str, *words: object, given: Any) -> Any:
        asked = [str(NODE), str(WEB / "check" / program), *map(str, words)]
        done = subprocess.run(
            asked, input=json.dumps(given).encode(), capture_output=True, check=False, timeout=900, cwd=WEB
        )
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="session")
def browse(node, tmp_path_factory):
    """Return a function that uses an export's page in Chromium; it returns observations and screenshots."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")

    def run(export: Path, given: list[str]) -> tuple[dict[str, Any], Path]:
        folder = tmp_path_factory.mktemp("page")
        with DemoServer(export, "fp32") as (url, process):
            seen = node("chromium.mjs", CHROMIUM, url, folder, process.pid, given=given)
        return seen | {"url": url}, folder

    return run


@pytest.fixture(scope="session")
def open_page(node):
    """Return a function that runs a program of ``harness/web/check`` on an export's page in Chromium."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")

    def run(export: Path, program: str, given: Any) -> Any:
        with DemoServer(export, "fp32") as (url, _):
            return node(program, CHROMIUM, url, given=given)

    return run


class DemoServer:
    """`harness demo` on a free port; as a context, its address and its process."""

    def __init__(self, export: Path, precision: str) -> None:
        asked = [
            sys.executable,
            "-m",
            "harness",
            "demo",
            str(export),
            "--port",
            "0",
            "--precision",
            precision,
        ]
        environment = os.environ | {"TERM": "dumb", "COLUMNS": "200", "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(asked, stdout=subprocess.PIPE, text=True, env=environment)

    def __enter__(self) -> tuple[str, subprocess.Popen[str]]:
        line = self.process.stdout.readline() if self.process.stdout else ""
        assert line.startswith("http://127.0.0.1:"), line
        return line.split()[0], self.process

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def site(tmp_path: Path) -> Any:
    """Return a function that writes an export's page with fake libraries."""

    def write(export: Path, **settings: Any) -> Path:
        web = tmp_path / "web"
        shutil.copytree(WEB / "page", web / "page")
        for name in settings.pop("libraries"):
            (web / "node_modules" / name).parent.mkdir(parents=True, exist_ok=True)
            (web / "node_modules" / name).write_text("library")
        record = read_export(export).model_copy(update=settings.pop("changes", {}))
        return write_site(export, record, tmp_path / "site", web=web, **settings)

    return write
