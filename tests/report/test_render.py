from __future__ import annotations

import base64
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.errors import HarnessError
from harness.report import export_tables, plots, summary, tables
from harness.report.exported import PrecisionResult
from harness.report.finetuning import FinetuningNote
from harness.report.published import PUBLISHED, list_published
from harness.report.render import render_html, render_markdown, write_report
from harness.report.results import Results
from harness.report.texts import ReadingNote, Repeats
from harness.report.training import MOST_POINTS, thin_curve
from harness.report.values import IntervalValue, SpeedRatio, TeacherNote
from harness.stages.io.finetuning_notes import describe_fitting


class Page(HTMLParser):
    """The tags and table rows of an HTML page."""

    VOID = frozenset({"meta", "link", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.rows: list[int] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append(0)
        if tag in {"td", "th"}:
            self.rows[-1] += 1
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def page(results: Results) -> Page:
    return Page(render_html(results))


def test_page_loads_nothing_else(page: Page, results: Results):
    for _, attributes in page.tags:
        for name in ("src", "href", "srcset", "action"):
            assert re.match(r"data:|#", attributes.get(name) or "#")
    text = re.sub(r'src="data:[^"]*"', "", render_html(results))
    assert not re.search(r"https?://|@import|url\(|<script", text)


def test_page_is_well_formed_and_accessible(page: Page):
    assert page.open == []
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1
    assert len(page.all("caption")) == len(page.all("table")) > 5
    assert all(one.get("scope") in {"row", "col"} for one in page.all("th"))
    assert len(page.all("img")) == 3
    assert all(len(one["alt"] or "") > 40 for one in page.all("img"))
    ids = [one["id"] for _, one in page.tags if "id" in one]
    assert len(ids) == len(set(ids))
    assert {one["href"] for one in page.all("a")} == {f"#{one}" for one in ids}


def test_markup_in_names_is_text(results: Results):
    run = results.run.model_copy(update={"teacher": "<b>&|bold|"})
    changed = results.model_copy(update={"run": run})
    assert "<dd>&lt;b&gt;&amp;|bold|</dd>" in render_html(changed)


def test_markup_in_data_is_text_in_markdown(results: Results):
    hostile = "<script>x</script> ![i](http://evil/x.png) \x1b[31m\u202e `a`"
    run = results.run.model_copy(update={"recipe_source": hostile, "teacher": hostile, "data": hostile})
    models = tuple(one.model_copy(update={"name": f"{one.name} {hostile}"}) for one in results.models)
    changed = results.model_copy(update={"run": run, "models": models})
    text = render_markdown(changed)
    assert "&lt;script&gt;x&lt;/script&gt; !\\[i\\](http://evil/x.png)" in text
    for page in (text, render_html(changed)):
        assert "<script" not in page
        assert "\x1b" not in page
        assert "\u202e" not in page


def test_signatures_and_provenance_are_folded(results: Results):
    signed = [one.model_copy(update={"signature": f"task:{one.task}"}) for one in results.scores]
    page = render_html(results.model_copy(update={"scores": tuple(signed)}))
    folded = re.findall(r"<details>\n<summary>(.*?)</summary>", page)
    assert {"Signatures", "Provenance"} <= set(folded)
    assert page.count("</details>") == len(folded)
    assert "Size and scores" not in folded


def test_page_is_legible_in_the_dark_and_on_a_phone(results: Results):
    page = render_html(results)
    assert "prefers-color-scheme: dark" in page
    assert "max-width: 45cqw" in page


def test_final_student_is_called_student(results: Results):
    models = [
        one.model_copy(update={"name": "trim (final student)"}) if one.id == "trim" else one
        for one in results.models
    ]
    changed = results.model_copy(update={"models": tuple(models)})
    assert '<th scope="row">student</th>' in render_html(changed)
    assert "| student |" in render_markdown(changed)
    assert "final student)" not in render_markdown(changed)


def test_notes_on_the_teacher_are_listed_with_their_manifest(results: Results):
    assert tables.tabulate_teacher_notes(results).rows == ()
    note = TeacherNote(note="35 rows were left out", key="ab" * 6)
    noted = results.model_copy(update={"teacher_notes": (note,)})
    assert tables.tabulate_teacher_notes(noted).rows == (("BERT, 12 layers", "35 rows were left out"),)
    assert ("ab" * 6, "a note on the teacher") in tables.tabulate_provenance(noted).rows
    assert "ab" * 6 in noted.list_keys()
    assert "35 rows were left out" in render_html(noted)


def test_markdown_tables_are_rectangular(results: Results):
    text = render_markdown(results)
    assert "\n\n\n\n" not in text
    blocks = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert len(blocks) > 5
    for block in blocks:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1
    assert "A \\| B" in text


def test_main_table_shows_the_results(results: Results):
    table = tables.tabulate_scores(results)
    assert [row[0] for row in table.rows] == ["Teacher", "6 layers", "Student"]
    student = dict(zip(table.header, table.rows[2], strict=True))
    assert student["Parameters"] == "700,000"
    assert student["MB"] == "2.8"
    assert student["POS (accuracy)"] == "82.5 ± 0.7"
    assert student["Average"] == "79.5"
    assert student["% of teacher"] == percent_of(results, "trim")


def percent_of(results: Results, model: str) -> str:
    average = {
        name: sum(results.find_score(name, task).mean for task in results.declared.tasks) / 4
        for name in ("teacher", model)
    }
    return f"{100 * average[model] / average['teacher']:.1f}"


def test_absent_score_leaves_averages_absent(results: Results):
    cut = results.model_copy(
        update={"scores": tuple(s for s in results.scores if (s.model, s.task) != ("trim", "ner"))}
    )
    row = dict(zip(tables.tabulate_scores(cut).header, tables.tabulate_scores(cut).rows[2], strict=True))
    assert row["NER (span_f1)"] == row["Average"] == row["% of teacher"] == "–"
    majority = tables.tabulate_baselines(results).rows[1]
    assert majority[:3] == ("Most frequent label", "–", "–")
    assert summary.average_interval(cut, "trim") is None


def test_speed_up_whose_interval_contains_one_is_not_printed():
    printed = tables.format_speed_up(SpeedRatio(value=1.2, interval=IntervalValue(low=0.9, high=1.5)))
    assert "1.2" not in printed
    assert printed == "not significant (0.90–1.50)"
    certain = SpeedRatio(value=6, interval=IntervalValue(low=5.8, high=6.2))
    assert tables.format_speed_up(certain) == "6.00× (5.80–6.20)"


def test_export_table_compares_with_the_teachers_fp32_file(results: Results):
    table = export_tables.tabulate_exports(results)
    student = dict(zip(table.header, table.rows[2], strict=True))
    assert student["Times smaller"] == "6.0×"
    assert student["Speed-up (95 % interval)"] == "6.00× (5.82–6.18)"
    assert student["max |Δlogit|"] == "4.0e-07"
    assert student["Labels as fp32, %"] == "99.7"
    assert table.rows[0][table.header.index("Labels as fp32, %")] == "–"
    assert "1 thread(s), one row of 128 tokens" in table.note
    for batch_size, batch in ((4, "4 rows of 128 tokens"), (None, "rows of 128 tokens")):
        timed = tuple(one.model_copy(update={"batch_size": batch_size}) for one in results.exports)
        note = export_tables.tabulate_exports(results.model_copy(update={"exports": timed})).note
        assert f"1 thread(s), {batch}" in note


def test_copies_are_listed_with_drop_and_verdict(results: Results):
    table = export_tables.tabulate_copies(results)
    assert [row[1:] for row in table.rows] == [
        ("fp16", "0.70", "82.0", "82.0", "0.00 (-1.00 to 1.00)", "–", "passed"),
        ("int8", "0.70", "82.0", "81.9", "0.10 (-0.90 to 1.10)", "head", "passed"),
        ("q4", "0.70", "82.0", "62.0", "20.00 (19.00 to 21.00)", "–", "FAILED"),
    ]
    assert table.note.startswith("Scores on 60 items of dev; 0.5 points may be lost.")
    assert table.title in render_markdown(results)
    with pytest.raises(ValueError, match="failed without a drop that is larger than allowed"):
        PrecisionResult.model_validate(results.copies[0].model_dump() | {"passed": False})


def test_report_lists_kept_graphs_with_reasons(results: Results):
    assert export_tables.tabulate_graphs(results).rows[0] == (
        "Teacher",
        "POS",
        "fp32",
        "legacy",
        "it was faster",
    )
    assert "it was faster" in render_markdown(results)


def test_tables_are_rectangular_and_provenance_lists_every_key(results: Results):
    makers = [
        tables.tabulate_scores, tables.tabulate_baselines, tables.tabulate_shapes,
        export_tables.tabulate_exports,
        tables.tabulate_training, tables.tabulate_all_scores, tables.tabulate_environment,
        tables.tabulate_missing, tables.tabulate_provenance,
    ]  # fmt: skip
    for table in (make(results) for make in makers):
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.header)}
    assert {row[0] for row in tables.tabulate_provenance(results).rows} == results.list_keys()


def test_batches_that_did_not_fit_are_noted_under_the_trainings(results: Results):
    assert "went through" not in tables.tabulate_training(results).note
    one = results.training[0].model_copy(update={"note": describe_fitting(1024)})
    table = tables.tabulate_training(results.model_copy(update={"training": (one,)}))
    assert table.note.endswith(
        f"{one.step}: no memory for a whole batch; 1,024 tokens at most went through the model at once."
    )


def test_loss_per_byte_and_leakage_are_listed(results: Results):
    assert tables.tabulate_held_out(results).rows[0] == ("Teacher", "2.500", "0.6250")
    assert tables.tabulate_leakage(results).rows == (("Topic", "0 of 99", "3 of 204"),)
    assert "| Topic | 0 of 99 | 3 of 204 |" in render_markdown(results)


def test_duplicates_and_notes_on_data_are_listed(results: Results):
    key = results.leakage[0].key
    repeats = [
        Repeats(task="topic", part=part, items=204, duplicates=number, contradictions=2, key=key)
        for number, part in enumerate(("train", "test"))
    ]
    notes = [ReadingNote(task="ner", note="tags in IOB1, converted to IOB2: 3", key=key)]
    noted = results.model_copy(update={"repeats": tuple(repeats), "reading": tuple(notes)})
    assert tables.tabulate_repeats(noted).rows == (("Topic", "0 and 2 of 204", "–", "1 and 2 of 204"),)
    text = render_markdown(noted)
    assert "| NER | tags in IOB1, converted to IOB2: 3 |" in text
    assert "| Topic | 0 and 2 of 204 | – | 1 and 2 of 204 |" in text
    assert "Labelled data read otherwise than written" not in render_markdown(results)


def test_remarks_on_finetuning_are_listed(results: Results):
    assert tables.tabulate_finetuning(results).rows == ()
    remarks = [
        FinetuningNote(model="trim", task="topic", note="seed 1 was dropped", key=results.models[0].key),
        FinetuningNote(model=None, task="topic", note="90 % are 'no'", key=results.models[0].key),
    ]
    rows = tables.tabulate_finetuning(results.model_copy(update={"finetuning": tuple(remarks)})).rows
    assert rows == (("Student", "Topic", "seed 1 was dropped"), ("all", "Topic", "90 % are 'no'"))


def test_published_numbers_state_their_source(results: Results):
    assert all(one.place and one.row and 0 <= one.low <= one.high <= 1 for one in PUBLISHED)
    assert {one.language for one in list_published("gurgurov2025@564", "mt")} == {None, "mt"}
    assert list_published("another", "mt") == ()
    table = tables.tabulate_published(results, list_published("gurgurov2025", "mt"))
    first = dict(zip(table.header, table.rows[0], strict=True))
    assert first["Paper, %"] == "92"
    assert {"65.55", "8 to 13"} <= {row[1] for row in table.rows}
    assert first["This run, %"] == "89.9"
    assert "arXiv:2505.16956, v2, abstract" in first["Read at"]


def test_pictures_are_reproducible_svg_with_a_text(results: Results):
    for draw in (plots.draw_score_by_size, plots.draw_latency_by_model):
        picture = draw(results)
        assert ElementTree.fromstring(picture.svg).tag.endswith("svg")
        assert picture.svg == draw(results).svg
        assert "Teacher" in picture.text
    assert "79.5 %" in plots.draw_score_by_size(results).text
    empty = results.model_copy(update={"scores": (), "exports": ()})
    assert plots.draw_score_by_size(empty) is None
    assert plots.draw_latency_by_model(empty) is None


def test_curves_of_the_loss_have_a_panel_for_each_training(results: Results):
    picture = plots.draw_loss_curves(results)
    assert picture.svg == plots.draw_loss_curves(results).svg
    assert picture.text == "Loss while training. distill: 8.93 at step 20, 2.52 at step 1,300."
    (one,) = results.training
    hostile = one.model_copy(update={"step": "<script>$\x1b[31m&amp"})
    untrained = one.model_copy(update={"curve": one.curve[:1]})
    picture = plots.draw_loss_curves(results.model_copy(update={"training": (one, hostile, untrained) * 2}))
    drawn = ElementTree.fromstring(picture.svg)
    panels = [part for part in drawn.iter() if part.get("id", "").startswith("axes_")]
    assert len(panels) == 4
    assert not [part for part in drawn.iter() if part.tag.endswith("script")]
    assert plots.draw_loss_curves(results.model_copy(update={"training": (untrained,)})) is None


@pytest.mark.parametrize("number", [0, 1, 99, 100, 101, 250, 12_345])
def test_long_curves_are_thinned_to_means(number):
    points = [(10 * step, float(step % 7)) for step in range(1, number + 1)]
    curve = thin_curve(points)
    assert len(curve) == min(number, len(curve)) <= MOST_POINTS
    if number <= MOST_POINTS:
        assert [(point.step, point.loss) for point in curve] == points
    if points:
        assert curve[-1].step == points[-1][0]
        assert len(curve) > min(number, MOST_POINTS) / 2


def test_models_without_parameters_are_lines_with_a_label(results: Results):
    picture = plots.draw_score_by_size(results)
    assert "Most frequent label: a line at 17.5 %" in picture.text


def test_report_is_written_with_its_pictures(results: Results, tmp_path: Path):
    markdown, html = write_report(results, tmp_path / "new")
    names = {one.name for one in markdown.parent.iterdir()}
    pictures = {"score-by-size.svg", "latency-by-model.svg", "loss-curves.svg"}
    assert names == {"report.md", "report.html", *pictures}
    for name in re.findall(r"\]\((.*?\.svg)\)", markdown.read_text(encoding="utf-8")):
        assert (markdown.parent / name).exists()
    picture = (markdown.parent / "score-by-size.svg").read_bytes()
    assert base64.b64encode(picture).decode() in html.read_text(encoding="utf-8")


def test_unfilled_results_are_not_rendered(results: Results, tmp_path: Path):
    with pytest.raises(HarnessError, match="expected every declared cell filled or explained"):
        write_report(results.model_copy(update={"training": ()}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_reporting_imports_no_torch():
    code = (
        "import sys, harness.report.render; "
        "heavy = {'torch', 'transformers', 'onnxruntime', 'datasets'}; print(heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
