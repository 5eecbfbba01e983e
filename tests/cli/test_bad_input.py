"""A wrong command line or a damaged file is one line on standard error and a non-zero exit."""

from __future__ import annotations

import io
import json
import sys

import pytest
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from harness import cli
from harness.cli.app import SafeConsole
from harness.config import KNOWN_TEACHERS, list_scales
from harness.languages import LANGUAGES

STEP = "source: a test\nteacher: mbert\nsteps:\n  - "


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["reproduce"], "--lang: expected a language, as mt; got none; add it"),
        (
            ["reproduce", "xx"],
            "unknown built-in language 'xx'; there are: en, fr, he, hi, mt, nl, sk, sl, sw, tl",
        ),
        (["reproduce", "mt", "--recipe", "nope"], "unknown recipe 'nope'; there are: "),
        (
            ["reproduce", "mt", "--recipe", "gurgurov2025@nope"],
            "unknown variant of gurgurov2025 'nope'; there are: 564, 456",
        ),
        (
            ["reproduce", "mt", "--scale", "nope"],
            f"unknown scale 'nope'; there are: {', '.join(list_scales())}",
        ),
        (["reproduce", "mt", "--fast"], "No such option: --fast"),
        (
            ["recipe", "show", "gurgurov2025", "--teacher", "nope"],
            f"unknown teacher 'nope'; there are: {', '.join(KNOWN_TEACHERS)}",
        ),
    ],
)
def test_unknown_name_lists_the_known_ones(refused, given, line):
    code, said = refused(*given)
    assert code == 2
    assert said.startswith(line)


@pytest.mark.parametrize(
    ("step", "line"),
    [
        ("shortn: {layers: 6/12}", "unknown step 'shortn'"),
        ("shorten: {layers: 6/12, keeep: last}", "unknown key 'keeep'"),
        ("shorten: {layers: 1/100, keep: last}", "layers"),
        (
            "prune: {width: 1/2, score: magnitude, rounds: 1, tokens: 1}",
            "tokens is used by score: taylor and taylor_logits only",
        ),
        ("narrow: {width: 1/768, basis: first}", "head"),
        ("trim: {tokens: 1/1000000}", "token"),
    ],
)
def test_invalid_recipe_is_refused_by_file_and_place(refused, tmp_path, step, line):
    path = tmp_path / "mine.yaml"
    path.write_text(STEP + step + "\n", encoding="utf-8")
    code, said = refused("reproduce", "mt", "--recipe", path)
    assert code in {1, 2}
    assert line in said
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def data(tmp_path):
    """A valid data folder with one language and one task."""
    corpus, topic = tmp_path / "data/corpus/mt", tmp_path / "data/topic/mt"
    corpus.mkdir(parents=True)
    topic.mkdir(parents=True)
    lines = (f"Il-kelb numru {index} jorqod fid-dar tiegħu." for index in range(400))
    (corpus / "a.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for part in ("train", "dev", "test"):
        (topic / f"{part}.tsv").write_text(f"text\tlabel\nIl-{part}\tsport\n", encoding="utf-8")
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("file", "content", "line"),
    [
        ("corpus/mt/a.txt", b"", "a.txt: expected lines of text; got an empty file"),
        ("corpus/mt/a.txt", b"tajjeb\n\xff\n", "a.txt:2: expected UTF-8; got byte 0xff at column 1"),
        ("topic/mt/train.tsv", b"", "train.tsv"),
        (
            "topic/mt/dev.tsv",
            b"text\tlabel\nbla\n",
            "dev.tsv:2: expected two columns, text and label; got 1: 'bla'",
        ),
        ("topic/mt/test.tsv", b"text\tklass\nbla\tx\n", "test.tsv:1: expected the header 'text<TAB>label'"),
        (
            "topic/mt/train.tsv",
            b"text\tlabel\nbla\t\n",
            "train.tsv:2: expected a label in column 2; got nothing",
        ),
    ],
)
def test_damaged_data_file_is_named_with_its_line(refused, data, file, content, line):
    (data / file).write_bytes(content)
    code, said = refused("reproduce", "mt", "--data", data)
    assert code == 1
    assert line in said


@pytest.mark.parametrize(
    "words",
    [
        ("reproduce", "mt"),
        ("score", "--lang", "mt", "--model", "teacher", "--tasks", "ner"),
        ("export", "teacher", "--out", "out", "--task", "ner", "--language", "mt"),
    ],
)
def test_strict_data_refuses_tags_that_are_not_iob2(words, refused, data, write_teacher, monkeypatch):
    monkeypatch.chdir(data.parent)
    write_teacher(data.parent / "teacher")
    (data / "ner/mt").mkdir(parents=True)
    for part in ("train", "dev", "test"):
        (data / f"ner/mt/{part}.conll").write_text("hi\tO\nAna\tI-PER\n", encoding="utf-8")
    code, said = refused(*words, "--data", data, "--strict-data")
    assert code == 1
    assert (
        "train.conll:2: expected an IOB2 tag (O, B-X, or I-X within an entity); got 'I-PER' after 'O'" in said
    )


def test_data_folder_without_the_language_is_refused(refused, data, tmp_path):
    code, said = refused("reproduce", "sl", "--data", data)
    assert code in {1, 2}
    assert "sl" in said
    assert "mt" in said, "the languages of the folder are listed"
    (tmp_path / "empty").mkdir()
    for folder, line in (
        ("empty", "expected a data folder with"),
        ("none", "expected a data folder; got none"),
    ):
        code, said = refused("reproduce", "mt", "--data", tmp_path / folder)
        assert code == 1
        assert line in said


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ([], "expected config.json; there is none"),
        (["config.json"], "safetensors"),
        (["config.json", "pytorch_model.bin"], "safetensors"),
    ],
)
def test_teacher_that_cannot_be_read_safely_is_refused(refused, data, tmp_path, files, line):
    folder = tmp_path / "teacher"
    folder.mkdir()
    config = {"model_type": "bert", "architectures": ["BertForMaskedLM"], "num_hidden_layers": 2}
    config |= {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 60}
    config |= {"max_position_embeddings": 64, "type_vocab_size": 2}
    for name in files:
        (folder / name).write_text(json.dumps(config) if name == "config.json" else "x", encoding="utf-8")
    code, said = refused("reproduce", "mt", "--data", data, "--teacher", folder)
    assert code == 1
    assert line in said


def test_commands_on_runs_need_runs(refused, tmp_path):
    code, said = refused("verify", "--runs", tmp_path / "none")
    assert code == 1
    assert "expected a folder of runs" in said
    code, said = refused("report", "mt", "--runs", tmp_path / "none")
    assert code == 1
    assert "run `harness reproduce`" in said
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    code, said = refused("pretrain", "--out", tmp_path / "used")
    assert code == 1
    assert "expected a new or empty folder" in said


@pytest.mark.parametrize(
    "words",
    [["recipe", "show", "harness@wide"], ["compare", "--lang", "mt", "--recipes", "harness@wide", "--plan"]],
)
def test_former_recipe_name_prints_a_hint(words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["harness", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    printed = capsys.readouterr()
    hint = "the recipe 'harness@wide' is now called compact2026@wide; use the new name\n"
    assert printed.err == hint
    assert "compact2026@wide" in printed.out


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["languages"], LANGUAGES),
        (["recipe", "show", "gurgurov2025"], ["teacher", "adapt", "shorten", "distill", "distill-2"]),
        (["plan", "mt"], ["teacher", "corpus", "score.sentiment.random-student", "export.topic.student"]),
        (["doctor"], ["C++ compiler", "container engine"]),
    ],
)
def test_names_are_not_cut_on_a_narrow_terminal(words, names, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(sys, "argv", ["harness", *words])
    printed = io.StringIO()
    terminal = Console(file=printed, width=80, force_terminal=True, color_system=None, highlight=False)
    monkeypatch.setattr(sys.modules["harness.cli.app"], "out", terminal)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    lines = printed.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    for name in names:
        assert any(f" {name} " in line for line in lines), name


def test_sources_are_listed_with_revision_and_licence(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["harness", "languages", "--sources"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    printed = capsys.readouterr().out
    for language in LANGUAGES.values():
        for source in (language.corpus, *language.tasks.values()):
            assert source.hub in printed
    (row,) = [line for line in printed.splitlines() if "facebook/xnli" in line and " sw " in line]
    assert "11d52e2cb57c" in row
    assert "CC-BY-NC-4.0" in row


@pytest.mark.parametrize("terminal", [True, False])
def test_escape_sequences_of_data_are_not_printed(terminal):
    """Names of files and words of data may hold sequences that a terminal obeys."""
    stream = io.StringIO()
    console = SafeConsole(file=stream, force_terminal=terminal, width=200, color_system=None)
    hostile = "a\x1b]0;title\x07b\x1b[31mc\x9b1m\u202ed"
    console.print(hostile, markup=False)
    console.print(Markdown(hostile))
    table = Table(hostile)
    table.add_row(hostile)
    console.print(table)
    text = stream.getvalue()
    assert "a]0;titleb[31mc1md" in text
    assert not {"\x07", "\x9b", "\u202e"} & set(text)
    assert "\x1b[31m" not in text
    assert "\x1b]" not in text
