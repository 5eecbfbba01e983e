"""Draws docs/leaderboards.md from the kept records of `harness compare` and `harness ablate`.

    python -m benchmarks.records leaderboards

Nothing on the page is written by hand but how to read it; a test holds the page to the records.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common.paths import RECORDS, ROOT
from benchmarks.common.programs import make_parser
from harness.errors import HarnessError
from harness.report import comparisons
from harness.report.leaderboard import compares_variants, rank_models, tabulate_models, write_headline
from harness.report.render import load_templates, read_results
from harness.report.results import Results
from harness.report.summary import AVERAGE, find_teacher
from harness.report.tables import Table, find_model_name

PAGE = ROOT / "docs" / "leaderboards.md"
TEMPLATE = Path(__file__).with_suffix(".md.j2")
_STUDY = "ablate-"
_LOSS = "Loss per byte, nats"
_MODEL = re.compile(r"\|model:(\w+)")


@dataclass(frozen=True)
class Board:
    """One study of a record.

    Attributes:
        path: of the record.
        results: what it holds.
    """

    path: Path
    results: Results

    @property
    def is_study(self) -> bool:
        """Whether variants are compared, not recipes."""
        return compares_variants(self.results)

    @property
    def title(self) -> str:
        """The language and whose text it is; of a study its name."""
        run = self.results.run
        text = "built-in text" if run.data == "builtin" else "real text"
        where = f"{run.language_name}, {text}, {run.scale}"
        return f"{run.recipe.removeprefix(_STUDY)}: {where}" if self.is_study else where

    @property
    def asked(self) -> str:
        """The question of a study and what the papers answer."""
        return write_headline(self.results)

    @property
    def commit(self) -> str:
        """Of the code, short."""
        return str(self.results.environment["commit"])[:7]

    @property
    def teacher(self) -> str:
        """Its name and its shape."""
        model = find_teacher(self.results)
        shape = {} if model is None else model.shape or {}
        sizes = f"{shape['layers']} layers of {shape['hidden']}" if shape else "of unknown shape"
        name = self.results.run.teacher
        return name if sizes in name else f"{name}, {shape.get('family')}, {sizes}"

    @property
    def machine(self) -> str:
        """The processor and how many of its cores took part."""
        about = self.results.environment
        return f"{about['cpu']}, {about['cores']} core{'s' if about['cores'] != 1 else ''}"

    @property
    def table(self) -> Table:
        """The main table; of a study with its losses, and each average's difference from the reference's."""
        main = tabulate_models(self.results)
        reference = None if self.results.study is None else self.results.study.reference
        if not self.is_study or reference is None:
            return main
        ids = [one.id for one in rank_models(self.results)]
        beside = [self.results.find_comparison(one, reference, AVERAGE) for one in ids]
        told = ["–" if one is None else comparisons.format_claim(one) for one in beside]
        name = find_model_name(self.results, reference)
        kept = [main.header.index(column) for column in main.header if column not in ("Ahead", "MB", "Time")]
        losses = {one.model: f"{one.loss_per_byte:.3f}" for one in self.results.held_out}
        rows = tuple(
            (*(row[at] for at in kept), losses.get(one, "–"), cell)
            for one, row, cell in zip(ids, main.rows, told, strict=True)
        )
        return Table(main.title, (*(main.header[at] for at in kept), _LOSS, f"Beside {name}"), rows)

    @property
    def picture(self) -> Path | None:
        """The drawing that is kept beside the record, if any."""
        drawn = self.path.with_suffix(".svg")
        return drawn if drawn.is_file() else None

    @property
    def signatures(self) -> dict[str, list[str]]:
        """By signature without its model: the models of it, each with its digest."""
        found: dict[str, list[str]] = defaultdict(list)
        metrics = self.results.declared.tasks
        for score in self.results.scores:
            if score.signature is None or score.metric != metrics[score.task]:
                continue
            digest = _MODEL.search(score.signature)
            line = _MODEL.sub("|model:*", score.signature)
            found[line].append(
                find_model_name(self.results, score.model) + (f" {digest[1]}" if digest else "")
            )
        return dict(found)


def read(records: Path) -> list[Board]:
    """Gives the boards of a folder of records, by name.

    Raises:
        HarnessError: there is none.
    """
    found = [path for kind in ("compare", "ablate") for path in sorted(records.glob(f"*-{kind}-*.json"))]
    if not found:
        raise HarnessError(
            f"boards: wanted records of `harness compare` or `harness ablate` in '{records}'; got none; "
            "keep one with `python -m benchmarks.records keep`"
        )
    return [Board(path, read_results(path)) for path in found]


def page(boards: Sequence[Board]) -> str:
    """Gives the page of them, as Markdown."""
    text = (
        load_templates(TEMPLATE.parent)
        .get_template(TEMPLATE.name)
        .render(
            recipes=[one for one in boards if not one.is_study],
            studies=[one for one in boards if one.is_study],
        )
    )
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def main(given: Sequence[str] | None = None) -> int:
    """Write the page; print a fault in one line, with exit code 2."""
    make_parser("benchmarks.records leaderboards", __doc__).parse_args(given)
    try:
        PAGE.write_text(page(read(RECORDS)), encoding="utf-8", newline="\n")
    except HarnessError as error:
        print(error, file=sys.stderr)
        return 2
    print(PAGE)
    return 0
