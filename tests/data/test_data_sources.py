"""The one door to data: three sources, one form."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.data.examples import Absent, TaskData
from harness.data.sources import open_corpus, open_task
from harness.errors import UsageError

TSV = "text\tlabel\n" + "".join(f"text {number}\t{'ab'[number % 2]}\n" for number in range(40))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data folder with a corpus and topics."""
    for place in ("corpus/mt", "topic/mt"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "corpus/mt/a.txt").write_text("".join(f"line {number}\n" for number in range(320)))
    for split in ("train", "dev", "test"):
        (tmp_path / f"topic/mt/{split}.tsv").write_text(TSV)
    return tmp_path


def test_a_folder_has_its_corpus_whole_or_in_part(root: Path) -> None:
    whole = open_corpus(root, "mt")
    assert sum(map(len, whole.documents)) == 320
    assert whole.provenance == {"source": str(root)}
    parts = [list(open_corpus(root, "mt", 100, seed).documents) for seed in (0, 0, 1)]
    assert parts[0] == parts[1] != parts[2]
    assert sum(map(len, parts[0])) == 96


def test_a_folder_has_its_tasks_within_the_sizes(root: Path) -> None:
    data = open_task(root, "topic", "mt", (10, None, 4))
    assert isinstance(data, TaskData)
    assert (len(data.train), len(data.dev), len(data.test)) == (10, 40, 4)
    assert isinstance(open_task(root, "ner", "mt"), Absent)


def test_the_built_in_languages_have_a_corpus_and_tasks() -> None:
    corpus = open_corpus("builtin", "mt", 50, seed=3)
    assert sum(map(len, corpus.documents)) == 50
    assert corpus.provenance == {"source": "builtin"}
    data = open_task("builtin", "ner", "mt", (6, 4, 5))
    assert isinstance(data, TaskData)
    assert (len(data.train), len(data.dev), len(data.test)) == (6, 4, 5)


def test_the_built_in_languages_need_sizes() -> None:
    with pytest.raises(
        UsageError, match="corpus: expected a number of lines, since the built-in languages have no end"
    ):
        open_corpus("builtin", "mt")
    with pytest.raises(
        UsageError, match="ner: expected three sizes, since the built-in languages have no end"
    ):
        open_task("builtin", "ner", "mt", (6, None, 5))


def test_an_unknown_source_lists_the_sources() -> None:
    for opened in (lambda: open_corpus("hubb", "mt"), lambda: open_task("hubb", "ner", "mt")):
        with pytest.raises(
            UsageError, match=r"unknown data source 'hubb'; there are: builtin, hub, the path of"
        ):
            opened()


def test_an_unknown_built_in_language_is_refused() -> None:
    with pytest.raises(UsageError, match=r"language 'xx'; there are: .*mt"):
        list(open_corpus("builtin", "xx", 5).documents)


def test_the_hub_is_opened_the_same_way() -> None:
    code = (
        "from harness.data.sources import open_corpus, open_task\n"
        "from harness.data.examples import Absent\n"
        "assert isinstance(open_task('hub', 'pos', 'sw'), Absent)\n"
        "list(open_corpus('hub', 'mt', 5).documents)\n"
    )
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": os.devnull + "/none"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=offline, check=False
    )
    assert "HarnessError: hub: expected the data set cis-lmu/GlotCC-V1" in done.stderr


def test_a_folder_needs_no_hub_library(root: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from harness.data.sources import open_corpus, open_task\n"
        f"root = Path({str(root)!r})\n"
        "assert list(open_corpus(root, 'mt').documents) and open_task(root, 'topic', 'mt')\n"
        "print({'datasets', 'torch', 'transformers'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
