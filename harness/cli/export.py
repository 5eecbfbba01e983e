"""The command that exports a saved model to ONNX files: export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from harness.api import deployment
from harness.cli.app import Data, StrictData, app, hint, out, print_table
from harness.errors import UsageError
from harness.precisions import COPIES, FP32
from harness.tasks import HEADS
from harness.units import format_bytes

_GRAPHS = ",".join(deployment.GRAPHS)
_TASKS = " or ".join(", ".join(HEADS).rsplit(", ", 1))


@app.command()
def export(
    model: Annotated[
        str, typer.Argument(help="a model's folder, or hub id with @revision: any BERT-like encoder")
    ],
    *,
    target: Annotated[Path, typer.Option("--out", help="the folder to make")],
    task: Annotated[str, typer.Option(help=_TASKS)],
    language: Annotated[
        str | None,
        typer.Option(
            "--lang", "--language", help="score copies on this language's task, and calibrate on its text"
        ),
    ] = None,
    data: Data = None,
    strict_data: StrictData = False,
    graphs: Annotated[str, typer.Option(help="graphs to try, the preferred first")] = _GRAPHS,
    precisions: Annotated[
        str, typer.Option(help=f"in addition to fp32: {', '.join(COPIES)}; or all, or none")
    ] = "int8",
    layout: Annotated[str, typer.Option(help="plain, transformers.js (models in onnx/) or ort")] = "plain",
    allowed_drop: Annotated[float, typer.Option(min=0, help="points a copy may lose before it fails")] = 0.5,
    length: Annotated[
        int,
        typer.Option(min=2, help="tokens of the longest input tried, the timed row and scored text"),
    ] = 128,
    seconds: Annotated[float, typer.Option(min=0.05, help="how long graphs, and each file, are timed")] = 3.0,
    licence: Annotated[str | None, typer.Option(help="of the model, for its card")] = None,
) -> None:
    """Export a model with its head to ONNX, checked against torch; the fastest graph is kept."""
    if data is not None and language is None:
        raise UsageError("--data: expected a --lang to read in it; got none; add --lang")
    if data is not None and not data.is_dir():
        raise UsageError(f"--data {data}: expected a data folder; got none; name one that exists")
    record = deployment.export(
        model, task, target, graphs=_split_names(graphs),
        precisions=() if precisions == "none" else _split_names(precisions),
        layout=layout, language=language, data=data, strict_data=strict_data,
        allowed_drop=allowed_drop / 100, length=length, seconds=seconds, licence=licence,
        report_step=hint,
    ).as_dict()  # fmt: skip
    _print_files(record)
    out.print(f"graph: {record['graph']['reason']}", soft_wrap=True, markup=False)
    out.print(f"take:  {record['default']}, {record['default_reason']}", soft_wrap=True, markup=False)
    out.print(f"files: {target}", soft_wrap=True, markup=False)


def _split_names(listed: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in listed.split(",") if name.strip()))


def _print_files(record: dict[str, Any]) -> None:
    scored = next((list(row["scores"]) for row in record["files"] if row["scores"]), [])[:1]
    table = Table(
        "file", "size", "compressed", "max |Δ|", "same best, %", "p50, ms", "p99, ms", "over fp32",
        *(f"{metric}, %" for metric in scored), "gate",
    )  # fmt: skip
    for row in record["files"]:
        speed = row["speed_ratio"]
        speed_up = f"{speed['value']:.2f}x ({speed['low']:.2f}-{speed['high']:.2f})"
        certain = not speed["low"] <= 1 <= speed["high"]
        table.add_row(
            row["file"],
            format_bytes(row["size_bytes"]),
            format_bytes(row["compressed_bytes"]),
            f"{row['max_abs_delta']:.1e}",
            "–" if row["argmax_agreement"] is None else f"{100 * row['argmax_agreement']:.1f}",
            f"{row['p50_ms']:.2f}",
            f"{row['p99_ms']:.2f}",
            "–" if row["precision"] == FP32 else speed_up if certain else "no significant difference",
            *(f"{100 * row['scores'][metric]['value']:.1f}" for metric in scored),
            row["gate"] + (f", {'+'.join(row['kept_parts'])} in fp32" if row["kept_parts"] else ""),
        )
    print_table(table)
