"""The command that makes the text of a data folder from a web corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.app import app, hint, out
from harness.cli.threads import count_allowed
from harness.data.web.build import build_corpus, is_finished, request_corpus
from harness.data.web.document_selection import DocumentSelection
from harness.data.web.language_labels import parse_labels
from harness.data.web.records import ENDINGS
from harness.errors import UsageError


@app.command()
def corpus(
    sources: Annotated[list[Path], typer.Argument(help=f"files, or folders of files, {ENDINGS}")],
    *,
    lang: Annotated[
        str,
        typer.Option(metavar="mt,sr=srp_Cyrl", help="languages to keep; =LABEL+LABEL for other labels"),
    ],
    target: Annotated[Path, typer.Option("--out", help="the data folder to write corpus/<lang>/ into")],
    data: Annotated[
        Path | None,
        typer.Option("--data", help="data folder whose dev and test texts are left out; default: --out"),
    ] = None,
    text_field: Annotated[str | None, typer.Option(help="field of the text; default: by layout")] = None,
    label_field: Annotated[
        str | None, typer.Option(help="field of the language's label; default: by layout, or the folder")
    ] = None,
    unlabelled: Annotated[
        bool, typer.Option("--unlabelled", help="keep documents without a label, for one language")
    ] = False,
    executor: Annotated[str, typer.Option(help="local, slurm or ray: datatrove's executors")] = "local",
    workers: Annotated[
        int | None, typer.Option(min=1, help="files at the same time; default: as many as processors")
    ] = None,
    partition: Annotated[str | None, typer.Option(help="slurm: the partition")] = None,
    time: Annotated[str | None, typer.Option(help="slurm: the time limit of a job, as 24:00:00")] = None,
) -> None:
    """Make text for a data folder from HPLT, FineWeb-2, GlotCC or WET, without near-duplicates and leaks."""
    if executor not in {"local", "slurm", "ray"}:
        raise UsageError(f"--executor: expected local, slurm or ray; got '{executor}'; choose one of them")
    if executor == "slurm" and not (partition and time):
        raise UsageError("--executor slurm: expected --partition and --time; got not both; add them")
    labels = parse_labels(lang)
    if unlabelled and len(labels.accepted) > 1:
        raise UsageError("--unlabelled: expected one language; got several; run a command for each")
    only = next(iter(labels.accepted)) if unlabelled else None
    selection = DocumentSelection(labels, text_field, label_field, only)
    request = request_corpus(sources, selection, data or (target if target.is_dir() else None), target)
    if is_finished(request):
        hint("the text is there, made from the same sources and settings; nothing to do")
    else:
        slurm = (partition, time) if partition and time else None
        build_corpus(request, executor, workers or count_allowed(), hint, slurm)
    if executor != "slurm":
        for language in request.languages:
            out.print(str(request.workspace.target(language)), soft_wrap=True, markup=False)
