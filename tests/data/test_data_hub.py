"""The hub reader, against an offline cache made in code: every source's format, and every fault."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import RepositoryNotFoundError

from harness import languages
from harness.data import hub
from harness.data.examples import Absent, TaskData, TextExample, TokenExample
from harness.data.folder import read_task as read_local_task
from harness.errors import HarnessError
from harness.languages import LANGUAGES, Source, language

OTHER = "0123456789abcdef0123456789abcdef01234567"


class Cache:
    """A hub cache on disk, as the hub library lays it out."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, source: Source, name: str, raw: bytes | datasets.Dataset) -> Path:
        home = self.root / f"datasets--{source.hub.replace('/', '--')}"
        revision = source.revision or OTHER
        path = home / "snapshots" / revision / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (home / "refs").mkdir(exist_ok=True)
        (home / "refs" / source.branch).parent.mkdir(parents=True, exist_ok=True)
        (home / "refs" / source.branch).write_text(revision)
        if isinstance(raw, bytes):
            path.write_bytes(raw)
        else:
            raw.to_parquet(path)
        return path

    def put_parts(self, source: Source, names: str, parts: dict[str, Any]) -> None:
        for split, raw in parts.items():
            self.put(source, names.format(split=source.dev if split == "dev" else split), raw)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cache]:
    """An empty hub cache; the network is off."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    yield Cache(tmp_path / "hub")
    datasets.enable_progress_bars()


def task(name: str, lang: str) -> TaskData:
    data = hub.read_task(name, lang)
    assert isinstance(data, TaskData)
    return data


def sentences(words: list[list[str]], tags: list[list[Any]], column: str, feature: Any) -> datasets.Dataset:
    features = datasets.Features(
        {"tokens": datasets.List(datasets.Value("string")), column: datasets.List(feature)}
    )
    return datasets.Dataset.from_dict({"tokens": words, column: tags}, features=features)


def test_the_corpus_is_read_file_by_file_until_it_has_its_lines(cache: Cache) -> None:
    source = language("mt").corpus
    texts = [["Wieħed\ntnejn", "tlieta"], ["erbgħa\nħamsa\nsitta"], ["sebgħa"]]
    for number, content in enumerate(texts):
        rows = datasets.Dataset.from_dict({"content": content, "num-sents": [1] * len(content)})
        cache.put(source, f"v1.0/mlt-Latn/mlt-Latn_{number}.parquet", rows)
    provenance: dict[str, str] = {}
    assert list(hub.read_corpus("mt", 5, provenance)) == [
        ["Wieħed", "tnejn"],
        ["tlieta"],
        ["erbgħa", "ħamsa"],
    ]
    files = [key for key in provenance if key.startswith("sha256:")]
    assert files == ["sha256:v1.0/mlt-Latn/mlt-Latn_0.parquet", "sha256:v1.0/mlt-Latn/mlt-Latn_1.parquet"]
    assert provenance["revision"] == source.revision
    assert provenance["hub"] == "cis-lmu/GlotCC-V1"
    assert sum(map(len, hub.read_corpus("mt"))) == 7


def test_topics_are_tsv_without_quoting(cache: Cache) -> None:
    header = "index_id\tcategory\ttext\n"
    parts = {
        "train": f'{header}1\tsports\t"Logħba kbira.\n2\thealth\tNA\n'.encode(),
        "dev": f"{header}3\thealth\tSaħħa.\n".encode(),
        "test": f"{header}4\tsports\tRebaħ.\n".encode(),
    }
    cache.put_parts(language("mt").tasks["topic"], "data/mlt_Latn/{split}.tsv", parts)
    data = task("topic", "mt")
    assert data.train == (TextExample('"Logħba kbira.', "sports"), TextExample("NA", "health"))
    assert data.labels == ("health", "sports")
    assert data.provenance["revision"] == language("mt").tasks["topic"].revision
    assert data.provenance["licence"] == "CC-BY-SA-4.0"
    assert len([key for key in data.provenance if key.startswith("sha256:")]) == 3


def test_texts_of_the_hub_are_in_nfc(cache: Cache) -> None:
    header, apart = "index_id\tcategory\ttext\n", "Sah\u0327a to\u0323\u0301.\t"
    parts = {split: f"{header}1\thealth\t{apart.strip()}\n".encode() for split in ("train", "dev", "test")}
    cache.put_parts(language("mt").tasks["topic"], "data/mlt_Latn/{split}.tsv", parts)
    assert task("topic", "mt").test == (TextExample("Sa\u1e29a t\u1ecd\u0301.", "health"),)


def test_entities_are_numbers_named_by_the_file_or_by_the_table(cache: Cache) -> None:
    source = language("mt").tasks["ner"]
    named = datasets.ClassLabel(names=["O", "B-LOC", "I-LOC"])
    plain = datasets.Value("int64")
    parts = {
        "train": sentences([["Il-Belt", "Valletta", "."]], [[1, 2, 0]], "ner_tags", named),
        "dev": sentences([["Malta"]], [[5]], "ner_tags", plain),
        "test": sentences([["Malta", "Għawdex"]], [[5, 6]], "ner_tags", plain),
    }
    cache.put_parts(source, "mt/{split}/0000.parquet", parts)
    data = task("ner", "mt")
    assert data.train == (TokenExample(("Il-Belt", "Valletta", "."), ("B-LOC", "I-LOC", "O")),)
    assert data.test == (TokenExample(("Malta", "Għawdex"), ("B-LOC", "I-LOC")),)


def test_a_tag_that_is_not_iob2_names_its_row(cache: Cache) -> None:
    plain = datasets.Value("int64")
    rows = sentences([["a"], ["b", "c"]], [[0], [0, 2]], "ner_tags", plain)
    cache.put_parts(
        language("mt").tasks["ner"], "mt/{split}/0000.parquet", dict.fromkeys(("train", "dev", "test"), rows)
    )
    with pytest.raises(
        HarnessError, match=r"mt/train/\*\.parquet:2: expected an IOB2 tag .*; got 'I-PER' after 'O'"
    ):
        hub.read_task("ner", "mt", strict=True)
    (note,) = task("ner", "mt").notes
    assert note.startswith(
        "tags in IOB1, converted to IOB2: 3, the first 'I-PER' after 'O' at hub: unimelb-nlp"
    )


def test_hub_rows_are_repaired_as_files_are(cache: Cache) -> None:
    text = datasets.Value("string")
    words, tags = [["-DOCSTART-"], ["New York", "x"]], [["O"], ["S-LOC ", "O"]]
    rows = sentences(words, tags, "ner_tags", text)
    cache.put_parts(
        language("mt").tasks["ner"], "mt/{split}/0000.parquet", dict.fromkeys(("train", "dev", "test"), rows)
    )
    data = task("ner", "mt")
    assert data.train == (TokenExample(("New York", "x"), ("B-LOC", "O")),)
    assert [note.split(":")[0] for note in data.notes] == [
        "tags in BIOES or BILOU, converted to IOB2",
        "lines -DOCSTART-, dropped",
        "labels with white space around them, which was dropped",
    ]


def test_written_sentence_of_a_treebank_is_its_column_text(cache: Cache, tmp_path: Path) -> None:
    rows = sentences(
        [["Id-", "dar", "."], ["x"]], [["DET", "NOUN", "PUNCT"], ["X"]], "upos", datasets.Value("string")
    ).add_column("text", ["Id-dar.", None])
    source = language("mt").tasks["pos"]
    cache.put_parts(source, "parquet/mt_mudt/{split}.parquet", dict.fromkeys(("train", "dev", "test"), rows))
    place = tmp_path / "data/pos/mt"
    place.mkdir(parents=True)
    lines = ["# text = Id-dar.", "1 Id- DET", "2 dar NOUN", "3 . PUNCT", "", "1 x X", ""]
    columns = (
        line if line[:1] in ("#", "") else "{}\t{}\t_\t{}".format(*line.split()) + "\t_" * 6 for line in lines
    )
    text = "\n".join(columns) + "\n"
    for split in ("train", "dev", "test"):
        (place / f"{split}.conllu").write_text(text, encoding="utf-8")
    local = read_local_task(tmp_path / "data", "pos", "mt")
    assert isinstance(local, TaskData)
    assert task("pos", "mt").train == local.train
    assert [one.text for one in local.train] == ["Id-dar.", "x"]


def test_treebanks_come_from_a_tag_and_lose_rows_that_are_no_words(cache: Cache) -> None:
    source = language("mt").tasks["pos"]
    assert source.revision is None
    text = datasets.Value("string")
    rows = sentences([["Fil-", "dar", "."], ["x"]], [["_", "NOUN", "PUNCT"], [None]], "upos", text)
    cache.put_parts(source, "parquet/mt_mudt/{split}.parquet", dict.fromkeys(("train", "dev", "test"), rows))
    data = task("pos", "mt")
    assert data.train == (TokenExample(("dar", "."), ("NOUN", "PUNCT")),)
    assert data.provenance["revision"] == OTHER


def test_a_tag_outside_the_standard_names_its_row(cache: Cache) -> None:
    rows = sentences([["dar"]], [["NN"]], "upos", datasets.Value("string"))
    source = language("mt").tasks["pos"]
    cache.put_parts(source, "parquet/mt_mudt/{split}.parquet", dict.fromkeys(("train", "dev", "test"), rows))
    with pytest.raises(HarnessError, match=r":1: expected UPOS tags .*; got 'NN'"):
        hub.read_task("pos", "mt")


def test_unequal_words_and_tags_name_their_row(cache: Cache) -> None:
    rows = sentences([["dar", "."]], [["NOUN"]], "upos", datasets.Value("string"))
    source = language("mt").tasks["pos"]
    cache.put_parts(source, "parquet/mt_mudt/{split}.parquet", dict.fromkeys(("train", "dev", "test"), rows))
    with pytest.raises(HarnessError, match=r":1: expected a label for each of 2 words; got 1"):
        hub.read_task("pos", "mt")


def test_sentiment_is_csv_or_parquet_with_its_own_columns(cache: Cache) -> None:
    csv = b'text,label\n"Dobro, res.",2\nSlabo,0\n'
    cache.put_parts(
        language("sl").tasks["sentiment"], "{split}.csv", dict.fromkeys(("train", "dev", "test"), csv)
    )
    assert task("sentiment", "sl").train == (TextExample("Dobro, res.", "2"), TextExample("Slabo", "0"))
    rows = datasets.Dataset.from_dict({"tweet": ["Nzuri", "Mbaya"], "label": [0, 2]})
    source = language("sw").tasks["sentiment"]
    cache.put_parts(source, "swa/{split}/0000.parquet", dict.fromkeys(("train", "dev", "test"), rows))
    assert task("sentiment", "sw").labels == ("negative", "positive")


def test_pairs_news_and_hate_are_read_where_the_table_says(cache: Cache) -> None:
    everywhere = lambda rows: dict.fromkeys(("train", "dev", "test"), datasets.Dataset.from_dict(rows))  # noqa: E731
    pairs = {"premise": ["Anakula.", "Analala."], "hypothesis": ["Yu macho.", "Yu macho."], "label": [0, 2]}
    cache.put_parts(language("sw").tasks["nli"], "sw/xnli-{split}.parquet", everywhere(pairs))
    assert task("nli", "sw").train[1] == TextExample("Analala.", "contradiction", "Yu macho.")
    news = {"headline_text": ["Bei. Mafuta", "Goli. Mechi"], "label": ["business", "sports"]}
    cache.put_parts(language("sw").tasks["news"], "swa/{split}/0000.parquet", everywhere(news))
    assert task("news", "sw").labels == ("business", "sports")
    tweets = {"text": ["mabuti", "masama"], "label": [0, 1]}
    cache.put_parts(language("tl").tasks["hate"], "default/{split}/0000.parquet", everywhere(tweets))
    assert task("hate", "tl").dev == (TextExample("mabuti", "0"), TextExample("masama", "1"))


def test_jsonl_is_read_too(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source("org/data", "{split}.jsonl", ("text", "label"), "none", revision=OTHER)
    row = replace(LANGUAGES["hi"], tasks={"sentiment": source})
    monkeypatch.setitem(languages.LANGUAGES, "hi", row)
    raw = "".join(json.dumps({"text": text, "label": "x"}) + "\n" for text in ("अच्छा", "बुरा")).encode()
    cache.put_parts(source, "{split}.jsonl", {"train": raw, "validation": raw, "test": raw})
    assert task("sentiment", "hi").train == (TextExample("अच्छा", "x"), TextExample("बुरा", "x"))


def test_a_task_without_source_is_absent() -> None:
    absent = hub.read_task("pos", "sw")
    assert isinstance(absent, Absent)
    assert absent.reason == "no source on the hub is known for pos in 'sw'"


def test_an_unreachable_hub_without_cache_is_one_line(cache: Cache) -> None:
    message = r"expected the data set cis-lmu/GlotCC-V1 at '9aefe79\w+'; got .+, and no cached"
    with pytest.raises(HarnessError, match=message) as raised:
        list(hub.read_corpus("mt", 5))
    assert "\n" not in str(raised.value)


def test_another_commit_in_the_cache_is_not_used(cache: Cache) -> None:
    source = language("mt").corpus
    rows = datasets.Dataset.from_dict({"content": ["a"]})
    cache.put(replace(source, revision=OTHER), "v1.0/mlt-Latn/mlt-Latn_0.parquet", rows)
    with pytest.raises(HarnessError, match="and no cached copy"):
        list(hub.read_corpus("mt", 5))


def test_a_missing_configuration_names_the_nearest_file(cache: Cache) -> None:
    rows = datasets.Dataset.from_dict({"content": ["a"]})
    cache.put(language("sk").corpus, "v1.0/slk-Latn/slk-Latn_0.parquet", rows)
    message = (
        r"GlotCC-V1@9aefe79: expected files 'v1.0/mlt-Latn/\*.parquet'; got 1 others, the nearest: v1.0/slk"
    )
    with pytest.raises(HarnessError, match=message):
        list(hub.read_corpus("mt", 5))


def test_files_of_one_part_in_two_folders_are_refused(cache: Cache) -> None:
    source = language("mt").tasks["pos"]
    rows = sentences([["dar"]], [["NOUN"]], "upos", datasets.Value("string"))
    for folder in ("2.16", "2.17"):
        cache.put(source, f"{folder}/mt_mudt/train.parquet", rows)
    with pytest.raises(HarnessError, match=r"in one folder; got 2\.16/mt_mudt, 2\.17/mt_mudt"):
        hub.read_task("pos", "mt")


def test_a_missing_column_lists_the_columns(cache: Cache) -> None:
    rows = datasets.Dataset.from_dict({"body": ["a"]})
    cache.put(language("mt").corpus, "v1.0/mlt-Latn/mlt-Latn_0.parquet", rows)
    with pytest.raises(HarnessError, match="expected text in the column 'content'; got body"):
        list(hub.read_corpus("mt"))
    source = language("mt").tasks["topic"]
    raw = b"text\tlabel\na\tb\n"
    cache.put_parts(source, "data/mlt_Latn/{split}.tsv", dict.fromkeys(("train", "dev", "test"), raw))
    with pytest.raises(HarnessError, match="expected the column 'category'; got text, label"):
        hub.read_task("topic", "mt")


def test_a_row_without_label_names_its_row(cache: Cache) -> None:
    raw = b"index_id\tcategory\ttext\n1\tsports\ta\n2\t\tb\n"
    source = language("mt").tasks["topic"]
    cache.put_parts(source, "data/mlt_Latn/{split}.tsv", dict.fromkeys(("train", "dev", "test"), raw))
    with pytest.raises(HarnessError, match=r"train\.tsv:2: expected a text and a label; got 'b' and ''"):
        hub.read_task("topic", "mt")


def test_a_broken_file_is_named(cache: Cache) -> None:
    source = language("mt").tasks["ner"]
    cache.put_parts(source, "mt/{split}/0000.parquet", dict.fromkeys(("train", "dev", "test"), b"no parquet"))
    with pytest.raises(HarnessError, match=r"expected a whole parquet file; got '0000\.parquet'") as raised:
        hub.read_task("ner", "mt")
    assert "\n" not in str(raised.value)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        HarnessError, match=r"expected one of \.parquet, \.csv, \.tsv, \.jsonl; got 'load\.py'"
    ):
        hub.load_rows([tmp_path / "load.py"])


class Hub:
    """A fake of the hub's own service."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def dataset_info(self, name: str, revision: str, timeout: float) -> Any:
        assert name
        assert revision
        assert timeout
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_a_removed_data_set_is_not_read_from_the_cache(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.put(
        language("mt").corpus, "v1.0/mlt-Latn/a.parquet", datasets.Dataset.from_dict({"content": ["a"]})
    )
    gone = RepositoryNotFoundError(
        "gone",
        response=SimpleNamespace(headers={}, request=None),  # type: ignore[arg-type]
    )
    monkeypatch.setattr(hub, "HfApi", lambda: Hub(gone))
    with pytest.raises(HarnessError, match=r"at '9aefe79\w+'; got no such repository.*; it was moved"):
        list(hub.read_corpus("mt"))


class Info:
    """What the hub says of a data set."""

    def __init__(self, sha: str, *names: str) -> None:
        self.sha = sha
        self.siblings = [SimpleNamespace(rfilename=name) for name in names]


def test_only_files_that_the_hub_lists_are_read(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    source = language("mt").corpus
    names = ("v1.0/mlt-Latn/mlt-Latn_0.parquet", "v1.0/mlt-Latn/mlt-Latn_1.parquet")
    cache.put(source, names[0], datasets.Dataset.from_dict({"content": ["a\nb"]}))
    monkeypatch.setattr(hub, "HfApi", lambda: Hub(Info(str(source.revision), *names)))
    assert list(hub.read_corpus("mt", 2)) == [["a", "b"]]
    with pytest.raises(
        HarnessError, match=r"expected v1.0/mlt-Latn/mlt-Latn_1.parquet of cis-lmu/GlotCC-V1@9aefe79; got"
    ):
        list(hub.read_corpus("mt", 3))


def test_a_branch_that_moves_while_reading_is_refused(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    source = language("sl").tasks["sentiment"]
    cache.put_parts(source, "{split}.csv", dict.fromkeys(("train", "dev", "test"), b"text,label\na,b\n"))
    moved = Info("f" * 40, "train.csv", "dev.csv", "test.csv")
    monkeypatch.setattr(hub, "HfApi", lambda: Hub(moved))
    with pytest.raises(
        HarnessError, match=r"expected train.csv of DGurgurov/slovenian_sa@fffffff; got another commit"
    ):
        hub.read_task("sentiment", "sl")
