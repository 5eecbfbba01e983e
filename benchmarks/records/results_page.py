"""Draw docs/results.md from the kept records of `harness reproduce` at the scale laptop.

    python -m benchmarks.records results

A test compares the page with the records, and README's table with the page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from benchmarks.common.paths import RECORDS, ROOT
from benchmarks.records.recorded import Recorded, render_page, write_page
from harness.config.load import update_name
from harness.errors import HarnessError
from harness.report import export_tables, tables
from harness.report.results import ModelResult, read_results
from harness.report.summary import average_score
from harness.report.tables import ABSENT, Table, format_megabytes, format_optional, format_percent
from harness.units import format_count

PAGE = ROOT / "docs" / "results.md"
TEMPLATE = Path(__file__).with_suffix(".md.j2")
SCALE = "laptop"
STUDENT = "student"


class LanguageRun(Recorded):
    """A run of a recipe on one language."""

    @property
    def tables(self) -> tuple[Table, ...]:
        """The scores of the models and of the baselines, and the exported files."""
        return (
            tables.tabulate_scores(self.results),
            tables.tabulate_baselines(self.results),
            export_tables.tabulate_exports(self.results),
        )

    def find_model(self, title: str) -> ModelResult | None:
        """Return the model with a title; a student's has the name of its recipe."""
        return next((one for one in self.results.models if self.name_model(one) == title), None)

    def name_model(self, model: ModelResult) -> str:
        """Return the title of a model in a table of several recipes."""
        name = update_name(model.title)
        return f"{name}, {self.results.run.recipe}" if model.title == STUDENT else name


def read_runs(records: Path) -> list[LanguageRun]:
    """Return the runs of a folder of records, by language and recipe.

    Raises:
        HarnessError: there is none, or two are of one language and recipe.
    """
    runs = [
        LanguageRun(path, read_results(path)) for path in sorted(records.glob(f"*-{SCALE}-folder_*.json"))
    ]
    if not runs:
        raise HarnessError(
            f"results: expected records of `harness reproduce` at the scale {SCALE} in '{records}'; got "
            "none; keep one with `python -m benchmarks.records keep`"
        )
    places = Counter((run.results.run.language, run.results.run.recipe) for run in runs)
    (language, recipe), count = places.most_common(1)[0]
    if count > 1:
        raise HarnessError(
            f"results: expected one record of '{language}' by {recipe} in '{records}'; got {count}; "
            "remove the older ones"
        )
    return runs


def tabulate_languages(runs: Sequence[LanguageRun]) -> Table:
    """Return the table of every model's average over the tasks of each language.

    The last columns have the mean over languages, and its share of the teacher's.
    """
    languages = {run.results.run.language: run.results.run.language_name for run in runs}
    titles = dict.fromkeys(
        run.name_model(model)
        for role in ("teacher", "student", "baseline")
        for run in runs
        for model in run.results.list_models(role)
        if model.id in run.results.declared.scored
    )
    averages = {title: _average_languages(runs, title, list(languages)) for title in titles}
    whole = next(iter(averages.values()))
    rows = [
        (
            title,
            *_describe_size(runs, title),
            *(format_optional(average, format_percent) for average in averages[title]),
            *_summarise(averages[title], whole),
        )
        for title in titles
    ]
    header = ("Model", "Parameters", "MB", *languages.values(), "Mean", "% of teacher")
    return Table("Average over the tasks of each language", header, tuple(rows))


def _average_languages(
    runs: Sequence[LanguageRun], title: str, languages: Sequence[str]
) -> list[float | None]:
    averages = []
    for language in languages:
        scores = [
            average_score(run.results, model.id)
            for run in runs
            if run.results.run.language == language and (model := run.find_model(title)) is not None
        ]
        averages.append(scores[0] if scores else None)
    return averages


def _describe_size(runs: Sequence[LanguageRun], title: str) -> tuple[str, str]:
    """Return the model's parameters and megabytes in the first run; languages differ by the head alone."""
    model = next(model for run in runs if (model := run.find_model(title)) is not None)
    size = format_optional(model.size_bytes, format_megabytes)
    return format_optional(model.num_parameters, format_count), size


def _summarise(averages: Sequence[float | None], whole: Sequence[float | None]) -> tuple[str, str]:
    """Return the mean over languages and its share of the teacher's; neither where a language is absent."""
    known = [one for one in averages if one is not None]
    teacher = [one for one in whole if one is not None]
    if len(known) < len(averages) or len(teacher) < len(whole):
        return ABSENT, ABSENT
    return format_percent(fmean(known)), format_percent(fmean(known) / fmean(teacher))


def draw_page(runs: Sequence[LanguageRun]) -> str:
    """Return the page of some runs, as Markdown."""
    return render_page(TEMPLATE, runs=runs, languages=tabulate_languages(runs))


def main(given: Sequence[str] | None = None) -> int:
    """Write the page; print a fault in one line, with exit code 2."""
    return write_page(
        "benchmarks.records results", __doc__, given, PAGE, lambda: draw_page(read_runs(RECORDS))
    )
