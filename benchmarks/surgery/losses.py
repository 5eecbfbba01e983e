"""Measures what each shape change loses, right after it and after an equal small distillation.

    python -m benchmarks.surgery losses --teacher DIR --data DIR [--languages mt sl] [--record FOLDER]

``--teacher`` is the folder of a checkpoint, ``--data`` a data folder with a corpus of each language. Cells
are kept in ``--kept FILE`` (one JSON a line) as they are done; a second call goes on where the first stopped.
Losses are numbers of the weights and the text alone: no other load on the machine changes them.
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
from benchmarks.surgery.cells import BASES, FFN_WIDTHS, WIDTHS, Bench, Cell, Setting, cells

Done = dict[tuple[str, str], dict[str, object]]


def take(asked: argparse.Namespace, setting: Setting) -> Done:
    """Runs every cell that is not there yet; gives all, by language and name."""
    about = {"teacher": digest(asked.teacher), "setting": asdict(setting)}
    done = read(asked.kept, about)
    for language in asked.languages:
        todo = [cell for cell in cells(asked.seeds) if (language, cell.name) not in done]
        todo = [] if asked.only_kept else todo
        bench = Bench(asked.teacher, asked.data, language, setting) if todo else None
        for cell in todo:
            assert bench is not None, "a bench is made where there is something to do"
            found = {"language": language, **asdict(cell), **bench.run(cell)}
            done[language, cell.name] = found
            with asked.kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found | about) + "\n")
            print(f"{language}: {cell.name}: {found['before']} {found['after']}", flush=True)
    return done


def digest(teacher: Path) -> str:
    """Gives the SHA-256 of a teacher's weights."""
    return hashlib.sha256((teacher / "model.safetensors").read_bytes()).hexdigest()


def read(kept: Path, about: Mapping[str, object]) -> Done:
    """Gives the cells that an earlier call left of this teacher and setting; those of others are not its."""
    if not kept.is_file():
        return {}
    rows = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]
    ours = [
        {key: row[key] for key in row if key not in about} for row in rows if row.items() >= about.items()
    ]
    names = set(Cell.__dataclass_fields__)
    return {(row["language"], Cell(**{key: row[key] for key in names}).name): row for row in ours}


def added(done: Done, language: str, change: str, way: str, width: str | None) -> dict[str, list[float]]:
    """Gives the loss above the teacher's, before and after distillation, one number a seed."""
    teacher = float(str(done[language, "teacher trimmed None 0"]["before"]))
    found: dict[str, list[float]] = {"before": [], "after": []}
    for row in done.values():
        if (row["language"], row["change"], row["way"], row["width"]) == (language, change, way, width):
            for when, values in found.items():
                if row[when] is not None:
                    values.append(float(str(row[when])) - teacher)
    return found


def _told(values: Sequence[float]) -> str:
    if not values:
        return "–"
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def table(done: Done, languages: Sequence[str]) -> list[str]:
    """Gives every way as a row: added loss by language, before and after, and over how many seeds."""
    ways = dict.fromkeys((str(row["change"]), str(row["way"]), row["width"]) for row in done.values())
    heads = " | ".join(f"{one}, right after | {one}, distilled" for one in languages)
    lines = [
        f"| change | way | width | seeds | {heads} |",
        "|---|---|---|---:|" + "---:|" * 2 * len(languages),
    ]
    for change, way, width in sorted(ways, key=lambda one: (one[0], str(one[2]), one[1])):
        if change != "teacher":
            found = [
                added(done, language, change, way, str(width) if width else None) for language in languages
            ]
            shown = [_told(values) for one in found for values in one.values()]
            seeds = max(len(one["before"]) for one in found)
            lines.append(f"| {change} | {way} | {width or '–'} | {seeds} | {' | '.join(shown)} |")
    return lines


def verdicts(done: Done, languages: Sequence[str]) -> list[str]:
    """Says of each width whether `pca` adds at most half of what `first` does, and less once distilled."""
    lines = []
    for language in languages:
        for width in WIDTHS:
            losses = {way: added(done, language, "narrow", way, width) for way in BASES}
            means = {
                way: {when: statistics.mean(values) for when, values in one.items() if values}
                for way, one in losses.items()
            }
            if all(len(one) == 2 for one in means.values()):
                lines.append(f"- {language}, {width}: {_verdict(means)}")
    return lines


def _verdict(means: Mapping[str, Mapping[str, float]]) -> str:
    first, pca = means["first"], means["pca"]
    share = pca["before"] / first["before"]
    half = "reached" if share <= 0.5 else "missed"
    after = "better" if pca["after"] < first["after"] else "not better"
    return (
        f"pca adds {share:.2f} of what first adds (wanted ≤ 0.5: {half}); distilled it is {after} "
        f"({pca['after']:.3f} beside {first['after']:.3f} nats)"
    )


def told(teacher: Path, setting: Setting) -> str:
    """Says what was measured, on which teacher."""
    config = json.loads((teacher / "config.json").read_text(encoding="utf-8"))
    return (
        "MLM loss on held-out text above the teacher's, nats per masked token: mean ± deviation over seeds. "
        f"Teacher: {config['model_type']}, {config['num_hidden_layers']} layers × {config['hidden_size']}, "
        f"{config['num_attention_heads']} heads, vocabulary {config['vocab_size']:,}, trimmed to "
        f"{setting.vocabulary:,} tokens of the language. Right after: before any training. Distilled: "
        f"{setting.tokens:,} tokens of the language (0.5 MLM + 0.5 logit MSE), equal for all. "
        f"Scores, bases and fits saw {setting.look_tokens:,} tokens. A row without ± is of one seed."
    )


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = make_parser("benchmarks.surgery losses", __doc__)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--languages", nargs="+", default=["mt", "sl"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--tokens", type=int, default=Setting.tokens, help="of each distillation")
    parser.add_argument("--kept", type=Path, default=Path("surgery.jsonl"), help="cells already done")
    parser.add_argument("--only-kept", action="store_true", help="run nothing: tell what is there")
    parser.add_argument("--record", type=Path, help="the folder the record is written to")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Runs what is left to run, prints the table and writes the record."""
    asked = arguments(given)
    setting = replace(Setting(), tokens=asked.tokens)
    done = take(asked, setting)
    lines = [told(asked.teacher, setting), ""]
    for language in asked.languages:
        teacher = done[language, "teacher trimmed None 0"]["before"]
        lines.append(f"- {language}: the teacher's is {float(str(teacher)):.3f}")
    lines += ["", *table(done, asked.languages), "", "## Targets", "", *verdicts(done, asked.languages)]
    print("\n".join(lines))
    if asked.record:
        about = {"teacher": digest(asked.teacher), "setting": asdict(setting)}
        numbers = {**about, "widths": [WIDTHS, FFN_WIDTHS], "cells": list(done.values())}
        path = write_record(asked.record, "surgery", describe_environment("cpu"), numbers, lines)
        print(f"written: {path}")
    return 0
