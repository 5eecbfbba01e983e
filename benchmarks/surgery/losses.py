"""Measure the loss that each shape change adds, right after it and after an equal small distillation.

    python -m benchmarks.surgery losses --teacher DIR --data DIR [--languages mt sl] [--record FOLDER]

``--teacher`` is the folder of a checkpoint, ``--data`` a data folder with a corpus of each language. With
``--tokens 0`` nothing is distilled; ``--changes narrow --widths 3/4`` measures the ways to narrow to that
width. Cells are written to ``--kept FILE`` (one JSON a line) when they are done; a second call continues
where the first stopped. Losses depend on the weights and the text alone, not on other load on the machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.common.programs import make_parser
from benchmarks.common.recording import describe_environment, write_record
from benchmarks.surgery.cells import BASES, FFN_WIDTHS, WIDTHS, Bench, Cell, Setting, list_cells, suits

CHANGES = ("narrow", "prune", "shorten", "factorise", "trim")
SHARES = ("1/1", *WIDTHS, *FFN_WIDTHS, "1/4")
"""Widths of all changes."""

Done = dict[tuple[str, str], dict[str, object]]


def run_cells(asked: argparse.Namespace, setting: Setting) -> Done:
    """Run every cell that is missing, and return all cells by language and name."""
    about = {"teacher": digest_weights(asked.teacher), "setting": asdict(setting)}
    done = read_cells(asked.kept, about)
    for language in asked.languages:
        todo = [cell for cell in choose_cells(asked) if (language, cell.name) not in done]
        todo = [] if asked.only_kept else todo
        bench = Bench(asked.teacher, asked.data, language, setting) if todo else None
        for cell in todo:
            assert bench is not None, "a bench is made for missing cells"
            row = {"language": language, **asdict(cell), **bench.run(cell)}
            done[language, cell.name] = row
            with asked.kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row | about) + "\n")
            print(f"{language}: {cell.name}: {row['before']} {row['after']}", flush=True)
    return done


def choose_cells(asked: argparse.Namespace) -> list[Cell]:
    """Return the cells of the changes and widths that were asked for; without tokens none is distilled."""
    family = json.loads((asked.teacher / "config.json").read_text(encoding="utf-8"))["model_type"]
    cells = [
        cell
        for cell in list_cells(asked.seeds)
        if cell.change in ("teacher", *asked.changes)
        and (cell.width is None or cell.width in asked.widths)
        and suits(cell, family)
        and (asked.tokens > 0 or cell.change != "trim")
    ]
    return cells if asked.tokens > 0 else [replace(cell, distilled=False) for cell in cells]


def digest_weights(teacher: Path) -> str:
    """Return the SHA-256 of a teacher's weights."""
    return hashlib.sha256((teacher / "model.safetensors").read_bytes()).hexdigest()


def read_cells(kept: Path, about: Mapping[str, object]) -> Done:
    """Return the cells of this teacher and setting that an earlier call wrote."""
    if not kept.is_file():
        return {}
    rows = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]
    ours = [
        {key: row[key] for key in row if key not in about} for row in rows if row.items() >= about.items()
    ]
    names = set(Cell.__dataclass_fields__)
    return {(row["language"], Cell(**{key: row[key] for key in names}).name): row for row in ours}


def list_added_losses(
    done: Done, language: str, change: str, way: str, width: str | None
) -> dict[str, list[float]]:
    """Return the loss above the teacher's, before and after distillation, one number a seed."""
    teacher = float(str(done[language, "teacher trimmed None 0"]["before"]))
    added: dict[str, list[float]] = {"before": [], "after": []}
    for row in done.values():
        if (row["language"], row["change"], row["way"], row["width"]) == (language, change, way, width):
            for when, values in added.items():
                if row[when] is not None:
                    values.append(float(str(row[when])) - teacher)
    return added


def _format_losses(values: Sequence[float]) -> str:
    if not values:
        return "–"
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def draw_table(done: Done, languages: Sequence[str]) -> list[str]:
    """Return every way as a row: added loss by language, before and after, and the number of seeds."""
    ways = dict.fromkeys((str(row["change"]), str(row["way"]), row["width"]) for row in done.values())
    heads = " | ".join(f"{one}, right after | {one}, distilled" for one in languages)
    lines = [
        f"| change | way | width | seeds | {heads} |",
        "|---|---|---|---:|" + "---:|" * 2 * len(languages),
    ]
    for change, way, width in sorted(ways, key=lambda one: (one[0], str(one[2]), one[1])):
        if change != "teacher":
            added = [
                list_added_losses(done, language, change, way, str(width) if width else None)
                for language in languages
            ]
            shown = [_format_losses(values) for one in added for values in one.values()]
            seeds = max(len(one["before"]) for one in added)
            lines.append(f"| {change} | {way} | {width or '–'} | {seeds} | {' | '.join(shown)} |")
    return lines


def check_targets(done: Done, languages: Sequence[str]) -> list[str]:
    """Return whether `pca` adds at most half the loss of `first`, and less after distillation, by width."""
    lines = []
    for language in languages:
        for width in WIDTHS:
            losses = {way: list_added_losses(done, language, "narrow", way, width) for way in BASES}
            means = {
                way: {when: statistics.mean(values) for when, values in one.items() if values}
                for way, one in losses.items()
            }
            if all(len(one) == 2 for one in means.values()):
                lines.append(f"- {language}, {width}: {_format_verdict(means)}")
    return lines


def _format_verdict(means: Mapping[str, Mapping[str, float]]) -> str:
    first, pca = means["first"], means["pca"]
    share = pca["before"] / first["before"]
    half = "reached" if share <= 0.5 else "missed"
    after = "better" if pca["after"] < first["after"] else "not better"
    return (
        f"pca adds {share:.2f} of the loss that first adds (target ≤ 0.5: {half}); distilled it is {after} "
        f"({pca['after']:.3f} against {first['after']:.3f} nats)"
    )


def describe_measurement(teacher: Path, setting: Setting) -> str:
    """Return a paragraph on the measurement and the teacher."""
    config = json.loads((teacher / "config.json").read_text(encoding="utf-8"))
    distilled = (
        f"Distilled: {setting.tokens:,} tokens of the language (0.5 MLM + 0.5 logit MSE), equal for all. "
        if setting.tokens
        else ""
    )
    return (
        "MLM loss on held-out text above the teacher's, nats per masked token: mean ± deviation over seeds. "
        f"Teacher: {config['model_type']}, {config['num_hidden_layers']} layers × {config['hidden_size']}, "
        f"{config['num_attention_heads']} heads, vocabulary {config['vocab_size']:,}, trimmed to "
        f"{setting.vocabulary:,} tokens of the language. Right after: before any training. {distilled}"
        f"Importance, bases and fits: {setting.look_tokens:,} tokens. A row without ± has one seed."
    )


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser("benchmarks.surgery losses", __doc__)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--languages", nargs="+", default=["mt", "sl"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--tokens", type=int, default=Setting.tokens, help="of each distillation; 0: none")
    parser.add_argument("--changes", nargs="+", default=CHANGES, choices=CHANGES)
    parser.add_argument("--widths", nargs="+", default=SHARES, choices=SHARES)
    for name in ("vocabulary", "look_tokens", "held_out_tokens", "length"):
        option = "--" + name.replace("_", "-")
        parser.add_argument(option, type=int, default=getattr(Setting, name), help="of the setting")
    parser.add_argument("--kept", type=Path, default=Path("surgery.jsonl"), help="cells already done")
    parser.add_argument("--only-kept", action="store_true", help="run nothing: print the cells already done")
    parser.add_argument("--record", type=Path, help="the folder the record is written to")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Run the missing cells, print the table and write the record."""
    asked = arguments(given)
    setting = Setting(
        vocabulary=asked.vocabulary,
        look_tokens=asked.look_tokens,
        tokens=asked.tokens,
        held_out_tokens=asked.held_out_tokens,
        length=asked.length,
    )
    done = run_cells(asked, setting)
    lines = [describe_measurement(asked.teacher, setting), ""]
    for language in asked.languages:
        teacher = done[language, "teacher trimmed None 0"]["before"]
        lines.append(f"- {language}: the teacher's loss is {float(str(teacher)):.3f}")
    lines += [
        "",
        *draw_table(done, asked.languages),
    ]
    if targets := check_targets(done, asked.languages):
        lines += ["", "## Targets", "", *targets]
    print("\n".join(lines))
    if asked.record:
        about = {"teacher": digest_weights(asked.teacher), "setting": asdict(setting)}
        numbers = {**about, "widths": [WIDTHS, FFN_WIDTHS], "cells": list(done.values())}
        path = write_record(asked.record, "surgery", describe_environment("cpu"), numbers, lines)
        print(f"written: {path}")
    return 0
