"""`harness score`: any encoder on a language's tasks, and the input that it refuses."""

from __future__ import annotations

import json
import shutil
import sys

import pytest

from harness import cli


@pytest.fixture(scope="module")
def place(tmp_path_factory, write_data, write_teacher, write_scale):
    """A data folder with an item of train in test, a teacher, and a foreign encoder without a head."""
    root = tmp_path_factory.mktemp("score")
    write_data(root / "data")
    learnt = (root / "data/topic/mt/train.tsv").read_text(encoding="utf-8").splitlines()[1]
    with (root / "data/topic/mt/test.tsv").open("a", encoding="utf-8") as file:
        file.write(learnt + "\n")
    (root / "data/nli/mt").mkdir(parents=True)
    for split in ("train", "dev", "test"):
        pairs = "".join(
            f"{word} mifa\t{word} toki\t{'yes' if word < 'm' else 'no'}\n"
            for word in ("kadin", "rafa", split)
        )
        (root / f"data/nli/mt/{split}.tsv").write_text(
            f"premise\thypothesis\tlabel\n{pairs}", encoding="utf-8"
        )
    write_teacher(root / "teacher")
    write_foreign(root / "teacher", root / "foreign/model")
    write_scale(root)
    return root


def write_foreign(teacher, folder):
    """Write a DistilBERT encoder, which no run makes and which has no masked-language head."""
    from transformers import AutoTokenizer, DistilBertConfig, DistilBertModel

    tokenizer = AutoTokenizer.from_pretrained(teacher)
    config = DistilBertConfig(
        vocab_size=len(tokenizer), dim=16, n_layers=1, n_heads=2, hidden_dim=24, max_position_embeddings=20
    )
    DistilBertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def run(place, runs, *models, more=(), scale="tiny"):
    """Run the command in this process; return ``scores.json`` and the printed text."""
    named = [word for model in models for word in ("--model", str(place / model))]
    given = [
        "score",
        *named,
        "--lang",
        "mt",
        "--data",
        str(place / "data"),
        "--scale",
        str(place / f"{scale}.yaml"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["harness", *given, "--runs", str(runs), *more])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    assert not ended.value.code
    (path,) = runs.glob(f"mt/score-*-{scale}/scores.json")
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def scored(place):
    return run(place, place / "runs", "teacher", "foreign/model")


def test_models_and_baselines_are_scored_on_every_task(scored):
    assert list(scored["names"]) == ["teacher", "foreign", "random", "static", "tfidf", "majority"]
    assert scored["tasks"] == {"pos": "accuracy", "topic": "macro_f1", "nli": "accuracy"}
    for scores in scored["scores"].values():
        for task, metric in scored["tasks"].items():
            cell = scores[task]["metrics"][metric]
            assert cell["low"] <= cell["mean"] <= cell["high"]
            assert f"task:{task}|" in scores[task]["signature"]
    compared = [row["model"] for row in scored["comparisons"] if row["task"] == "pos"]
    assert compared == ["foreign", "random", "static", "tfidf", "majority"]
    assert {row["other"] for row in scored["comparisons"]} == {"teacher"}


def test_inputs_are_cut_to_the_shortest_model(scored):
    assert all(
        "max_length=20" in scored["scores"][model]["pos"]["signature"] for model in ("teacher", "foreign")
    )


def test_items_in_two_parts_are_counted(scored):
    assert scored["data"]["topic"]["leakage"] == {"dev": 0, "test": 1}


def test_repeated_command_prints_the_same_digits(place, scored, tmp_path, capsys):
    more = ("--tasks", "topic", "--baselines", "none")
    again = run(place, tmp_path, "teacher", "foreign/model", more=more)
    assert list(again["names"]) == ["teacher", "foreign"]
    for model in again["names"]:
        assert again["scores"][model]["topic"] == scored["scores"][model]["topic"]
    printed = capsys.readouterr().out
    assert "1 of 11 test texts are also in train or dev, 0 of 6 dev texts in train\n" in printed
    (row,) = [line for line in printed.splitlines() if line.startswith("│ foreign")]
    assert row.rstrip(" │").endswith(("better", "worse", "no significant difference"))
    assert scored["scores"]["foreign"]["topic"]["signature"] not in printed


def test_limit_on_examples_appears_as_epochs_in_the_signature(place, write_scale, tmp_path):
    write_scale(place, {"score.epochs": 9, "score.max_examples": 1}, name="bounded")
    more = ("--tasks", "topic", "--seeds", "1", "--baselines", "none")
    scores = run(place, tmp_path, "teacher", more=more, scale="bounded")["scores"]["teacher"]["topic"]
    assert ",epochs=2," in scores["signature"]
    assert "max_examples" not in scores["signature"]
    assert len(scores["seeds"]["1"]["dev"]) == 2


def test_equal_scale_of_another_name_reuses_scores(place, tmp_path):
    shutil.copy(place / "tiny.yaml", place / "again.yaml")
    more = ("--tasks", "topic", "--seeds", "1", "--baselines", "majority")
    first = run(place, tmp_path, "teacher", more=more)
    assert run(place, tmp_path, "teacher", more=more, scale="again") == first
    assert not [one for one in (tmp_path / "mt/score-teacher-again").iterdir() if one.is_dir()]


def test_text_pairs_are_scored_by_accuracy(place, tmp_path):
    more = ("--tasks", "nli", "--seeds", "1", "--baselines", "static,tfidf,majority")
    written = run(place, tmp_path, "teacher", more=more)
    assert written["tasks"] == {"nli": "accuracy"}
    assert written["scores"]["tfidf"]["nli"]["n_test"] == 3
    assert written["data"]["nli"]["leakage"] == {"dev": 2, "test": 2}


def test_adapters_are_a_separate_protocol(place, tmp_path):
    more = ("--tasks", "topic", "--seeds", "1", "--baselines", "none", "--method", "adapter")
    written = run(place, tmp_path, "teacher", "foreign/model", more=more)
    for scores in written["scores"].values():
        assert "|protocol:adapter," in scores["topic"]["signature"]
        assert "reduction=16" in scores["topic"]["signature"]
        assert 0 < scores["topic"]["seeds"]["1"]["num_trained"] <= 2 * (16 + 16 + 1 + 16) + 2 * 17 + 16 * 17


def test_lora_is_a_separate_protocol_that_names_its_library(place, tmp_path):
    more = ("--tasks", "pos", "--seeds", "1", "--baselines", "none", "--method", "lora")
    written = run(place, tmp_path, "teacher", more=more)
    scores = written["scores"]["teacher"]["pos"]
    assert "|protocol:lora," in scores["signature"]
    assert "rank=8" in scores["signature"]
    assert "|peft:" in scores["signature"]


def test_hub_model_is_named_with_its_commit(monkeypatch, tmp_path, place):
    from harness.models.loading import hub
    from harness.plans import scorecard

    commit = "1" * 40
    folder = tmp_path / "snapshots" / commit
    shutil.copytree(place / "teacher", folder)
    monkeypatch.setattr(
        hub, "locate_model", lambda name, revision: {("org/Base_X", "main"): folder}[name, revision]
    )
    first, second = scorecard.find_model_sources(["org/Base_X", "org/Base_X"])
    assert (first.id, first.source, second.id) == ("base-x", f"org/Base_X@{commit}", "base-x-2")


def slow_tokenizer(model):
    from transformers import ByT5Tokenizer

    for name in ("tokenizer.json", "tokenizer_config.json"):
        (model / name).unlink()
    ByT5Tokenizer().save_pretrained(model)


def without_padding(model):
    settings = json.loads((model / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings |= {"pad_token": None, "tokenizer_class": "PreTrainedTokenizerFast"}
    (model / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def larger_tokenizer(model):
    path = model / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | {"vocab_size": 7}), encoding="utf-8")


def custom_code(model):
    path = model / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | {"auto_map": {"AutoModel": "own.Model"}}), encoding="utf-8")


def pickled(model):
    (model / "model.safetensors").rename(model / "pytorch_model.bin")


def cut(model):
    whole = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(whole[:100])


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (slow_tokenizer, "expected a fast tokenizer (tokenizer.json); got ByT5Tokenizer, a slow one"),
        (
            without_padding,
            "expected tokens for start, end, padding, unknown; got none for padding",
        ),
        (larger_tokenizer, "expected a tokenizer of at most 7 ids; got 60"),
        (custom_code, "expected a stock model; got custom code (auto_map), which is never run"),
        (
            pickled,
            "expected weights (model.safetensors); got only pickled weights (pytorch_model.bin), which are",
        ),
        (cut, "expected whole weights in model.safetensors; got a broken file"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_model_that_cannot_be_scored_is_refused(refused, place, tmp_path, spoil, line):
    model = tmp_path / "spoilt"
    shutil.copytree(place / "teacher", model)
    spoil(model)
    data, scale = place / "data", place / "tiny.yaml"
    code, said = refused(
        "score", "--model", model, "--lang", "mt", "--data", data, "--scale", scale, "--tasks", "topic"
    )
    assert code == 1
    assert line in said


def relabel(data):
    path = data / "topic/mt/test.tsv"
    path.write_text(path.read_text(encoding="utf-8") + "kadin mifa\tstrange\n", encoding="utf-8")


def empty(data):
    (data / "topic/mt/dev.tsv").write_text("text\tlabel\n", encoding="utf-8")


def not_iob2(data):
    for split in ("train", "dev", "test"):
        path = data / f"ner/mt/{split}.conll"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            "Ana\tB-PER\nkadin\tI-PER\n\n" if split != "test" else "Ana\tO\nMifa\tPER\n", encoding="utf-8"
        )


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (relabel, "topic/mt/test.tsv: expected only labels of the training part (even, odd); got 'strange'"),
        (empty, "topic/mt/dev.tsv: expected at least one example; got none"),
        (
            not_iob2,
            "ner/mt/test.conll:2: expected an IOB2 tag (O, B-X, or I-X within an entity); got 'PER'",
        ),
    ],
)
def test_invalid_task_is_refused_by_file_and_line(refused, place, tmp_path, spoil, line):
    data, model, scale = tmp_path / "data", place / "teacher", place / "tiny.yaml"
    shutil.copytree(place / "data", data)
    spoil(data)
    given = (
        "--model",
        model,
        "--lang",
        "mt",
        "--data",
        data,
        "--scale",
        scale,
        "--tasks",
        line.split("/")[0],
    )
    code, said = refused("score", *given)
    assert code == 1
    assert line in said


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            ["--model", "nope/", "--lang", "mt"],
            "model 'nope/': expected a folder or a hub id; got neither",
        ),
        (
            ["--model", "nope/never", "--lang", "mt"],
            "model 'nope/never': expected revision main from the hub",
        ),
        (
            ["--model", "TEACHER", "--lang", "xx"],
            "score: expected one task at least in 'xx'; got none; pos: no source",
        ),
        (
            ["--model", "TEACHER", "--lang", "mt", "--seeds", "1,one"],
            "score: score.seeds: expected different whole",
        ),
        (
            ["--model", "TEACHER", "--lang", "mt", "--tasks", "parsing"],
            "unknown task 'parsing'",
        ),
        (
            ["--model", "TEACHER", "--lang", "mt", "--baselines", "luck"],
            "score: score.baselines: unknown baseline",
        ),
        (
            ["--model", "TEACHER", "--lang", "mt", "--baselines", "trimmed"],
            "--baselines trimmed: expected baselines",
        ),
    ],
)
def test_missing_thing_is_refused(refused, place, monkeypatch, given, line):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    _, said = refused("score", *(str(place / "teacher") if one == "TEACHER" else one for one in given))
    assert said.startswith(line)
