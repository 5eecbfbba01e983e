"""The plan of a run: its stages, tasks and keys, and what is refused before anything runs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from harness.config.load import load_recipe, load_scale
from harness.errors import HarnessError, UsageError
from harness.plans.run import plan_run
from harness.plans.run_inputs import SharedInputs, plan_pretraining
from harness.stages import RUNNERS, make_runner
from harness.tasks import TASKS

STEPS = ["adapt", "shorten", "distill", "prune", "narrow", "trim"]
MODELS = ["teacher", "adapt", "distill", "prune", "narrow", "trim"]
TUNED = [*MODELS, "trimmed-teacher", "random-teacher", "random-student"]
SCORED = [*TUNED, "static", "tfidf", "majority"]


@pytest.fixture
def make_run_plan(tmp_path, write_scale, write_recipe):
    """Return a maker of run plans at the small scale, with ``changes`` of the scale."""

    def make(language="mt", changes=None, data=None, teacher=None, steps=None):
        scale = load_scale(write_scale(tmp_path, changes))
        scale = scale.with_data(str(data)) if data else scale
        scale = scale.with_teacher(str(teacher)) if teacher else scale
        run_plan = plan_run(language, load_recipe(write_recipe(tmp_path, steps)), scale)
        assert run_plan.plan.keys, "read now: what is read may change hereafter"
        return run_plan

    return make


@pytest.fixture
def data(tmp_path, write_data):
    return write_data(tmp_path / "data")


@pytest.fixture(scope="session")
def teacher(tmp_path_factory, write_teacher):
    return write_teacher(tmp_path_factory.mktemp("teachers") / "small")


def of(run_plan, id):  # noqa: A002
    return next(stage for stage in run_plan.plan if stage.id == id)


def changed(one, other):
    """Return the stages whose keys two plans do not share."""
    return {id for id, key in one.plan.keys.items() if other.plan.keys[id] != key}  # noqa: A001


def test_builtin_run_goes_from_corpus_to_report(make_run_plan):
    run_plan = make_run_plan()
    scores = [f"score.{task}.{model}" for task in ("pos", "topic") for model in SCORED]
    exports = [f"export.{task}.{role}" for task in ("pos", "topic") for role in ("teacher", "student")]
    assert [stage.id for stage in run_plan.plan] == [
        "tasks", "corpora", "teacher", "corpus", *STEPS, "random-teacher", "random-student",
        "trimmed-teacher", "static", *scores, "compare", *exports, "latency", "quality.pos", "package.pos",
        "quality.topic", "package.topic", "report",
    ]  # fmt: skip
    assert {stage.kind for stage in run_plan.plan} <= set(RUNNERS)
    assert of(run_plan, "teacher").kind == "pretrain"
    assert run_plan.missing_tasks == {}


def test_bilingual_steps_read_both_languages():
    recipe, scale = load_recipe("bistil2023"), load_scale("mini")
    run_plan = plan_run("mt", recipe, scale)
    assert of(run_plan, "corpus-en").config["source_language"] == "en"
    assert set(of(run_plan, "corpus-en").config["excluded_tasks"]) == {"mt", "en"}
    for id in ("trim", "adapt", "distill"):  # noqa: A001
        assert of(run_plan, id).inputs["corpus"] == "corpus-en"
    assert of(run_plan, "corpus").config["languages"] == ["mt"]
    for language, name in (("en", "bistil2023"), ("mt", "bistil2023@monolingual")):
        plan = plan_run(language, load_recipe(name), scale).plan
        assert "corpus-en" not in {stage.id for stage in plan}


def test_source_language_without_text_is_refused(data):
    scale = load_scale("mini").with_data(str(data))
    with pytest.raises(UsageError, match=r"unknown source_language of bistil2023 'en'; there are: mt"):
        plan_run("mt", load_recipe("bistil2023"), scale)


def test_tasks_are_learned_in_the_task_language(tmp_path, write_data):
    scale = load_scale("mini").with_data(str(write_data(tmp_path / "both", ("mt", "en"))))
    plain, recipe = load_recipe("bistil2023"), load_recipe("bistil2023@transfer")
    one, other = (plan_run("mt", chosen, scale) for chosen in (plain, recipe))
    assert one.tasks == other.tasks == ("pos", "topic")
    assert of(other, "tasks").config == of(one, "tasks").config | {"task_language": "en"}
    assert {"data:topic/mt", "data:topic/en"} <= of(other, "tasks").inputs.keys()
    corpus = of(other, "corpus").config
    assert (corpus["languages"], set(corpus["excluded_tasks"])) == (["mt"], {"mt", "en"})
    assert "data:corpus/en" not in of(other, "corpus").inputs
    assert one.plan.keys["corpus-en"] == other.plan.keys["corpus-en"]
    assert "task_language" not in of(plan_run("en", recipe, scale), "tasks").config
    (tmp_path / "both/topic/en/train.tsv").unlink()
    lacking = plan_run("mt", recipe, scale)
    assert lacking.tasks == ("pos",)
    assert lacking.missing_tasks["topic"] == "topic/en/train.tsv is not there (en)"


def test_task_language_without_text_is_refused(data):
    scale = load_scale("mini").with_data(str(data))
    with pytest.raises(UsageError, match=r"unknown task_language of bistil2023@transfer 'en'; there are: mt"):
        plan_run("mt", load_recipe("bistil2023@transfer"), scale)


def test_models_before_distillation_are_not_scored(make_run_plan):
    scored = make_run_plan().scored
    assert [one.id for one in scored] == SCORED
    assert [one.role for one in scored] == ["teacher", *["student"] * 5, *["baseline"] * 6]
    assert scored[5].name == "trim (final student)"


def test_stages_name_their_inputs(make_run_plan):
    run_plan = make_run_plan()
    assert of(run_plan, "adapt").inputs == {"model": "teacher", "corpus": "corpus"}
    assert of(run_plan, "distill").inputs == {"model": "shorten", "corpus": "corpus", "teacher": "adapt"}
    assert "teacher" not in of(run_plan, "distill").config
    assert of(run_plan, "random-student").inputs == {"model": "trim"}
    assert of(run_plan, "score.pos.prune").inputs == {"model": "prune", "tasks": "tasks"}
    assert of(run_plan, "export.pos.student").inputs == {"model": "score.pos.trim"}
    kept = [stage.id for stage in run_plan.plan if stage.config.get("keep_model")]
    assert kept == [f"score.{task}.{model}" for task in ("pos", "topic") for model in ("teacher", "trim")]


def test_task_distillation_reads_fine_tuned_teacher(make_run_plan):
    short = {"shorten": {"layers": "1/2", "keep": "last"}}
    taught = make_run_plan(
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
    plain = make_run_plan(steps=[short])
    assert of(plain, "score.pos.shorten").config == of(taught, "score.pos.shorten").config | {
        "keep_model": True
    }


def test_labelled_text_comes_from_the_corpus_and_all_seeds(make_run_plan):
    short = {"shorten": {"layers": "1/2", "keep": "last"}}
    tune = {"teacher": "teacher", "loss": {"class_kl": 1}, "temperature": 1, "text": 500, "teachers": "all"}
    taught = make_run_plan(steps=[short, {"tune": tune}])
    stage = of(taught, "score.pos.tune")
    assert stage.inputs["corpus"] == "corpus"
    assert stage.config["lesson"]["text"] == 500
    protocol = stage.config["protocol"]
    rates = protocol.get("learning_rates") or [protocol["learning_rate"]]
    assert stage.config["text"] == {"learning_rate": rates[0], "epochs": 2}
    assert of(taught, "score.pos.teacher").config["keep_all_seeds"] is True
    assert "keep_all_seeds" not in stage.config


def test_trim_counts_further_languages_by_themselves(make_run_plan):
    trim = {"trim": {"coverage": 0.9, "languages": ["sw", "mt", "sl"]}}
    steps = [{"adapt": {}}, {"shorten": {"layers": "1/2", "keep": "last"}}, trim]
    one, plain = make_run_plan(steps=steps), make_run_plan()
    assert of(one, "trim").inputs == {"model": "shorten", "corpus": "corpus", "corpora": "corpora-sw-sl"}
    assert of(one, "trimmed-teacher").inputs["corpora"] == "corpora-sw-sl"
    assert of(one, "trim").config["languages"] == ["sw", "sl"], "without the run's own"
    further = of(one, "corpora-sw-sl").config
    assert further["languages"] == ["sw", "sl"]
    assert set(further["excluded_tasks"]) == {"mt", "sw", "sl"}, "no text of the run's test parts either"
    assert one.plan.keys["corpus"] == plain.plan.keys["corpus"]
    own = make_run_plan(steps=[*steps[:2], {"trim": {"coverage": 0.9, "languages": ["mt"]}}])
    assert of(own, "trim").inputs == {"model": "shorten", "corpus": "corpus"}
    assert "languages" not in of(own, "trim").config
    with pytest.raises(
        UsageError, match=r"^unknown built-in language 'xx'.*; languages of the step trim names"
    ):
        make_run_plan(steps=[{"trim": {"tokens": 40, "languages": ["xx"]}}])


def test_unscored_model_may_teach_a_task(make_run_plan):
    learnt = {"loss": {"mlm": 1, "logit_mse": 1}}
    steps = [
        {"trim": {"tokens": "1/2"}},
        {"distill": {"teacher": "trim", **learnt}},
        {"tune": {"teacher": "trim", "loss": {"class_mse": 1}, "method": "sft", "density": 0.5}},
    ]
    taught = make_run_plan(steps=steps)
    assert "trim" not in {one.id for one in taught.scored}
    assert of(taught, "score.pos.tune").inputs["teacher"] == "score.pos.trim"
    assert of(taught, "score.pos.trim").config["keep_model"]
    assert "score.pos.trim" not in of(taught, "compare").inputs
    protocols = [of(taught, f"score.pos.{model}").config["protocol"] for model in ("tune", "trim")]
    assert protocols[0] == protocols[1] | {"method": "sft", "density": 0.5}


def test_tune_needs_full_fine_tuning(make_run_plan):
    steps = [{"trim": {"tokens": "1/2"}}, {"tune": {"teacher": "trim", "loss": {"class_mse": 1}}}]
    with pytest.raises(HarnessError, match=r"score: pos: expected method full .* a tune step; got lora"):
        make_run_plan(steps=steps, changes={"score.method": "lora"})


def test_data_folder_run_has_tasks_of_folder(make_run_plan, data, teacher):
    changes = {"tasks.names": ["pos", "ner", "topic", "sentiment"]}
    run_plan = make_run_plan(data=data, teacher=teacher, changes=changes)
    assert run_plan.tasks == ("pos", "topic")
    assert run_plan.missing_tasks == {
        "ner": "ner/mt/train.conll is not there",
        "sentiment": "sentiment/mt/train.tsv is not there",
    }
    assert of(run_plan, "tasks").inputs == {
        "data:pos/mt": data / "pos/mt",
        "data:topic/mt": data / "topic/mt",
    }
    kept_out = [f"{task}.{ending}" for task in ("dev", "test") for ending in ("conllu", "tsv")]
    parts = [f"{'pos' if 'conllu' in part else 'topic'}/mt/{part}" for part in kept_out]
    assert of(run_plan, "corpus").inputs == {f"data:{name}": data / name for name in ("corpus/mt", *parts)}


@pytest.fixture
def pairs(data):
    """Adds a task of two texts to the data folder, and a leftover without a training part."""
    for name in ("nli/mt/train.tsv", "nli/mt/dev.tsv", "nli/mt/test.tsv", "hate/mt/test.tsv"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text("premise\thypothesis\tlabel\nkadin\tmifa\tyes\n", encoding="utf-8")
    return data / "nli/mt"


def test_every_task_of_folder_is_scored_and_excluded(make_run_plan, data, teacher, pairs):
    run_plan = make_run_plan(data=data, teacher=teacher, changes={"tasks.names": ["topic", "ner"]})
    assert run_plan.tasks == ("topic", "pos", "nli")
    assert set(run_plan.missing_tasks) == {"ner"}
    assert of(run_plan, "corpus").config["excluded_tasks"] == {"mt": ["pos", "topic", "nli"]}
    assert of(run_plan, "tasks").inputs["data:nli/mt"] == pairs
    assert of(run_plan, "corpus").inputs["data:nli/mt/test.tsv"] == pairs / "test.tsv"
    assert of(run_plan, "export.nli.student").inputs == {"model": "score.nli.trim"}


def test_unscored_tasks_of_folder_are_excluded_too(make_run_plan, data, teacher, pairs):
    place = {"source": "folder", "folder": str(data)}
    changes = {"tasks": {**place, "names": ["topic"]}, "corpus": {**place, "held_out_fraction": 0.1}}
    run_plan = make_run_plan(teacher=teacher, changes=changes)
    assert run_plan.tasks == ("topic",)
    assert of(run_plan, "corpus").config["excluded_tasks"] == {"mt": ["pos", "topic", "nli"]}
    assert of(run_plan, "corpus").inputs["data:nli/mt/dev.tsv"] == pairs / "dev.tsv"


def test_task_without_training_part_is_missing(make_run_plan, data, teacher):
    (data / "topic/mt/train.tsv").unlink()
    assert make_run_plan(data=data, teacher=teacher).tasks == ("pos",)


def test_folder_without_tasks_has_no_scores(make_run_plan, data, teacher):
    for task in ("pos", "topic"):
        for path in (data / task / "mt").iterdir():
            path.unlink()
    run_plan = make_run_plan(data=data, teacher=teacher)
    assert run_plan.tasks == ()
    assert [stage.kind for stage in run_plan.plan][-5:] == [
        "quality",
        "package",
        "quality",
        "package",
        "report",
    ]


def test_final_scores_the_teacher_trimmed_teacher_student_and_baselines(make_run_plan, data, teacher):
    every = make_run_plan(data=data, teacher=teacher)
    final = make_run_plan(changes={"score.models": "final"}, data=data, teacher=teacher)
    described = of(final, "report").config
    assert [model["id"] for model in described["scored"]] == SCORED
    assert described["unscored"] == ["adapt", "distill", "prune", "narrow"]
    assert [model.id for model in final.scored] == [one for one in SCORED if one not in described["unscored"]]
    scored = {stage.id for stage in final.plan if stage.id.startswith("score.pos.")}
    assert scored == {f"score.pos.{model.id}" for model in final.scored}
    assert all(every.plan.keys[name] == final.plan.keys[name] for name in scored)


def test_trimmed_teacher_of_a_recipe_that_trims_first_is_scored_once(make_run_plan, data, teacher):
    steps = [{"trim": {"tokens": 40}}, {"adapt": {}}, {"shorten": {"layers": "1/2", "keep": "spread"}}]
    run_plan = make_run_plan(changes={"score.models": "final"}, data=data, teacher=teacher, steps=steps)
    scored = [model.id for model in run_plan.scored]
    assert scored == ["teacher", "trim", "shorten", "random-teacher", "random-student", *SCORED[-3:]]
    assert run_plan.scored[1].name == "teacher, trimmed only"
    assert of(run_plan, "report").config["unscored"] == ["adapt"]


def test_corpus_reads_the_tasks_where_the_scale_says_so(make_run_plan, data, teacher):
    plain, stated, added = (
        make_run_plan(data=data, teacher=teacher, changes=changes)
        for changes in ({}, {"corpus.task_text": False}, {"corpus.task_text": True})
    )
    assert stated.plan.keys["corpus"] == plain.plan.keys["corpus"] != added.plan.keys["corpus"]
    assert of(added, "corpus").inputs == {**of(plain, "corpus").inputs, "tasks": "tasks"}


def test_none_scores_nothing_and_keeps_the_text_of_tasks_out_of_the_corpus(make_run_plan, data, teacher):
    every = make_run_plan(data=data, teacher=teacher)
    none = make_run_plan(changes={"score.models": "none"}, data=data, teacher=teacher)
    assert none.tasks == ()
    assert not [
        stage for stage in none.plan if stage.id.startswith(("score.", "latency", "random", "static"))
    ]
    assert none.plan.keys["corpus"] == every.plan.keys["corpus"]
    assert none.plan.keys["trim"] == every.plan.keys["trim"]


def test_chosen_tasks_are_scored_and_no_others(data, teacher, tmp_path, write_scale, write_recipe):
    recipe = load_recipe(write_recipe(tmp_path, None))
    scale = load_scale(write_scale(tmp_path, None)).with_data(str(data)).with_teacher(str(teacher))
    every, chosen = (plan_run("mt", recipe, one) for one in (scale, scale.with_tasks(["topic"])))
    assert (every.tasks, chosen.tasks) == (("pos", "topic"), ("topic",))
    assert chosen.plan.keys["corpus"] == every.plan.keys["corpus"]
    with pytest.raises(UsageError, match="unknown task 'parsing'"):
        scale.with_tasks(["parsing"])
    with pytest.raises(
        UsageError, match="unknown choice of models to score 'some'; there are: all, final, none"
    ):
        scale.with_scored_models("some")


def test_text_and_tasks_may_have_two_folders(make_run_plan, data, tmp_path, write_data):
    other = write_data(tmp_path / "other")
    changes = {"corpus": {"source": "folder", "folder": str(data), "held_out_fraction": 0.1}}
    for source, place in (("folder", {"tasks.folder": str(other)}), ("builtin", {})):
        run_plan = make_run_plan(
            changes=changes | {"tasks.source": source} | place | {"teacher.pretrain.languages": ["mt"]}
        )
        inputs = of(run_plan, "corpus").inputs
        assert inputs["data:corpus/mt"] == data / "corpus/mt"
        scored = "pos/mt/test.conllu"
        assert inputs.get(f"data:{scored}") == (other / scored if source == "folder" else None)
        assert of(run_plan, "tasks").config["source"] == source


def test_hub_teacher_is_pinned():
    run_plan = plan_run("mt", load_recipe("gurgurov2025"), load_scale("paper"))
    teacher = of(run_plan, "teacher")
    assert teacher.kind == "fetch"
    assert teacher.inputs == {}
    assert teacher.config["hub_id"] == "google-bert/bert-base-multilingual-cased"
    assert len(teacher.config["revision"]) == 40
    assert teacher.config["shape"]["vocabulary"] == 119_547
    assert run_plan.tasks == ("pos", "ner", "topic", "sentiment")
    assert [stage.id for stage in run_plan.plan][:3] == ["tasks", "teacher", "corpus"]


def test_missing_hub_tasks_have_a_reason():
    run_plan = plan_run("tl", load_recipe("gurgurov2025"), load_scale("paper"))
    assert run_plan.tasks == ("pos", "ner", "topic")
    assert run_plan.missing_tasks == {"sentiment": "no source on the hub is known for it in 'tl'"}


def test_every_byte_of_teacher_folder_changes_keys(make_run_plan, teacher, tmp_path):
    run_plan = make_run_plan(teacher=teacher)
    assert of(run_plan, "teacher").inputs == {"folder": teacher}
    assert of(run_plan, "report").config["teacher"] == "small"
    assert of(run_plan, "teacher").config["shape"]["hidden"] == 16
    assert run_plan.plan.external.keys() == {teacher}
    other = tmp_path / "small"
    other.mkdir()
    for path in teacher.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    assert not changed(run_plan, make_run_plan(teacher=other))
    (other / "model.safetensors").write_bytes(b"other weights")
    assert "teacher" in changed(run_plan, make_run_plan(teacher=other))


def test_unread_files_change_no_key(make_run_plan, data, teacher, tmp_path):
    """A teacher's new name is shown, by the report alone."""
    renamed = shutil.copytree(teacher, tmp_path / "renamed")
    one = make_run_plan(data=data, teacher=teacher)
    for name in (".DS_Store", "README.md"):
        (renamed / name).write_text("aside", encoding="utf-8")
        (data / "corpus/mt" / name).write_text("aside", encoding="utf-8")
    other = make_run_plan(data=data, teacher=renamed)
    assert changed(one, other) == {"report"}
    assert of(other, "report").config["teacher"] == "renamed"


def test_path_of_data_folder_changes_no_key(make_run_plan, data, teacher, monkeypatch):
    changes = {"tasks.names": ["pos", "ner"]}
    one = make_run_plan(data=data, teacher=teacher, changes=changes)
    monkeypatch.chdir(data.parent)
    assert not changed(one, make_run_plan(data=data.name, teacher=teacher, changes=changes))


def test_strict_data_changes_the_key_of_tasks_and_not_of_text(make_run_plan, data, teacher):
    plain, strict = (
        make_run_plan(changes={"tasks.strict": value}, data=data, teacher=teacher) for value in (False, True)
    )
    assert "strict" not in of(plain, "tasks").config
    assert of(strict, "tasks").config["strict"] is True
    assert {"tasks", "score.topic.teacher"} <= changed(plain, strict)
    assert not {"teacher", "corpus", *STEPS} & changed(plain, strict)


def test_tasks_are_read_before_anything_is_trained(make_run_plan):
    assert next(iter(make_run_plan().plan)).id == "tasks"


def test_written_text_of_hub_treebanks_is_part_of_the_key():
    def find_configs(names):
        scale = load_scale("paper")
        scale = scale.model_copy(update={"tasks": scale.tasks.model_copy(update={"names": names})})
        run_plan = plan_run("mt", load_recipe("gurgurov2025"), scale)
        return [of(run_plan, name).config for name in ("tasks", "corpus")]

    assert all(config["written_text"] for config in find_configs(("pos", "topic")))
    assert not any("written_text" in config for config in find_configs(("topic",)))


def test_two_languages_share_the_teacher_alone(make_run_plan):
    one, other = make_run_plan("mt"), make_run_plan("sk")
    assert set(one.plan.keys) - changed(one, other) == {"corpora", "teacher", "random-teacher"}


SHORTEN = {"shorten": {"layers": "1/2", "keep": "spread"}}


@pytest.mark.parametrize(
    ("steps", "baselines", "source"),
    [
        ([{"trim": {"tokens": 40}}, SHORTEN], ["static"], "trim"),
        ([{"adapt": {}}, SHORTEN, {"trim": {"tokens": 40}}], ["trimmed", "static"], "trimmed-teacher"),
        ([{"adapt": {}}, SHORTEN, {"trim": {"tokens": 40}}], ["static"], "teacher"),
        ([SHORTEN], ["trimmed", "static"], "teacher"),
    ],
)
def test_static_embeddings_come_from_the_trimmed_teacher_where_there_is_one(
    make_run_plan, steps, baselines, source
):
    run_plan = make_run_plan(steps=steps, changes={"score.baselines": baselines})
    assert of(run_plan, "static").inputs == {"model": source}


def downstream(plan, ids):
    """Return some stages and all stages that read them, directly or not."""
    reached = set(ids)
    for stage in plan:
        if reached & {source for source in stage.inputs.values() if isinstance(source, str)}:
            reached.add(stage.id)
    return reached


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
def test_changed_setting_changes_keys_downstream(place, value, first, make_run_plan):
    one, other = make_run_plan(), make_run_plan(changes={place: value})
    assert changed(one, other) == downstream(one.plan, first)
    assert "report" in changed(one, other)


def test_activation_checkpointing_changes_no_key(make_run_plan):
    one, other = make_run_plan(), make_run_plan(changes={"activation_checkpointing": True})
    assert not changed(one, other)
    saving = {stage.id for stage in other.plan if stage.settings.get("activation_checkpointing")}
    assert saving == {"teacher", "adapt", "distill", "prune"}
    assert not any(stage.means for stage in one.plan)
    smaller = make_run_plan(changes={"device_tokens": 48})
    assert of(smaller, "teacher").config["device_tokens"] == 48
    assert changed(one, smaller) == downstream(one.plan, {"teacher"})


def test_changed_text_changes_no_task_key(make_run_plan, data, teacher):
    one = make_run_plan(data=data, teacher=teacher)
    with (data / "corpus/mt/text.txt").open("a", encoding="utf-8") as file:
        file.write("\nkadin mifa\n")
    other = make_run_plan(data=data, teacher=teacher)
    assert changed(one, other) == downstream(one.plan, {"corpus"})
    assert not {"teacher", "tasks", "score.pos.majority", "score.pos.teacher", "random-teacher"} & changed(
        one, other
    )


def test_changed_test_part_changes_scores_and_corpus(make_run_plan, data, teacher):
    one = make_run_plan(data=data, teacher=teacher)
    path = data / "topic/mt/test.tsv"
    path.write_text(path.read_text(encoding="utf-8") + "kadin mifa\todd\n", encoding="utf-8")
    assert changed(one, make_run_plan(data=data, teacher=teacher)) == downstream(
        one.plan, {"corpus", "tasks"}
    )


@pytest.mark.parametrize("language", ["mt", "sk"])
def test_training_part_of_task_changes_no_corpus(language, make_run_plan, write_data, tmp_path):
    data = write_data(tmp_path / "data", ("mt", "sk"))
    one = make_run_plan(data=data)
    with (data / "topic" / language / "train.tsv").open("a", encoding="utf-8") as file:
        file.write("kadin mifa\todd\n")
    first = {"tasks"} if language == "mt" else set()
    assert changed(one, make_run_plan(data=data)) == downstream(one.plan, first)


def test_folder_of_other_language_changes_no_key(make_run_plan, data, teacher, write_data):
    one = make_run_plan(data=data, teacher=teacher)
    write_data(data, ("sw",))
    assert not changed(one, make_run_plan(data=data, teacher=teacher))


def test_teacher_of_all_languages_reads_those_of_source(make_run_plan, data, write_data):
    write_data(data, ("sw", "ga"))
    changes = {"teacher.pretrain.languages": "all"}
    assert of(make_run_plan(data=data, changes=changes), "teacher").config["languages"] == ["ga", "mt", "sw"]
    built_in = of(make_run_plan(changes=changes), "teacher").config["languages"]
    assert {"mt", "sk", "sw", "tl", "sl", "fr", "nl", "he", "hi", "en"} == set(built_in)


def test_folder_may_have_a_language_of_its_own(make_run_plan, write_data, tmp_path, teacher):
    assert make_run_plan("ga", data=write_data(tmp_path / "own", ("ga",)), teacher=teacher).tasks == (
        "pos",
        "topic",
    )


HUB_TEXT = {"corpus": {"source": "hub", "held_out_fraction": 0.1}}


@pytest.mark.parametrize(
    ("language", "changes", "message"),
    [
        (
            "zz",
            {},
            r"unknown built-in language 'zz'; there are: en, .*, sl, sw, tl; use --data DIR",
        ),
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
def test_wrong_settings_are_refused_before_the_run(language, changes, message, make_run_plan):
    with pytest.raises(HarnessError, match=message) as raised:
        make_run_plan(language, changes=changes)
    assert "\n" not in str(raised.value)


def test_unknown_language_lists_those_of_folder(make_run_plan, data, write_data):
    write_data(data, ("sw",))
    with pytest.raises(HarnessError, match=rf"unknown language of {data} 'mm'; there are: mt, sw"):
        make_run_plan("mm", data=data)
    with pytest.raises(
        HarnessError,
        match=rf"unknown language of {data} 'sk'; .* mt, sw; teacher.pretrain.lang",
    ):
        make_run_plan("mt", data=data)


def test_pretraining_needs_a_scale_with_pretrain():
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


def test_planning_imports_no_torch():
    done = subprocess.run(
        [sys.executable, "-c", PLANNING], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    loaded, process_s = json.loads(done.stdout)
    assert loaded == []
    assert process_s < 3


def test_plans_that_share_inputs_have_the_keys_of_plans_alone():
    shared, scales = SharedInputs(), [load_scale("mini"), load_scale("small")]
    for recipe, scale in product(("gurgurov2025", "cruz2025"), scales):
        plans = [plan_run("mt", load_recipe(recipe), scale, one).plan for one in (shared, None)]
        assert plans[0].keys == plans[1].keys
    assert len(shared.teachers) == sum(scale.teacher.pretrain is not None for scale in scales)
