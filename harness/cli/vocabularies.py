"""The command that shows how many tokens a language needs: vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.table import Table

from harness.api.vocabulary_sizes import HELD_OUT, VocabularyChoice, compare_vocabularies
from harness.cli.app import AsJson, app, err, out, print_json, print_table
from harness.errors import UsageError
from harness.units import format_count, format_short

_Number = TypeVar("_Number", int, float)


@app.command()
def vocabulary(
    model: Annotated[str, typer.Argument(help="a model's folder, or ORG/NAME[@REVISION] of the hub")],
    *,
    lang: Annotated[
        str,
        typer.Option("--lang", "--language", metavar="mt,en", help="the languages, each with equal weight"),
    ],
    data: Annotated[Path, typer.Option(help="data folder with their text, and perhaps tasks")],
    tokens: Annotated[str, typer.Option(metavar="8000,16000", help="numbers of tokens to keep")] = "",
    coverage: Annotated[
        str, typer.Option(metavar="0.99,0.999", help="or shares of the text that the kept tokens make up")
    ] = "",
    document_fraction: Annotated[
        str, typer.Option(metavar="0.0005", help="or the least share of documents that a kept token is in")
    ] = "",
    line_fraction: Annotated[
        str, typer.Option(metavar="0.0005", help="or the least share of lines that a kept token is in")
    ] = "",
    probability: Annotated[
        str, typer.Option(metavar="0.000001", help="or the least share of the text that a kept token is")
    ] = "",
    learn: Annotated[
        str, typer.Option(metavar="8000,16000", help="or numbers of tokens to learn, as the step retokenize")
    ] = "",
    task_text: Annotated[
        bool,
        typer.Option("--task-text", help="count the tasks' training parts, too, as the scale laptop does"),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show what trimming to different numbers of tokens does to a language's text, before any training."""
    with err.status("counting"):
        choices = compare_vocabularies(
            model,
            lang.split(","),
            data,
            tokens=_parse(tokens, int, "--tokens", "whole numbers, as 8000,16000"),
            coverages=_parse(coverage, float, "--coverage", "shares, as 0.99,0.999"),
            document_fractions=_parse(document_fraction, float, "--document-fraction", "shares, as 0.0005"),
            line_fractions=_parse(line_fraction, float, "--line-fraction", "shares, as 0.0005"),
            probabilities=_parse(probability, float, "--probability", "shares, as 0.000001"),
            learned=_parse(learn, int, "--learn", "whole numbers, as 8000,16000"),
            task_text=task_text,
        )
    if as_json:
        print_json([asdict(choice) for choice in choices])
        return
    print_table(_tabulate(choices))
    out.print("tokens a word, words as before: in held-out text; then the words of the tasks' test parts")


def _parse(text: str, kind: Callable[[str], _Number], option: str, expected: str) -> list[_Number]:
    try:
        return [kind(part) for part in text.split(",") if part]
    except ValueError:
        raise UsageError(f"{option}: expected {expected}; got '{text}'; correct it") from None


def _tabulate(choices: Sequence[VocabularyChoice]) -> Table:
    """Return a row for each choice; of the tasks' test parts the share of words that stay as they are."""
    tasks = [name for name in choices[0].size.texts if name != HELD_OUT]
    columns = (f"{task}, %" for task in tasks)
    table = Table("keep", "tokens", "parameters", "tokens a word", "words as before, %", *columns)
    for choice in choices:
        texts = choice.size.texts
        words = [f"{100 * texts[name].words_unchanged_fraction:.1f}" for name in (HELD_OUT, *tasks)]
        row = [format_count(choice.size.num_tokens), format_short(choice.parameters)]
        table.add_row(choice.size.rule, *row, f"{texts[HELD_OUT].tokens_per_word:.2f}", *words)
    return table
