"""The ground-floor tables: every row is whole, whoever needs it reads it, and the docs show the same rows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

import harness
from harness.baselines import BASELINE_NAMES, BASELINES, select_baselines
from harness.families import (
    BERT_KEYS,
    FAMILIES,
    LARGEST_SIZES,
    SUPPORTED,
    TEACHERS,
    list_families,
    max_input_tokens,
)
from harness.precisions import COPIES, FP32, PRECISIONS
from harness.tasks import HEADS, TASKS

ROOT = Path(__file__).parent.parent
METRICS = {"accuracy": "accuracy", "macro_f1": "macro-F1", "span_f1": "F1 of spans"}


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table as docs have it."""
    rule = ["---"] * len(header)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows)).replace(" --- ", "---")


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def test_the_tensor_that_shows_a_head_is_a_part_of_the_familys_head():
    from harness.models.families.table import LAYOUTS

    for name, layout in LAYOUTS.items():
        assert layout.locate(FAMILIES[name].mlm_head_tensor)[0] == "mlm_head", name


@pytest.mark.parametrize("name", TASKS)
def test_a_task_has_a_reader_a_score_a_head_and_a_title(name):
    from harness.data.formats import READERS
    from harness.measure.scores import METRICS as SCORES

    task = TASKS[name]
    assert task.name == name
    assert task.format.name in READERS, f"harness/data/formats.py has no reader for '{task.format.name}'"
    assert set(task.metrics) <= set(SCORES), f"harness/measure/scores.py lacks a metric of '{name}'"
    assert task.head is HEADS[name]
    assert task.title


def test_the_page_on_data_shows_every_task():
    rows = []
    for name, task in TASKS.items():
        main, *others = (METRICS.get(metric, f"`{metric}`") for metric in task.metrics)
        rows.append([f"`{name}`", f"`{task.format.ending}`", task.format.row, main, ", ".join(others) or "–"])
    assert table(["task", "ending", "a row", "main score", "also"], rows) in page("data.md")


@pytest.mark.parametrize("name", COPIES)
def test_a_precision_is_made_by_conversions_that_exist(name):
    from harness.export.precisions import CONVERSIONS

    row = PRECISIONS[name]
    assert row.conversions, f"'{name}' states no conversion"
    for conversion in row.conversions:
        assert conversion in CONVERSIONS, f"harness/export/precisions.py lacks '{conversion}'"
    assert row.file.startswith("model_")


def test_the_exported_model_is_made_by_no_conversion():
    assert PRECISIONS[FP32].conversions == ()
    assert len({row.file for row in PRECISIONS.values()}) == len(PRECISIONS)


def test_the_page_on_export_shows_every_precision():
    rows = [[f"`{name}`", f"`{PRECISIONS[name].file}`", PRECISIONS[name].what] for name in COPIES]
    text = page("export.md").replace("\n   |", "\n|")
    assert table(["name", "file", "numbers"], rows) in text


def test_the_families_whose_tensors_are_known_can_be_cut():
    from harness.models.families.table import LAYOUTS

    for support in ("teacher", "blank", "shorten", "prune", "narrow", "trim", "distil"):
        assert set(list_families(support)) == LAYOUTS.keys()
    assert set(list_families("attention")) == LAYOUTS.keys() - {"modernbert", "deberta-v2"}
    assert set(list_families("narrow on text")) == LAYOUTS.keys() - {"deberta-v2"}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_says_what_its_configuration_says(name):
    from transformers import AutoConfig

    row, config = FAMILIES[name], AutoConfig.for_model(name)
    assert row.supports <= set(SUPPORTED)
    written = config.to_dict() | ({"position_buckets": -1} if name == "deberta-v2" else {})
    defaults = {key: setting.default for key, setting in row.settings.items() if key in written}
    assert defaults == {key: written[key] for key in defaults}
    assert set(row.keys.values()) <= written.keys()
    assert ("types" in row.keys) == ("type_vocab_size" in written)
    assert row.config_key("intermediate_size") == row.keys["ffn"]
    assert row.keys.keys() <= LARGEST_SIZES.keys()
    if row.positions_follow_padding:
        assert max_input_tokens(written | {"pad_token_id": 1}) == written["max_position_embeddings"] - 2


@pytest.mark.parametrize("name", TEACHERS)
def test_a_recipes_teacher_has_all_that_planning_needs(name):
    row = FAMILIES[name]
    assert row.keys.keys() >= BERT_KEYS.keys() - {"types"}
    assert row.count_parameters is not None
    assert row.values_of in {"", "bert", "xlm-roberta"}
    assert bool(row.values_of) == (name not in {"bert", "xlm-roberta"})


@pytest.mark.parametrize("name", list_families("pretrain"))
def test_a_teacher_that_is_trained_here_has_all_that_training_needs(name):
    from harness.models.families.table import LAYOUTS
    from harness.train.language_model.teacher import TOKENIZER_TRAINERS

    row = FAMILIES[name]
    assert row.token_types >= 1
    assert row.tokenizers[0] in TOKENIZER_TRAINERS
    assert LAYOUTS[name].fixed["pad_token_id"] == row.padding_id


def test_an_exported_folder_and_the_page_read_positions_as_the_table_does():
    from harness.export.predict import AFTER_PADDING

    families = {name for name, row in FAMILIES.items() if row.positions_follow_padding}
    assert set(AFTER_PADDING) == families
    script = (ROOT / "harness/web/page/model.js").read_text(encoding="utf-8")
    (listed,) = re.findall(r"AFTER_PADDING = (?:new Set\()?\[(.*?)\]", script, re.DOTALL)
    assert set(re.findall(r'"([\w-]+)"', listed)) == families


def test_the_page_on_families_shows_every_family_and_what_each_column_means():
    titles = {"wordpiece": "WordPiece", "unigram": "Unigram", "bpe": "BPE"}
    rows = []
    for name, row in FAMILIES.items():
        cells = ("yes" if support in row.supports else "no" for support in SUPPORTED)
        rows.append([row.title, f"`{name}`", ", ".join(titles[one] for one in row.tokenizers), *cells])
    text = page("families.md")
    assert table(["family", "`model_type`", "usual tokenizers", *SUPPORTED], rows) in text
    assert table(["column", "its models can"], [list(row) for row in SUPPORTED.items()]) in text


def test_the_page_on_families_states_the_settings_that_are_supported():
    rows = [
        [row.title, f"`{name}`", f"`{json.dumps(setting.value)}`"]
        for row in FAMILIES.values()
        for name, setting in row.settings.items()
        if name != "is_decoder"
    ]
    assert table(["family", "setting", "supported value"], rows) in page("families.md")


def test_the_recipes_name_families_of_the_table():
    for path in (Path(harness.__file__).parent / "recipes").glob("*.yaml"):
        for step in yaml.safe_load(path.read_text(encoding="utf-8"))["steps"]:
            for settings in step.values() if isinstance(step, dict) else ():
                values = settings.values() if isinstance(settings, dict) else ()
                for value in (one for one in values if isinstance(one, dict) and set(one) & set(FAMILIES)):
                    assert set(value) <= set(TEACHERS)


def test_baselines_have_different_ids_and_a_stage_that_exists():
    from harness.stages.table import KINDS

    assert len({row.id for row in BASELINES}) == len(BASELINES)
    assert {row.kind for row in BASELINES} | {row.made_by for row in BASELINES} - {None} <= KINDS.keys()
    assert [row.id for row in select_baselines(["tfidf", "random"])] == [
        "tfidf",
        "random-teacher",
        "random-student",
    ]
    assert all(select_baselines([name]) for name in BASELINE_NAMES)
