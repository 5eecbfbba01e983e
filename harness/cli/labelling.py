"""The command that labels texts with an exported model: predict."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from harness.api.deployment import Prediction
from harness.api.deployment import predict as label_texts
from harness.cli.app import AsJson, app, out, print_table
from harness.data.text import split_lines
from harness.errors import HarnessError


@app.command()
def predict(
    folder: Annotated[Path, typer.Argument(help="a folder that `harness export`, or a finished run, made")],
    texts: Annotated[
        list[str] | None, typer.Argument(help="texts to label; default: the lines of standard input")
    ] = None,
    *,
    file: Annotated[str | None, typer.Option(help="which of its ONNX files; else its default")] = None,
    as_json: AsJson = False,
) -> None:
    """Label texts with an exported model: each word, or the text, with a confidence."""
    for prediction in label_texts(folder, texts or _read_lines(), file=file):
        if as_json:
            printed = json.dumps(prediction.as_dict(), ensure_ascii=False)
            out.print(printed, soft_wrap=True, markup=False)
        else:
            _print_prediction(prediction)


def _read_lines() -> Iterable[str]:
    try:
        return [line for line in split_lines(sys.stdin.buffer.read().decode("utf-8")) if line.strip()]
    except UnicodeDecodeError as error:
        raise HarnessError(
            f"predict: expected UTF-8; got byte {error.start} that is none; convert the text"
        ) from None


def _print_prediction(prediction: Prediction) -> None:
    """Print the label of a text, or the words with their labels and the names that they form."""
    if prediction.label is not None:
        table = Table("label", "confidence", title=prediction.text, title_justify="left")
        table.add_row(prediction.label, _format(prediction.probability))
        print_table(table)
        return
    table = Table("word", "label", "confidence", title=prediction.text, title_justify="left")
    for word in prediction.words:
        table.add_row(word.word, word.label or "–", _format(word.probability))
    print_table(table)
    for span in prediction.spans:
        line = f"{span.label}: {span.text} ({_format(span.probability)})"
        out.print(line, soft_wrap=True, markup=False)


def _format(confidence: float | None) -> str:
    return "–" if confidence is None else f"{100 * confidence:.1f} %"
