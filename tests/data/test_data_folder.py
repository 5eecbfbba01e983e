"""Read the data folder; each fault names its file and line."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from harness.data import folder
from harness.data.corpus import fold
from harness.data.examples import Absent, TaskData, TextExample, TokenExample
from harness.data.formats import read_pairs
from harness.data.notes import ReadingNotes
from harness.errors import HarnessError
from harness.tasks import TASKS, UPOS

ROOT = os.environ.get("HARNESS_REAL_DATA")


def conllu(*tokens: str) -> str:
    """Return one sentence; a token is ``id form upos``."""
    rows = [token.split() for token in tokens]
    return "".join(f"{number}\t{form}\t_\t{upos}" + "\t_" * 6 + "\n" for number, form, upos in rows) + "\n"


CONLLU = "# sent_id = 1\n# text = Il-kelb jiekol.\n" + conllu(
    "1-2 Il-kelb _", "1 Il- DET", "2 kelb NOUN", "2.1 hu PRON", "3 jiekol VERB", "4 . PUNCT"
)
IOB2 = "Beograd\tB-LOC\ni\tO\nAna\tB-PER\nKos\tI-PER\n\nDanas\tO\n"
TSV = 'text\tlabel\n"Tajjeb" ħafna\tpositive\nĦażin\tnegative\n'
GOOD = {"pos": ("conllu", CONLLU), "ner": ("conll", IOB2), "topic": ("tsv", TSV), "sentiment": ("tsv", TSV)}


def make_task(root: Path, task: str, **parts: str) -> None:
    ending, good = GOOD[task]
    place = root / task / "mt"
    place.mkdir(parents=True)
    for split in ("train", "dev", "test"):
        (place / f"{split}.{ending}").write_bytes(parts.get(split, good).encode())


def read(root: Path, task: str) -> TaskData:
    data = folder.read_task(root, task, "mt")
    assert isinstance(data, TaskData)
    return data


def make_corpus(root: Path, **files: str) -> None:
    (root / "corpus" / "mt").mkdir(parents=True)
    for name, text in files.items():
        (root / "corpus" / "mt" / f"{name}.txt").write_text(text, encoding="utf-8")


def test_corpus_files_are_read_in_order_and_cut_into_documents(tmp_path: Path) -> None:
    make_corpus(tmp_path, b="\n\nx\ny\n\nz\n\n", a="".join(f"{number}\n" for number in range(40)) + "\n")
    (tmp_path / "corpus" / "mt" / "LICENSE").write_text("not text of the corpus")
    (tmp_path / "corpus" / "mt" / "._a.txt").write_bytes(b"\x00\x05\x16\x07 a file that a Mac leaves")
    read_documents = list(folder.read_corpus(tmp_path, "mt"))
    assert [len(one) for one in read_documents] == [32, 9, 2, 1]
    assert read_documents[2:] == [["x", "y"], ["z"]]


def test_blank_lines_before_and_after_the_text_separate_nothing(tmp_path: Path) -> None:
    make_corpus(tmp_path, a="\n" + "".join(f"{number}\n" for number in range(40)) + "\n\n")
    assert [len(one) for one in folder.read_corpus(tmp_path, "mt")] == [32, 11]


def test_languages_are_the_folders_of_the_corpus(tmp_path: Path) -> None:
    for name in ("mt", "sk", ".git"):
        (tmp_path / "corpus" / name).mkdir(parents=True)
    (tmp_path / "corpus" / "README").write_text("x")
    assert folder.list_languages(tmp_path) == ["mt", "sk"]


def test_an_unknown_language_lists_the_languages(tmp_path: Path) -> None:
    make_corpus(tmp_path, a="x\n")
    with pytest.raises(HarnessError, match=r"unknown language in .*corpus 'sk'; there are: mt\.") as fault:
        list(folder.read_corpus(tmp_path, "sk"))
    assert fault.value.exit_code == 2


def test_a_folder_without_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="expected a data folder with 'corpus/<language>"):
        folder.list_languages(tmp_path)


def test_a_language_without_files_is_refused(tmp_path: Path) -> None:
    make_corpus(tmp_path)
    with pytest.raises(HarnessError, match=r"corpus/mt: expected files \*\.txt\[\.gz"):
        list(folder.read_corpus(tmp_path, "mt"))


def test_an_unknown_compression_is_refused(tmp_path: Path) -> None:
    make_corpus(tmp_path)
    (tmp_path / "corpus" / "mt" / "a.txt.bz2").write_bytes(b"x")
    with pytest.raises(HarnessError, match=r"a\.txt\.bz2: expected one of \.txt, \.txt\.gz.*; got '\.bz2'"):
        list(folder.read_corpus(tmp_path, "mt"))


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "got an empty file"), (" \n\t\n", "a.txt: expected lines of text; got only white space")],
)
def test_a_corpus_file_without_text_is_refused(tmp_path: Path, text: str, message: str) -> None:
    make_corpus(tmp_path, a=text)
    with pytest.raises(HarnessError, match=message):
        list(folder.read_corpus(tmp_path, "mt"))


def test_a_corpus_file_in_another_encoding_is_refused_with_its_line(tmp_path: Path) -> None:
    make_corpus(tmp_path)
    (tmp_path / "corpus" / "mt" / "a.txt").write_bytes("good\nħażin\n".encode("utf-16-le"))
    with pytest.raises(HarnessError, match=r"a\.txt:1: expected "):
        list(folder.read_corpus(tmp_path, "mt"))


def test_conllu_skips_ranges_and_empty_nodes(tmp_path: Path) -> None:
    make_task(tmp_path, "pos")
    data = read(tmp_path, "pos")
    words, labels = ("Il-", "kelb", "jiekol", "."), ("DET", "NOUN", "VERB", "PUNCT")
    assert data.train == (TokenExample(words, labels, "Il-kelb jiekol."),)
    assert data.labels == UPOS
    assert data.scored_texts() == {"Il-kelb jiekol."}


def test_iob2_sentences_end_at_blank_lines_and_at_the_end(tmp_path: Path) -> None:
    make_task(tmp_path, "ner")
    data = read(tmp_path, "ner")
    assert [example.words for example in data.train if isinstance(example, TokenExample)] == [
        ("Beograd", "i", "Ana", "Kos"),
        ("Danas",),
    ]
    assert data.labels == ("B-LOC", "B-PER", "I-PER", "O")
    assert data.notes == ()


def test_a_type_that_changes_within_an_entity_is_corrected_and_noted(tmp_path: Path) -> None:
    make_task(tmp_path, "ner", test="x\tB-LOC\ny\tI-PER\nz\tI-PER\n")
    data = read(tmp_path, "ner")
    assert data.test == (TokenExample(("x", "y", "z"), ("B-LOC", "B-PER", "I-PER")),)
    first = "the first 'I-PER' after 'B-LOC' at ner/mt/test.conll:2"
    assert data.notes == (f"tags I- that open an entity, read as B-: 1, {first}",)


def test_pairs_have_three_columns(tmp_path: Path) -> None:
    for split in ("train", "dev", "test"):
        file = tmp_path / "nli/mt" / f"{split}.tsv"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            f"premise\thypothesis\tlabel\nIl-qattus {split}.\tRaqad.\tentails\n", encoding="utf-8"
        )
    data = folder.read_task(tmp_path, "nli", "mt")
    assert isinstance(data, TaskData)
    assert data.train == (TextExample("Il-qattus train.", "entails", "Raqad."),)
    assert data.scored_texts() == {"Il-qattus dev.", "Il-qattus test.", "Raqad."}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text\tlabel\n", "test.tsv:1: expected the header 'premise<TAB>hypothesis<TAB>label'"),
        (
            "premise\thypothesis\tlabel\na\tb\n",
            "test.tsv:2: expected three columns, premise, hypothesis and label; got 2",
        ),
        (
            "premise\thypothesis\tlabel\na\t \tyes\n",
            "test.tsv:2: expected a hypothesis in column 2; got nothing",
        ),
    ],
)
def test_a_bad_pair_is_refused_by_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "test.tsv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(HarnessError, match=re.escape(message)):
        list(read_pairs(path, ReadingNotes()))


LETTERS = ("\u09b9\u09df", "o\u0323\u0301ba\u0300", "toqgħod")
"""A letter that NFC takes apart, letters followed by their marks, and a letter that is in NFC already."""


@pytest.mark.parametrize("word", LETTERS, ids=ascii)
@pytest.mark.parametrize("task", ["pos", "ner", "topic", "nli"])
def test_texts_are_in_nfc(tmp_path: Path, task: str, word: str) -> None:
    written = f"# text = {word}.\n" + conllu(f"1 {word} NOUN", "2 . PUNCT")
    lines = {
        "pos": (".conllu", written),
        "ner": (".conll", f"{word}\tB-LOC\n.\tO\n"),
        "topic": (".tsv", f"text\tlabel\n{word}.\tgood\n"),
        "nli": (".tsv", f"premise\thypothesis\tlabel\n{word}.\t{word}\tyes\n"),
    }
    ending, text = lines[task]
    (tmp_path / task / "mt").mkdir(parents=True)
    for split in ("train", "dev", "test"):
        (tmp_path / task / "mt" / f"{split}{ending}").write_text(text, encoding="utf-8")
    data = read(tmp_path, task)
    composed = fold(word)
    for example in (*data.train, *data.dev, *data.test):
        if isinstance(example, TokenExample):
            assert example.words == (composed, ".")
        else:
            assert example.texts == ((f"{composed}.", composed)[: 1 + (task == "nli")])
        assert example.text == (f"{composed} ." if task == "ner" else f"{composed}.")


def test_quotation_marks_of_a_tsv_are_letters(tmp_path: Path) -> None:
    make_task(tmp_path, "sentiment")
    data = read(tmp_path, "sentiment")
    assert data.train == (TextExample('"Tajjeb" ħafna', "positive"), TextExample("Ħażin", "negative"))
    assert data.labels == ("negative", "positive")


FAULTS = {
    "no number": (
        "pos",
        "x\tIl\t_\tDET" + "\t_" * 6,
        r"train.conllu:1: expected a word number in column 1; got 'x'",
    ),
    "columns": ("pos", "# c\n1\tIl\t_\tDET", r"train.conllu:2: expected 10 columns separated by tabs; got 4"),
    "no form": ("pos", "1\t \t_\tDET" + "\t_" * 6, r"train.conllu:1: expected a word in column 2"),
    "no tag": (
        "pos",
        conllu("1 Il DET", "2 kelb _"),
        r"train.conllu:2: expected a UPOS tag in column 4 .*; got '_'",
    ),
    "other tag": ("pos", conllu("1 Il NN"), r"train.conllu:1: expected a UPOS tag in column 4 .*; got 'NN'"),
    "no sentence": ("pos", "# only a comment\n\n", r"train.conllu: expected at least one example; got none"),
    "one column": ("ner", "Ana\n", r"train.conll:1: expected a token, a tab and an IOB2 tag; got 'Ana'"),
    "no token": ("ner", "Ana\tO\n\tO\n", r"train.conll:2: expected a token, a tab and an IOB2 tag"),
    "not IOB2": ("ner", "Ana\tPER\n", r"train.conll:1: expected an IOB2 tag .*; got 'PER'"),
    "no type": ("ner", "Ana\tB-\n", r"train.conll:1: expected an IOB2 tag .*; got 'B-'"),
    "no header": (
        "topic",
        "Tajjeb\tsports\n",
        r"train.tsv:1: expected the header 'text<TAB>label'; got 'Tajjeb",
    ),
    "other header": (
        "topic",
        "label\ttext\nx\ty\n",
        r"train.tsv:1: expected the header 'text<TAB>label'; got 'label",
    ),
    "three columns": (
        "topic",
        "text\tlabel\na\tb\tc\n",
        r"train.tsv:2: expected two columns, text and label; got 3",
    ),
    "one of two": (
        "topic",
        "text\tlabel\na\tb\nc\n",
        r"train.tsv:3: expected two columns, text and label; got 1",
    ),
    "no label": ("topic", "text\tlabel\na\t \n", r"train.tsv:2: expected a label in column 2; got nothing"),
    "no text": ("topic", "text\tlabel\n\tsports\n", r"train.tsv:2: expected a text in column 1; got nothing"),
    "no example": ("topic", "text\tlabel\n", r"train.tsv: expected at least one example; got none"),
    "empty": ("topic", "", r"train.tsv: expected lines of text; got an empty file"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_line_is_refused_by_file_and_number(tmp_path: Path, fault: str) -> None:
    task, text, message = FAULTS[fault]
    make_task(tmp_path, task, train=text)
    with pytest.raises(HarnessError, match=message) as raised:
        folder.read_task(tmp_path, task, "mt")
    assert "\n" not in str(raised.value)


FORMS = {
    "IOB1": (
        "John\tI-PER\nSmith\tI-PER\nAna\tB-PER\nin\tO\nMalta\tI-LOC\n",
        ("B-PER", "I-PER", "B-PER", "O", "B-LOC"),
        ("tags in IOB1, converted to IOB2: 6, the first 'I-PER' at the start of a sentence at",),
        "1: expected an IOB2 tag (O, B-X, or I-X within an entity); got 'I-PER' at the start of a sentence",
    ),
    "BIOES": (
        "Paris\tS-LOC\nNew\tB-LOC\nYork\tI-LOC\nCity\tE-LOC\nRome\tS-LOC\n",
        ("B-LOC", "B-LOC", "I-LOC", "I-LOC", "B-LOC"),
        ("tags in BIOES or BILOU, converted to IOB2: 9, the first 'S-LOC' at the start of a sentence at",),
        "1: expected an IOB2 tag (O, B-X, or I-X within an entity); got 'S-LOC' at the start of a sentence",
    ),
    "BILOU": (
        "Paris\tU-LOC\nNew\tB-LOC\nYork\tL-LOC\nit\tO\n",
        ("B-LOC", "B-LOC", "I-LOC", "O"),
        ("tags in BIOES or BILOU, converted to IOB2: 6, the first 'U-LOC' at the start of a sentence at",),
        "1: expected an IOB2 tag (O, B-X, or I-X within an entity); got 'U-LOC' at the start of a sentence",
    ),
    "I- after O": (
        "Ana\tB-PER\nu\tO\nmaju\tI-DATE\n",
        ("B-PER", "O", "B-DATE"),
        ("tags I- that open an entity, read as B-: 3, the first 'I-DATE' after 'O' at",),
        "3: expected an IOB2 tag (O, B-X, or I-X within an entity); got 'I-DATE' after 'O'",
    ),
    "documents": (
        "-DOCSTART-\t-X-\tO\n\nJohn\tB-PER\n",
        ("B-PER",),
        ("lines -DOCSTART-, dropped: 3, the first '-DOCSTART-\t-X-\tO' at",),
        "1: expected a token, a tab and an IOB2 tag; got '-DOCSTART-\t-X-\tO'",
    ),
    "four columns": (
        "New York\tNNP\tI-NP\tB-LOC\n",
        ("B-LOC",),
        ("lines of more than two columns, read by the first and the last: 3, the first 'New York\tNNP",),
        "1: expected a token, a tab and an IOB2 tag; got 'New York\tNNP\tI-NP\tB-LOC'",
    ),
    "spaces": (
        "Ana B-PER\n",
        ("B-PER",),
        ("lines with spaces between columns, read as if with tabs: 3, the first 'Ana B-PER' at",),
        "1: expected a token, a tab and an IOB2 tag; got 'Ana B-PER'",
    ),
    "margin": (
        "a\tB-PER \nb\tI-PER\n",
        ("B-PER", "I-PER"),
        ("labels with white space around them, which was dropped: 3, the first 'B-PER ' at",),
        "1: expected a label without white space around it; got 'B-PER '",
    ),
    "NFC": (
        "a\tB-CITTA\u0300\n",
        ("B-CITTÀ",),
        (r"labels that are not in NFC, normalised: 3, the first 'B-CITTA\u0300' at",),
        r"1: expected a label in NFC; got 'B-CITTA\u0300'",
    ),
    "comment": (
        "# id 1\tdomain=en\n# text = I saw O\n#\tO\n",
        ("O",),
        ("comments, dropped: 6, the first '# id 1\tdomain=en' at",),
        "1: expected a token, a tab and an IOB2 tag; got '# id 1\tdomain=en'",
    ),
}
"""By form: a file, its tags in IOB2, the beginning of each note, and the message of strict reading."""


@pytest.mark.parametrize("form", FORMS)
def test_published_forms_are_read_and_noted(tmp_path: Path, form: str) -> None:
    text, tags, notes, _ = FORMS[form]
    make_task(tmp_path, "ner", train=text, dev=text, test=text)
    data = read(tmp_path, "ner")
    assert data.test[0].labels == tags
    assert [note[: len(start)] for note, start in zip(data.notes, notes, strict=True)] == list(notes)
    assert all(note.split(" at ")[-1].startswith("ner/mt/train.conll:") for note in data.notes)


@pytest.mark.parametrize("form", FORMS)
def test_strict_reading_refuses_published_forms(tmp_path: Path, form: str) -> None:
    text, _, _, message = FORMS[form]
    make_task(tmp_path, "ner", train=text, dev=text, test=text)
    with pytest.raises(HarnessError) as raised:
        folder.read_task(tmp_path, "ner", "mt", strict=True)
    ending = "; correct the line, or read without --strict-data"
    assert str(raised.value) == f"{tmp_path}/ner/mt/train.conll:{message}{ending}"


def test_clean_data_reads_the_same_in_strict_mode(tmp_path: Path) -> None:
    for task in GOOD:
        make_task(tmp_path, task)
        data = read(tmp_path, task)
        assert folder.read_task(tmp_path, task, "mt", strict=True) == data
        assert data.notes == ()


def test_line_ends_of_windows_are_no_departure(tmp_path: Path) -> None:
    make_task(tmp_path, "ner")
    unix = read(tmp_path, "ner")
    for path in (tmp_path / "ner/mt").iterdir():
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert folder.read_task(tmp_path, "ner", "mt", strict=True) == unix


def test_notes_count_each_kind_once(tmp_path: Path) -> None:
    make_task(tmp_path, "topic", train="text\tlabel\na\tx \nb\t y\n", test="text\tlabel\nc\tx \n")
    make_task(tmp_path, "pos", dev=conllu("1 Il DET").replace("DET", "DET "))
    (tmp_path / "topic/mt/dev.tsv").write_text("text\tlabel\nd\ty\n")
    data = read(tmp_path, "topic")
    assert data.labels == ("x", "y")
    kind = "labels with white space around them, which was dropped"
    assert data.notes == (f"{kind}: 3, the first 'x ' at topic/mt/train.tsv:2",)
    assert read(tmp_path, "pos").notes == (f"{kind}: 1, the first 'DET ' at pos/mt/dev.conllu:1",)


def test_texts_of_one_part_do_not_depend_on_the_others(tmp_path: Path) -> None:
    make_task(tmp_path, "sentiment", train="no header\n", dev=TSV)
    assert folder.read_part_texts(tmp_path, "sentiment", "mt", "dev") == {'"Tajjeb" ħafna', "Ħażin"}
    with pytest.raises(HarnessError, match=r"train\.tsv:1: expected the header"):
        folder.read_part_texts(tmp_path, "sentiment", "mt", "train")


def test_a_label_that_training_lacks_is_refused(tmp_path: Path) -> None:
    make_task(tmp_path, "topic", test="text\tlabel\nx\tmixed\n")
    with pytest.raises(
        HarnessError, match=r"test.tsv: expected only labels of the training part .*; got 'mixed'"
    ):
        folder.read_task(tmp_path, "topic", "mt")


def test_a_missing_task_is_absent_with_its_reason(tmp_path: Path) -> None:
    absent = folder.read_task(tmp_path, "ner", "mt")
    assert isinstance(absent, Absent)
    assert absent.reason.endswith("ner/mt does not exist")


def test_a_task_without_training_part_is_absent(tmp_path: Path) -> None:
    make_task(tmp_path, "ner")
    (tmp_path / "ner" / "mt" / "train.conll").unlink()
    absent = folder.read_task(tmp_path, "ner", "mt")
    assert isinstance(absent, Absent)
    assert "has no train.conll" in absent.reason


@pytest.mark.parametrize("split", ["dev", "test"])
def test_a_training_part_alone_is_refused(tmp_path: Path, split: str) -> None:
    make_task(tmp_path, "ner")
    (tmp_path / "ner" / "mt" / f"{split}.conll").unlink()
    with pytest.raises(
        HarnessError, match=rf"{split}.conll: expected this file next to train.conll; got none"
    ):
        folder.read_task(tmp_path, "ner", "mt")


def test_an_unknown_task_lists_the_tasks(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=f"unknown task 'parsing'; there are: {', '.join(TASKS)}"):
        folder.read_task(tmp_path, "parsing", "mt")


@pytest.mark.real
@pytest.mark.skipif(ROOT is None, reason="HARNESS_REAL_DATA names no folder of real text")
def test_all_of_the_real_text_reads() -> None:
    root = Path(str(ROOT))
    languages = folder.list_languages(root)
    assert len(languages) == 20
    read = {}
    for lang in languages:
        assert sum(len(one) for one in folder.read_corpus(root, lang)) > 5_000
        for task in TASKS:
            data = folder.read_task(root, task, lang)
            if isinstance(data, TaskData):
                read[task, lang] = data
    assert {lang for task, lang in read if task == "pos"} == {"en", "fr", "he", "mt", "sl", "tl"}
    assert {lang for task, lang in read if task == "ner"} == {"hr"}
    assert len(read["topic", "mt"].labels) == 7
    assert len(read["topic", "mt"].test) == 204
    noted = [note for data in read.values() for note in data.notes]
    assert len(noted) == 1
    assert "hr/dev.conll:6153" in noted[0]
