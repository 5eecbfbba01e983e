"""What a run will do, told before it does anything: stages, tasks, keys, and what cannot be done at all."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.config.load import load_recipe, load_scale
from harness.errors import HarnessError, UsageError
from harness.plans.run import plan_run
from harness.plans.run_inputs import plan_pretraining
from harness.stages import RUNNERS, make_runner
from harness.tasks import TASKS

STEPS = ["adapt", "shorten", "distill", "prune", "narrow", "trim"]
MODELS = ["teacher", "adapt", "distill", "prune", "narrow", "trim"]
TUNED = [*MODELS, "trimmed-teacher", "random-teacher", "random-student"]
SCORED = [*TUNED, "static", "tfidf", "majority"]


@pytest.fixture
def make_blueprint(tmp_path, write_scale, write_recipe):
    """Draws a run of the small scale; ``changes`` are the scale's."""

    def make(language="mt", changes=None, data=None, teacher=None, steps=None):
        scale = load_scale(write_scale(tmp_path, changes))
        scale = scale.with_data(str(data)) if data else scale
        scale = scale.with_teacher(str(teacher)) if teacher else scale
        blueprint = plan_run(language, load_recipe(write_recipe(tmp_path, steps)), scale)
        assert blueprint.plan.keys, "read now: what is read may change hereafter"
        return blueprint

    return make


@pytest.fixture
def data(tmp_path, write_data):
    return write_data(tmp_path / "data")


@pytest.fixture(scope="session")
def teacher(tmp_path_factory, write_teacher):
    return write_teacher(tmp_path_factory.mktemp("teachers") / "small")


def of(blueprint, id):  # noqa: A002
    return next(stage for stage in blueprint.plan if stage.id == id)


def changed(one, other):
    """Gives the stages whose keys two plans do not share."""
    return {id for id, key in one.plan.keys.items() if other.plan.keys[id] != key}  # noqa: A001


def test_a_run_of_the_built_in_languages_goes_from_corpus_to_report(make_blueprint):
    blueprint = make_blueprint()
    scores = [f"score.{task}.{model}" for task in ("pos", "topic") for model in SCORED]
    exports = [f"export.{task}.{role}" for task in ("pos", "topic") for role in ("teacher", "student")]
    assert [stage.id for stage in blueprint.plan] == [
        "corpora", "teacher", "tasks", "corpus", *STEPS, "random-teacher", "random-student",
        "trimmed-teacher", "static", *scores, "compare", *exports, "latency", "report",
    ]  # fmt: skip
    assert {stage.kind for stage in blueprint.plan} <= set(RUNNERS)
    assert of(blueprint, "teacher").kind == "pretrain"
    assert blueprint.missing_tasks == {}


def test_the_steps_of_a_bilingual_recipe_see_both_languages_and_the_proof_one():
    recipe, scale = load_recipe("bistil2023"), load_scale("mini")
    blueprint = plan_run("mt", recipe, scale)
    assert of(blueprint, "corpus-en").config["source_language"] == "en"
    assert set(of(blueprint, "corpus-en").config["excluded_tasks"]) == {"mt", "en"}
    for id in ("trim", "adapt", "distill"):  # noqa: A001
        assert of(blueprint, id).inputs["corpus"] == "corpus-en"
    assert of(blueprint, "corpus").config["languages"] == ["mt"]
    for language, name in (("en", "bistil2023"), ("mt", "bistil2023@monolingual")):
        plan = plan_run(language, load_recipe(name), scale).plan
        assert "corpus-en" not in {stage.id for stage in plan}


def test_a_source_language_without_text_is_refused(data):
    scale = load_scale("mini").with_data(str(data))
    with pytest.raises(UsageError, match=r"unknown source_language of bistil2023 'en'; there are: mt"):
        plan_run("mt", load_recipe("bistil2023"), scale)


def test_every_model_is_scored_but_those_the_next_step_repairs(make_blueprint):
    scored = make_blueprint().scored
    assert [one.id for one in scored] == SCORED
    assert [one.role for one in scored] == ["teacher", *["student"] * 5, *["baseline"] * 6]
    assert scored[5].name == "trim (final student)"


def test_a_step_is_told_what_it_reads(make_blueprint):
    blueprint = make_blueprint()
    assert of(blueprint, "adapt").inputs == {"model": "teacher", "corpus": "corpus"}
    assert of(blueprint, "distill").inputs == {"model": "shorten", "corpus": "corpus", "teacher": "adapt"}
    assert "teacher" not in of(blueprint, "distill").config
    assert of(blueprint, "random-student").inputs == {"model": "trim"}
    assert of(blueprint, "score.pos.prune").inputs == {"model": "prune", "tasks": "tasks"}
    assert of(blueprint, "export.pos.student").inputs == {"model": "score.pos.trim"}
    kept = [stage.id for stage in blueprint.plan if stage.config.get("keep_model")]
    assert kept == [f"score.{task}.{model}" for task in ("pos", "topic") for model in ("teacher", "trim")]


def test_a_student_that_is_taught_its_tasks_reads_the_tuned_teacher(make_blueprint):
    short = {"shorten": {"layers": "1/2", "keep": "last"}}
    taught = make_blueprint(
        steps=[short, {"tune": {"teacher": "teacher", "loss": {"class_mse": 1}, "start": "tuned"}}]
    )
    assert [one.id for one in taught.scored[:3]] == ["teacher", "shorten", "tune"]
    assert taught.scored[2].name == "tune (final student)"
    assert "tune" not in {stage.id for stage in taught.plan}, "it makes no encoder"
    stage = of(taught, "score.pos.tune")
    assert stage.inputs == {"model": "shorten", "tasks": "tasks", "teacher": "score.pos.teacher"}
    assert stage.config["lesson"] == {"loss": {"class_mse": 1.0}, "kept_layers": [1]}
    assert of(taught, "score.pos.teacher").config["keep_model"]
    assert of(taught, "export.pos.student").inputs == {"model": "score.pos.tune"}
    assert of(taught, "random-student").inputs == {"model": "shorten"}
    plain = make_blueprint(steps=[short])
    assert of(plain, "score.pos.shorten").config == of(taught, "score.pos.shorten").config | {
        "keep_model": True
    }


def test_any_earlier_model_may_teach_a_task_also_one_that_no_table_shows(make_blueprint):
    learnt = {"loss": {"mlm": 1, "logit_mse": 1}}
    steps = [
        {"trim": {"tokens": "1/2"}},
        {"distill": {"teacher": "trim", **learnt}},
        {"tune": {"teacher": "trim", "loss": {"class_mse": 1}, "method": "sft", "density": 0.5}},
    ]
    taught = make_blueprint(steps=steps)
    assert "trim" not in {one.id for one in taught.scored}
    assert of(taught, "score.pos.tune").inputs["teacher"] == "score.pos.trim"
    assert of(taught, "score.pos.trim").config["keep_model"]
    assert "score.pos.trim" not in of(taught, "compare").inputs
    protocols = [of(taught, f"score.pos.{model}").config["protocol"] for model in ("tune", "trim")]
    assert protocols[0] == protocols[1] | {"method": "sft", "density": 0.5}


def test_a_student_is_taught_its_tasks_whole(make_blueprint):
    steps = [{"trim": {"tokens": "1/2"}}, {"tune": {"teacher": "trim", "loss": {"class_mse": 1}}}]
    with pytest.raises(HarnessError, match=r"score: pos: expected method full .* a tune step; got lora"):
        make_blueprint(steps=steps, changes={"score.method": "lora"})


def test_a_run_of_a_data_folder_has_the_tasks_that_are_there(make_blueprint, data, teacher):
    changes = {"tasks.names": ["pos", "ner", "topic", "sentiment"]}
    blueprint = make_blueprint(data=data, teacher=teacher, changes=changes)
    assert blueprint.tasks == ("pos", "topic")
    assert blueprint.missing_tasks == {
        "ner": "ner/mt/train.conll is not there",
        "sentiment": "sentiment/mt/train.tsv is not there",
    }
    assert of(blueprint, "tasks").inputs == {
        "data:pos/mt": data / "pos/mt",
        "data:topic/mt": data / "topic/mt",
    }
    kept_out = [f"{task}.{ending}" for task in ("dev", "test") for ending in ("conllu", "tsv")]
    parts = [f"{'pos' if 'conllu' in part else 'topic'}/mt/{part}" for part in kept_out]
    assert of(blueprint, "corpus").inputs == {f"data:{name}": data / name for name in ("corpus/mt", *parts)}


@pytest.fixture
def pairs(data):
    """Adds a task of two texts to the data folder, and a leftover without a training part."""
    for name in ("nli/mt/train.tsv", "nli/mt/dev.tsv", "nli/mt/test.tsv", "hate/mt/test.tsv"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text("premise\thypothesis\tlabel\nkadin\tmifa\tyes\n", encoding="utf-8")
    return data / "nli/mt"


def test_every_task_of_a_data_folder_is_scored_and_kept_out_of_the_text(make_blueprint, data, teacher, pairs):
    blueprint = make_blueprint(data=data, teacher=teacher, changes={"tasks.names": ["topic", "ner"]})
    assert blueprint.tasks == ("topic", "pos", "nli")
    assert set(blueprint.missing_tasks) == {"ner"}
    assert of(blueprint, "corpus").config["excluded_tasks"] == {"mt": ["topic", "pos", "nli"]}
    assert of(blueprint, "tasks").inputs["data:nli/mt"] == pairs
    assert of(blueprint, "corpus").inputs["data:nli/mt/test.tsv"] == pairs / "test.tsv"
    assert of(blueprint, "export.nli.student").inputs == {"model": "score.nli.trim"}


def test_a_scale_may_score_some_tasks_of_its_folder_but_no_text_of_any_is_trained_on(
    make_blueprint, data, teacher, pairs
):
    place = {"source": "folder", "folder": str(data)}
    changes = {"tasks": {**place, "names": ["topic"]}, "corpus": {**place, "held_out_fraction": 0.1}}
    blueprint = make_blueprint(teacher=teacher, changes=changes)
    assert blueprint.tasks == ("topic",)
    assert of(blueprint, "corpus").config["excluded_tasks"] == {"mt": ["topic", "pos", "nli"]}
    assert of(blueprint, "corpus").inputs["data:nli/mt/dev.tsv"] == pairs / "dev.tsv"


def test_a_task_folder_without_a_training_part_is_a_task_that_is_not_there(make_blueprint, data, teacher):
    (data / "topic/mt/train.tsv").unlink()
    assert make_blueprint(data=data, teacher=teacher).tasks == ("pos",)


def test_a_folder_with_text_alone_gives_a_run_without_scores(make_blueprint, data, teacher):
    for task in ("pos", "topic"):
        for path in (data / task / "mt").iterdir():
            path.unlink()
    blueprint = make_blueprint(data=data, teacher=teacher)
    assert blueprint.tasks == ()
    assert [stage.kind for stage in blueprint.plan][-3:] == ["random", "random", "report"]


def test_text_and_tasks_may_lie_apart(make_blueprint, data, tmp_path, write_data):
    other = write_data(tmp_path / "other")
    changes = {"corpus": {"source": "folder", "folder": str(data), "held_out_fraction": 0.1}}
    for source, place in (("folder", {"tasks.folder": str(other)}), ("builtin", {})):
        blueprint = make_blueprint(
            changes=changes | {"tasks.source": source} | place | {"teacher.pretrain.languages": ["mt"]}
        )
        inputs = of(blueprint, "corpus").inputs
        assert inputs["data:corpus/mt"] == data / "corpus/mt"
        scored = "pos/mt/test.conllu"
        assert inputs.get(f"data:{scored}") == (other / scored if source == "folder" else None)
        assert of(blueprint, "tasks").config["source"] == source


def test_the_hub_gives_a_pinned_teacher_of_a_stated_shape():
    blueprint = plan_run("mt", load_recipe("gurgurov2025"), load_scale("paper"))
    teacher = of(blueprint, "teacher")
    assert teacher.kind == "fetch"
    assert teacher.inputs == {}
    assert teacher.config["hub_id"] == "google-bert/bert-base-multilingual-cased"
    assert len(teacher.config["revision"]) == 40
    assert teacher.config["shape"]["vocabulary"] == 119_547
    assert blueprint.tasks == ("pos", "ner", "topic", "sentiment")
    assert [stage.id for stage in blueprint.plan][:3] == ["teacher", "tasks", "corpus"]


def test_the_hub_lacks_tasks_in_some_languages_and_says_so():
    blueprint = plan_run("tl", load_recipe("gurgurov2025"), load_scale("paper"))
    assert blueprint.tasks == ("pos", "ner", "topic")
    assert blueprint.missing_tasks == {"sentiment": "no source on the hub is known for it in 'tl'"}


def test_a_folder_gives_a_teacher_whose_every_byte_counts(make_blueprint, teacher, tmp_path):
    blueprint = make_blueprint(teacher=teacher)
    assert of(blueprint, "teacher").inputs == {"folder": teacher}
    assert of(blueprint, "report").config["teacher"] == "small"
    assert of(blueprint, "teacher").config["shape"]["hidden"] == 16
    assert blueprint.plan.external.keys() == {teacher}
    other = tmp_path / "small"
    other.mkdir()
    for path in teacher.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    assert not changed(blueprint, make_blueprint(teacher=other))
    (other / "model.safetensors").write_bytes(b"other weights")
    assert "teacher" in changed(blueprint, make_blueprint(teacher=other))


def test_what_no_stage_reads_changes_no_key(make_blueprint, data, teacher, tmp_path):
    """A teacher's new name is shown, by the report alone."""
    renamed = shutil.copytree(teacher, tmp_path / "renamed")
    one = make_blueprint(data=data, teacher=teacher)
    for name in (".DS_Store", "README.md"):
        (renamed / name).write_text("aside", encoding="utf-8")
        (data / "corpus/mt" / name).write_text("aside", encoding="utf-8")
    other = make_blueprint(data=data, teacher=renamed)
    assert changed(one, other) == {"report"}
    assert of(other, "report").config["teacher"] == "renamed"


def test_the_way_a_data_folder_is_named_plays_no_part(make_blueprint, data, teacher, monkeypatch):
    changes = {"tasks.names": ["pos", "ner"]}
    one = make_blueprint(data=data, teacher=teacher, changes=changes)
    monkeypatch.chdir(data.parent)
    assert not changed(one, make_blueprint(data=data.name, teacher=teacher, changes=changes))


def test_two_languages_share_the_teacher_and_nothing_else(make_blueprint):
    one, other = make_blueprint("mt"), make_blueprint("sk")
    assert set(one.plan.keys) - changed(one, other) == {"corpora", "teacher", "random-teacher", "static"}


def downstream(plan, ids):
    """Gives the stages that some stages are read by, all the way down, and those themselves."""
    found = set(ids)
    for stage in plan:
        if found & {source for source in stage.inputs.values() if isinstance(source, str)}:
            found.add(stage.id)
    return found


@pytest.mark.parametrize(
    ("place", "value", "first"),
    [
        ("training.distill.learning_rate", 5e-3, {"distill"}),
        ("training.adapt.tokens", 700, {"adapt"}),
        ("training.prune.tokens", 300, {"prune"}),
        ("corpus.held_out_fraction", 0.2, {"corpora", "corpus"}),
        (
            "latency.seconds",
            0.03,
            {"latency", *(f"export.{t}.{r}" for t in ("pos", "topic") for r in ("teacher", "student"))},
        ),
        ("latency.rounds", 4, {"latency"}),
        (
            "export.parity_tolerance",
            1e-3,
            {f"export.{t}.{r}" for t in ("pos", "topic") for r in ("teacher", "student")},
        ),
        ("score.tasks", {"pos": {"epochs": 2}}, {f"score.pos.{model}" for model in TUNED}),
        ("teacher.pretrain.tokens", 7000, {"teacher"}),
    ],
)
def test_a_changed_setting_changes_its_stage_and_what_comes_of_it(place, value, first, make_blueprint):
    one, other = make_blueprint(), make_blueprint(changes={place: value})
    assert changed(one, other) == downstream(one.plan, first)
    assert "report" in changed(one, other)


def test_a_training_that_takes_less_memory_is_the_same_work(make_blueprint):
    one, other = make_blueprint(), make_blueprint(changes={"activation_checkpointing": True})
    assert not changed(one, other)
    told = {stage.id for stage in other.plan if stage.settings.get("activation_checkpointing")}
    assert told == {"teacher", "adapt", "distill", "prune"}
    assert not any(stage.means for stage in one.plan)
    smaller = make_blueprint(changes={"device_tokens": 48})
    assert of(smaller, "teacher").config["device_tokens"] == 48
    assert changed(one, smaller) == downstream(one.plan, {"teacher"})


def test_changed_text_changes_what_comes_of_it_and_not_the_tasks(make_blueprint, data, teacher):
    one = make_blueprint(data=data, teacher=teacher)
    with (data / "corpus/mt/text.txt").open("a", encoding="utf-8") as file:
        file.write("\nkadin mifa\n")
    other = make_blueprint(data=data, teacher=teacher)
    assert changed(one, other) == downstream(one.plan, {"corpus"})
    assert not {"teacher", "tasks", "score.pos.majority", "score.pos.teacher", "random-teacher"} & changed(
        one, other
    )


def test_a_changed_test_part_changes_the_scores_and_the_text_it_is_kept_out_of(make_blueprint, data, teacher):
    one = make_blueprint(data=data, teacher=teacher)
    path = data / "topic/mt/test.tsv"
    path.write_text(path.read_text(encoding="utf-8") + "kadin mifa\todd\n", encoding="utf-8")
    assert changed(one, make_blueprint(data=data, teacher=teacher)) == downstream(
        one.plan, {"corpus", "tasks"}
    )


@pytest.mark.parametrize("language", ["mt", "sk"])
def test_what_a_task_is_learned_from_changes_no_text(language, make_blueprint, write_data, tmp_path):
    data = write_data(tmp_path / "data", ("mt", "sk"))
    one = make_blueprint(data=data)
    with (data / "topic" / language / "train.tsv").open("a", encoding="utf-8") as file:
        file.write("kadin mifa\todd\n")
    first = {"tasks"} if language == "mt" else set()
    assert changed(one, make_blueprint(data=data)) == downstream(one.plan, first)


def test_a_folder_of_another_language_changes_nothing(make_blueprint, data, teacher, write_data):
    one = make_blueprint(data=data, teacher=teacher)
    write_data(data, ("sw",))
    assert not changed(one, make_blueprint(data=data, teacher=teacher))


def test_a_teacher_of_all_languages_reads_those_the_source_has(make_blueprint, data, write_data):
    write_data(data, ("sw", "ga"))
    changes = {"teacher.pretrain.languages": "all"}
    assert of(make_blueprint(data=data, changes=changes), "teacher").config["languages"] == ["ga", "mt", "sw"]
    built_in = of(make_blueprint(changes=changes), "teacher").config["languages"]
    assert {"mt", "sk", "sw", "tl", "sl", "fr", "nl", "he", "hi", "en"} == set(built_in)


def test_a_language_that_only_the_folder_knows_can_be_named(make_blueprint, write_data, tmp_path, teacher):
    assert make_blueprint("ga", data=write_data(tmp_path / "own", ("ga",)), teacher=teacher).tasks == (
        "pos",
        "topic",
    )


HUB_TEXT = {"corpus": {"source": "hub", "held_out_fraction": 0.1}}


@pytest.mark.parametrize(
    ("language", "changes", "message"),
    [
        ("zz", {}, r"unknown built-in language 'zz'; there are: en, fr, he, hi, mt, nl, sk, sl, sw, tl\."),
        ("ar", {}, r"unknown built-in language 'ar'; there are: en"),
        ("zz", HUB_TEXT, r"unknown language 'zz'; there are: ar, ceb, cs"),
        ("mt", {"teacher.pretrain.languages": ["eu"]}, r"unknown built-in language 'eu'; there are: en"),
        (
            "mt",
            {"tasks.names": ["parsing"]},
            rf"unknown task 'parsing'; there are: {', '.join(TASKS)}",
        ),
        (
            "mt",
            {"latency.lengths": [8, 64]},
            r"tiny: latency.lengths: expected at most the 48 .*; got 64; lower",
        ),
        (
            "mt",
            {"sequence_length": 50},
            r"tiny: sequence_length: expected at most the 48 .*; got 50; lower it",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is(language, changes, message, make_blueprint):
    with pytest.raises(HarnessError, match=message) as raised:
        make_blueprint(language, changes=changes)
    assert "\n" not in str(raised.value)


def test_a_data_folder_without_the_language_lists_those_it_has(make_blueprint, data, write_data):
    write_data(data, ("sw",))
    with pytest.raises(HarnessError, match=rf"unknown language of {data} 'mm'; there are: mt, sw\."):
        make_blueprint("mm", data=data)
    with pytest.raises(HarnessError, match=rf"unknown language of {data} 'sk'; there are: mt, sw\."):
        make_blueprint("mt", data=data)


def test_only_a_scale_that_trains_a_teacher_can_pretrain():
    with pytest.raises(
        HarnessError, match=r"expected a scale with teacher.pretrain; 'paper' has none; choose another"
    ):
        plan_pretraining(load_scale("paper"))


def test_unknown_stage_kind_lists_the_known_ones():
    with pytest.raises(HarnessError, match="unknown stage kind 'cut'; there are: tasks, corpus, pretrain"):
        make_runner("cut")


PLANNING = """
import json, sys, time
from harness.config.load import load_recipe, load_scale
from harness.plans.run import plan_run
for scale in ("mini", "paper"):
    plan_run("mt", load_recipe("gurgurov2025"), load_scale(scale)).plan.keys
heavy = {"torch", "transformers", "datasets", "onnxruntime", "onnx", "sklearn", "scipy"}
print(json.dumps([sorted(heavy & set(sys.modules)), time.process_time()]))
"""


def test_planning_loads_no_torch_and_takes_a_moment():
    done = subprocess.run(
        [sys.executable, "-c", PLANNING], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    loaded, process_s = json.loads(done.stdout)
    assert loaded == []
    assert process_s < 3
