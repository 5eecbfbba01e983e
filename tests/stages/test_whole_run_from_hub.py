"""A run like that of the scale ``paper``, from an offline hub cache: teacher, text and four tasks."""

from __future__ import annotations

import shutil

import datasets
import pytest
from huggingface_hub import constants

from harness.config import shape, teacher
from harness.config.load import load_recipe, load_scale
from harness.config.shape import KNOWN_TEACHERS, Shape
from harness.data import corpus
from harness.errors import HarnessError
from harness.languages import language
from harness.models.loading import checkpoint
from harness.pipeline.execute import Observer, execute
from harness.pipeline.manifest import Environment
from harness.pipeline.store import Store
from harness.plans.run import plan_run, reads_hub
from harness.stages import RUNNERS
from harness.stages.io.artifacts import read_task

SMALL = Shape(family="bert", layers=2, hidden=16, heads=2, ffn=24, vocabulary=60, positions=48, types=2)
HUB = {
    "teacher": {"hub": "recipe"},
    "corpus": {"source": "hub", "held_out_fraction": 0.1},
    "tasks": {"source": "hub", "names": ["pos", "ner", "topic", "sentiment"], "test": 3},
}
LEAK = "Il-Belt kadin mifa"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub cache, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    yield tmp_path / "hub"
    datasets.enable_progress_bars()


def open_snapshot(hub, kind, name, revision):
    home = hub / f"{kind}--{name.replace('/', '--')}"
    (home / "refs").mkdir(parents=True, exist_ok=True)
    for ref in ("main", "2.17"):
        (home / "refs" / ref).write_text(revision)
    folder = home / "snapshots" / revision
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_parts(hub, task, names, rows):
    """Write the three parts of a task where the table of languages says that they are."""
    source = language("mt").tasks[task]
    folder = open_snapshot(hub, "datasets", source.hub, source.revision or "0" * 40)
    for split in ("train", "dev", "test"):
        path = folder / names.format(split=source.dev if split == "dev" else split)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".tsv":
            path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
        else:
            datasets.Dataset.from_dict(rows).to_parquet(path)


@pytest.fixture
def filled(hub, write_teacher):
    """The cache with the teacher, the text and the four tasks of Maltese."""
    known = KNOWN_TEACHERS["mbert"]
    write_teacher(open_snapshot(hub, "models", known.hub_id, known.revision))
    source = language("mt").corpus
    folder = open_snapshot(hub, "datasets", source.hub, source.revision) / "v1.0" / "mlt-Latn"
    folder.mkdir(parents=True)
    documents = [f"toki nukin {number}\nselmo bordin {number}" for number in range(30)]
    datasets.Dataset.from_dict({"content": [*documents, LEAK]}).to_parquet(folder / "mlt-Latn_0.parquet")
    words = [LEAK.split(), ["kadin", "."], ["toki"], ["mifa"]]
    tags = [["PROPN", "NOUN", "NOUN"], ["NOUN", "PUNCT"], ["VERB"], ["NOUN"]]
    write_parts(hub, "pos", "parquet/mt_mudt/{split}.parquet", {"tokens": words, "upos": tags})
    entities = [[5, 0, 0], [0, 0], [1], [3]]
    write_parts(hub, "ner", "mt/{split}/0000.parquet", {"tokens": words, "ner_tags": entities})
    topics = [["index_id", "category", "text"], ["1", "sports", "toki kadin"], ["2", "health", "mifa"]]
    write_parts(hub, "topic", "data/mlt_Latn/{split}.tsv", topics)
    write_parts(hub, "sentiment", "data/{split}-00000.parquet", {"text": ["toki", "mifa"], "label": [0, 1]})
    return hub


@pytest.fixture
def known(monkeypatch):
    """Replace the published teacher by the small one of the cache, at its pinned revision."""
    small = {"mbert": KNOWN_TEACHERS["mbert"]._replace(shape=SMALL)}
    monkeypatch.setattr(teacher, "KNOWN_TEACHERS", small)
    return small


@pytest.fixture
def go(tmp_path, write_scale, write_recipe):
    """Run the stages that read from the hub."""

    def go(changes=HUB):
        plan = plan_run(
            "mt", load_recipe(write_recipe(tmp_path)), load_scale(write_scale(tmp_path, changes))
        ).plan
        return execute(
            plan,
            Store(tmp_path / "runs"),
            "mt/hub",
            RUNNERS,
            observer=Observer(),
            environment=Environment,
            selected=reads_hub,
        )

    return go


def test_published_teacher_is_fetched_at_its_revision(filled, known, go):
    done = go()["teacher"]
    model, tokenizer = checkpoint.load_checkpoint(done.folder / "model")
    assert done.manifest.facts["shape"] == SMALL.model_dump()
    assert done.manifest.facts["teacher"] == {
        "name": "google-bert/bert-base-multilingual-cased",
        "revision": KNOWN_TEACHERS["mbert"].revision,
        "licence": None,
    }
    assert len(tokenizer) == model.config.vocab_size == 60
    assert {path.name for path in (done.folder / "model").iterdir()} >= {
        "model.safetensors",
        "tokenizer.json",
    }


def test_text_and_tasks_of_the_hub_record_their_source(filled, known, go, make_context):
    done = go()
    facts = done["tasks"].manifest.facts
    assert {name: facts[name]["labels"] for name in ("topic", "sentiment")} == {
        "topic": ["health", "sports"],
        "sentiment": ["negative", "positive"],
    }
    assert {name: facts[name]["test"] for name in facts} == {"pos": 3, "ner": 3, "topic": 2, "sentiment": 2}
    for name in ("pos", "ner", "topic", "sentiment"):
        source = language("mt").tasks[name]
        assert facts[name]["provenance"]["hub"] == source.hub
        assert facts[name]["provenance"]["revision"] == (source.revision or "0" * 40)
        assert sum(key.startswith("sha256:") for key in facts[name]["provenance"]) == 3
    context = make_context({}, {"tasks": done["tasks"].folder})
    assert read_task(context, "ner").train[0].labels == ("B-LOC", "O", "O")
    facts = done["corpus"].manifest.facts["mt"]
    assert facts["provenance"]["hub"] == "cis-lmu/GlotCC-V1"
    assert facts["documents"] == 31
    lines = [
        line
        for part in corpus.PARTS
        for document in corpus.read(done["corpus"].folder, part)
        for line in document
    ]
    assert "toki nukin 7" in lines
    assert LEAK not in lines


def test_second_run_reads_nothing_from_the_hub(filled, known, go, monkeypatch):
    go()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", "nowhere")
    assert set(go()) == {"teacher", "tasks", "corpus"}


def test_stages_that_read_the_hub_keep_their_numbers(filled, known, go):
    assert [done.folder.name.split("-")[0] for done in go().values()] == ["01", "02", "03"]


def test_run_without_the_hub_downloads_nothing(go):
    assert go({}) == {}


def test_teacher_of_another_shape_than_published_is_refused(filled, go):
    message = (
        r"^teacher 'google-bert/bert-base-multilingual-cased': expected layers 12, as planned; got 2; "
        r"take another revision, or a recipe for this teacher$"
    )
    with pytest.raises(HarnessError, match=message):
        go()


def test_scale_may_name_its_teacher(filled, known, go):
    assert go(HUB | {"teacher": {"hub": "mbert"}})["teacher"].manifest.facts["shape"] == SMALL.model_dump()


def test_table_of_teachers_is_as_published():
    assert shape.KNOWN_TEACHERS["mbert"].shape.num_parameters == 177_974_523


def test_unreachable_data_set_is_one_line(hub, known, go):
    with pytest.raises(HarnessError, match=r"^hub: expected the data set commul/universal_") as raised:
        go()
    assert "\n" not in str(raised.value)


def test_unreachable_teacher_is_one_line(filled, hub, known, go):
    for folder in hub.glob("models--*"):
        shutil.rmtree(folder)
    with pytest.raises(
        HarnessError, match=r"'google-bert/bert-base-multilingual-cased': expected revision 3f076fd"
    ) as raised:
        go()
    assert "\n" not in str(raised.value)
