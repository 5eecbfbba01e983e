"""The table of languages: complete, pinned where it says so, and free of heavy imports."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from harness.errors import UsageError
from harness.languages import LANGUAGES, SCRIPTS, language
from harness.tasks import TASKS

CODES = "ar ceb cs de en es fr ha he hi hr id it mt nl pl sk sl sw tl"
SOURCES = [source for row in LANGUAGES.values() for source in (row.corpus, *row.tasks.values())]


def test_the_twenty_languages_are_there() -> None:
    assert list(LANGUAGES) == CODES.split()
    assert all(code == row.code and row.script in SCRIPTS for code, row in LANGUAGES.items())


def test_every_row_has_a_corpus_and_tasks_of_the_table() -> None:
    for row in LANGUAGES.values():
        assert {"ner", "topic"} <= set(row.tasks) <= set(TASKS)
        assert row.script in row.corpus.pattern("train")
        assert row.script in row.tasks["topic"].pattern("train")


def test_sources_are_data_never_scripts() -> None:
    for source in SOURCES:
        assert source.files.endswith((".parquet", ".csv", ".tsv", ".jsonl"))
        assert source.licence
        assert "{" not in source.pattern("dev")
        assert source.revision is None or re.fullmatch("[0-9a-f]{40}", source.revision)


def test_maltese_is_where_the_hub_keeps_it() -> None:
    row = language("mt")
    assert row.corpus.pattern("train") == "v1.0/mlt-Latn/*.parquet"
    assert row.tasks["topic"].pattern("dev") == "data/mlt_Latn/dev.tsv"
    assert row.tasks["ner"].pattern("dev") == "mt/validation/*.parquet"
    assert row.tasks["pos"].config == "mt_mudt"


def test_an_unknown_language_lists_the_languages() -> None:
    with pytest.raises(
        UsageError, match=r"unknown language 'slo'; there are: ar, ceb, .*tl\. Did you mean 'sl'\?"
    ):
        language("slo")


def test_the_table_imports_no_heavy_library() -> None:
    code = "import sys, harness.languages; print({'torch', 'transformers', 'datasets'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
