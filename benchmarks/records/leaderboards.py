"""Draw docs/leaderboards.md from the kept records of `harness compare` and `harness ablate`.

    python -m benchmarks.records leaderboards

Only the advice on reading the page is written by hand; a test compares the page with the records.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common.paths import RECORDS, ROOT
from benchmarks.records.recorded import Recorded, render_page, write_page
from harness.errors import HarnessError
from harness.report import comparisons
from harness.report.leaderboard import compares_variants, rank_models, tabulate_models, write_headline
from harness.report.results import read_results
from harness.report.summary import AVERAGE, find_teacher
from harness.report.tables import Table, find_model_name

PAGE = ROOT / "docs" / "leaderboards.md"
TEMPLATE = Path(__file__).with_suffix(".md.j2")
_STUDY = "ablate-"
_LOSS = "Loss per byte, nats"
_MODEL = re.compile(r"\|model:(\w+)")


class Board(Recorded):
    """One study of a record."""

    @property
    def is_study(self) -> bool:
        """Whether variants are compared, not recipes."""
        return compares_variants(self.results)

    @property
    def title(self) -> str:
        """The language and the text; for a study its name too."""
        run = self.results.run
        text = "built-in text" if run.data == "builtin" else "real text"
        where = f"{run.language_name}, {text}, {run.scale}"
        return f"{run.recipe.removeprefix(_STUDY)}: {where}" if self.is_study else where

    @property
    def question(self) -> str:
        """The question of a study and the papers' answer."""
        return write_headline(self.results)

    @property
    def teacher(self) -> str:
        """The teacher's name and shape."""
        model = find_teacher(self.results)
        shape = {} if model is None else model.shape or {}
        sizes = f"{shape['layers']} layers of {shape['hidden']}" if shape else "of unknown shape"
        name = self.results.run.teacher
        return name if sizes in name else f"{name}, {shape.get('family')}, {sizes}"

    @property
    def table(self) -> Table:
        """The main table; for a study with losses, and each average's difference from the reference's."""
        main = tabulate_models(self.results)
        reference = None if self.results.study is None else self.results.study.reference
        if not self.is_study or reference is None:
            return main
        ids = [one.id for one in rank_models(self.results)]
        compared = [self.results.find_comparison(one, reference, AVERAGE) for one in ids]
        claims = ["–" if one is None else comparisons.format_claim(one) for one in compared]
        name = find_model_name(self.results, reference)
        kept = [main.header.index(column) for column in main.header if column not in ("Ahead", "MB", "Time")]
        losses = {one.model: f"{one.loss_per_byte:.3f}" for one in self.results.held_out}
        rows = tuple(
            (*(row[at] for at in kept), losses.get(one, "–"), cell)
            for one, row, cell in zip(ids, main.rows, claims, strict=True)
        )
        return Table(main.title, (*(main.header[at] for at in kept), _LOSS, f"Difference from {name}"), rows)

    @property
    def signatures(self) -> dict[str, list[str]]:
        """The models with their digests, by signature without the model."""
        models: dict[str, list[str]] = defaultdict(list)
        metrics = self.results.declared.tasks
        for score in self.results.scores:
            if score.signature is None or score.metric != metrics[score.task]:
                continue
            digest = _MODEL.search(score.signature)
            line = _MODEL.sub("|model:*", score.signature)
            models[line].append(
                find_model_name(self.results, score.model) + (f" {digest[1]}" if digest else "")
            )
        return dict(models)


def read_boards(records: Path) -> list[Board]:
    """Return the boards of a folder of records, by name.

    Raises:
        HarnessError: there is none.
    """
    paths = [path for kind in ("compare", "ablate") for path in sorted(records.glob(f"*-{kind}-*.json"))]
    if not paths:
        raise HarnessError(
            f"leaderboards: expected records of `harness compare` or `harness ablate` in '{records}'; "
            "got none; keep one with `python -m benchmarks.records keep`"
        )
    return [Board(path, read_results(path)) for path in paths]


def draw_page(boards: Sequence[Board]) -> str:
    """Return the page of some boards, as Markdown."""
    return render_page(
        TEMPLATE,
        recipes=[one for one in boards if not one.is_study],
        studies=[one for one in boards if one.is_study],
    )


def main(given: Sequence[str] | None = None) -> int:
    """Write the page; print a fault in one line, with exit code 2."""
    return write_page(
        "benchmarks.records leaderboards", __doc__, given, PAGE, lambda: draw_page(read_boards(RECORDS))
    )
