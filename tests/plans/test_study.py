"""Studies: what takes part in them, and what is refused before anything runs."""

from __future__ import annotations

import pytest
import yaml

from harness.config import load_scale
from harness.config.study import build_entries, build_study, list_studies, load_entries, load_study
from harness.errors import UsageError
from harness.pipeline.plan import Plan
from harness.plans.data_stages import name_mixed_corpus
from harness.plans.stage import make_stage
from harness.plans.study import RefusedError, StudyInfo, plan_study

INFO = StudyInfo("it", "here", "Why?")


def plan_variants(name, *varied, scale="mini"):
    return plan_study(INFO, "mt", build_entries(build_study(name, varied)), load_scale(scale))


def keys(study_plan, entry):
    """The keys of an entry's own steps, by step."""
    return {
        name.partition(".")[2]: key
        for name, key in study_plan.plan.keys.items()
        if name.startswith(f"{entry}.")
    }


@pytest.mark.parametrize("name", list_studies())
def test_every_shipped_study_can_be_planned(name):
    entries = build_entries(load_study(name))
    assert entries.refusals == ()
    study_plan = plan_study(INFO, "sl", entries, load_scale("mini"))
    assert len(study_plan.entries) >= 2
    assert len({one.id for one in study_plan.entries}) == len(study_plan.entries)
    assert load_study(name).reference_id in {one.id for one in study_plan.entries}


def test_studies_of_the_papers_ship():
    named = {name.partition("-")[0] for name in list_studies()}
    assert named == {
        "eliquare2023",
        "cruz2025",
        "gurgurov2025",
        "privileged2024",
        "conditioning",
        "vocabulary",
    }


def test_variants_share_equal_steps():
    study_plan = plan_variants("eliquare2023", "distill.temperature=0.5,1,2")
    assert [one.name for one in study_plan.entries] == [
        "distill.temperature = 2 = as written",
        "distill.temperature = 0.5",
        "distill.temperature = 1",
    ]
    one, other = (keys(study_plan, entry.id) for entry in study_plan.entries[:2])
    assert one["shorten"] == other["shorten"]
    assert one["distill"] != other["distill"]
    assert one["trim"] != other["trim"], "it trims another model"


@pytest.mark.parametrize(("recipe", "source"), [("compact2026", "compact2026.trim"), ("cruz2025", "teacher")])
def test_static_embeddings_come_from_an_entry_that_trims_first(recipe, source):
    scale = load_scale("mini")
    scale = scale.model_copy(update={"score": scale.score.model_copy(update={"baselines": ("static",)})})
    study_plan = plan_study(INFO, "mt", load_entries([recipe, "distilbert2019"]), scale)
    static = next(stage for stage in study_plan.plan if stage.id == "static")
    assert static.inputs == {"model": source}


def test_source_language_makes_entries_different():
    entries = load_entries(["bistil2023@general", "bistil2023@monolingual", "bistil2023"])
    study_plan = plan_study(INFO, "mt", entries, load_scale("mini"))
    assert len(study_plan.entries) == 3
    assert sum(stage.id == "corpus-en" for stage in study_plan.plan) == 1
    general, monolingual, whole = (keys(study_plan, entry.id) for entry in study_plan.entries)
    assert general["distill"] == whole["distill"]
    assert not set(general.values()) & set(monolingual.values())


def test_recipes_that_learn_tasks_in_two_languages_are_not_compared():
    entries = load_entries(["bistil2023", "bistil2023@transfer"])
    with pytest.raises(
        UsageError, match=r"expected recipes that learn the tasks in one language; got .* None, en"
    ):
        plan_study(INFO, "mt", entries, load_scale("mini"))


def write_yaml(folder, name, **document):
    """Write a study or a recipe; return its path."""
    path = folder / f"{name}.yaml"
    path.write_text(
        yaml.safe_dump({"source": "here", **document}, allow_unicode=True, sort_keys=False), encoding="utf-8"
    )
    return str(path)


def write_study(folder, **document):
    return write_yaml(folder, "mine", question="Why?", paper="So.", recipe="eliquare2023", **document)


def test_variants_in_other_letters_have_different_ids(tmp_path):
    variants = {
        "последние": {"shorten.keep": "last"},
        "первые": {"shorten.keep": "first"},
        "a-b": {},
        "a_b": {},
    }
    study = load_study(write_study(tmp_path, variants=variants, reference="a_b"))
    entries = build_entries(study)
    ids = [one.id for one in entries.entries]
    assert len(set(ids)) == 4
    assert study.reference_id == ids[3]
    study_plan = plan_study(INFO, "mt", entries, load_scale("mini"))
    keep = {
        stage.id.partition(".")[0]: stage.config["layers"]
        for stage in study_plan.plan
        if stage.kind == "shorten"
    }
    assert keep[ids[0]] != keep[ids[1]]


def test_recipes_in_other_letters_have_different_ids(tmp_path):
    steps = {
        "мой": [{"shorten": {"layers": "1/2", "keep": "last"}}],
        "твой": [{"shorten": {"layers": "1/2", "keep": "first"}}],
    }
    paths = [write_yaml(tmp_path, name, teacher="mbert", steps=made) for name, made in steps.items()]
    study_plan = plan_study(INFO, "mt", load_entries(paths), load_scale("mini"))
    assert [one.name for one in study_plan.entries] == ["мой", "твой"]
    assert len({key for name, key in study_plan.plan.keys.items() if name.endswith(".shorten")}) == 2


def test_reference_equal_to_a_variant_takes_its_id(tmp_path):
    variants = {
        "a": {"shorten.keep": "first"},
        "b": {"shorten.keep": [0, 1, 2, 3, 4, 5]},
        "c": {"shorten.keep": "last"},
    }
    study = load_study(write_study(tmp_path, variants=variants, reference="b"))
    info = StudyInfo("it", "here", "Why?", "So.", study.reference_id)
    plan = {
        stage.id: stage for stage in plan_study(info, "mt", build_entries(study), load_scale("mini")).plan
    }
    assert ["c", "a"] in [list(pair) for pair in plan["compare"].config["pairs"]]
    assert plan["leaderboard"].config["study"]["reference"] == "a"
    assert not any("b" in pair for pair in plan["compare"].config["pairs"])


@pytest.mark.parametrize(("code", "stage"), [("sr-Latn", "corpus-sr_latn"), ("zh_Hant", "corpus-zh_hant")])
def test_source_language_may_have_capitals(code, stage):
    assert name_mixed_corpus(code) == stage
    Plan([make_stage(stage, "corpus", {}, {})])


def test_workload_counts_shared_stages_once():
    scale = load_scale("mini")
    study_plan = plan_variants("eliquare2023", "distill.temperature=0.5,1,2")
    teacher = scale.teacher.pretrain
    distilled = scale.training["distill"].tokens
    assert study_plan.workload.tokens == teacher.tokens + teacher.shallow.tokens + 3 * distilled
    models, tasks, seeds = 1 + 3 + 1, 4, 2
    assert study_plan.workload.num_finetunings == models * tasks * seeds, (
        "the teacher, three students, random weights"
    )
    assert study_plan.workload.num_stages - study_plan.workload.num_distinct == 2, "two more that shorten"
    assert study_plan.workload.num_epoch_steps == 0
    assert (
        plan_variants("eliquare2023", "shorten.keep=first,last", scale="paper").workload.num_epoch_steps == 3
    )


def test_varied_fields_are_combined():
    study_plan = plan_variants(
        "eliquare2023", "distill.temperature=1,3", "shorten.keep=first,[0, 1, 2, 3, 4, 5]"
    )
    assert len(study_plan.entries) == 3, "as written, and two: the first six are the list"


def list_rates(study_plan):
    """Return the learning rate of each distillation, by entry and step."""
    plan = {stage.id: stage for stage in study_plan.plan}
    return {
        entry.name: {
            step: plan[f"{entry.id}.{step}"].config["learning_rate"]
            for step in ("distill", "distill-2")
            if f"{entry.id}.{step}" in plan
        }
        for entry in study_plan.entries
    }


def test_varied_value_replaces_the_scales_in_its_step():
    assert list_rates(plan_variants("gurgurov2025", "distill.learning_rate=1e-4,1e-2")) == {
        "as written": {"distill": 2e-3, "distill-2": 2e-3},
        "distill.learning_rate = 1e-4": {"distill": 1e-4, "distill-2": 2e-3},
        "distill.learning_rate = 1e-2": {"distill": 1e-2, "distill-2": 2e-3},
    }


def test_varied_value_replaces_the_scales_for_blank():
    assert list_rates(plan_variants("cruz2025", "distill.learning_rate=1e-4")) == {
        "as written": {"distill": 1e-3},
        "distill.learning_rate = 1e-4": {"distill": 1e-4},
    }


def test_varied_value_stays_in_its_step():
    scale = load_scale("paper")
    assert scale.training == {}
    rates = list_rates(plan_variants("gurgurov2025", "distill.learning_rate=3e-5", scale="paper"))
    written = rates["as written"]
    assert 3e-5 not in written.values()
    assert rates["distill.learning_rate = 3e-5"] == written | {"distill": 3e-5}


@pytest.mark.parametrize(
    ("varied", "lines"),
    [
        (
            ["distill.temprature=1,2"],
            [
                "distill.temprature = 1: steps[1].distill: unknown key 'temprature'",
                "distill.temprature = 2: ",
            ],
        ),
        (["distil.temperature=1"], ["distil.temperature = 1: unknown step 'distil'; there are: shorten, "]),
        (
            ["distill.epochs=1"],
            [
                "distill.epochs = 1: eliquare2023: steps[1].distill: the scale 'mini' states the tokens of "
                "distill, which replace its epochs; vary distill.tokens"
            ],
        ),
        (
            ["shorten.layers=7/12,13/12"],
            ["shorten.layers = 13/12: steps[0].shorten.layers: expected a ratio of at most 1"],
        ),
        (
            ["distill.loss={feature_mse: 1},{mlm: 1}"],
            [
                "distill.loss = 1·feature_mse: steps[1].distill: temperature is used by ",
                "distill.loss = 1·mlm: steps[1].distill: temperature is used by ",
            ],
        ),
    ],
)
def test_all_refusals_are_listed_at_once(varied, lines):
    with pytest.raises(RefusedError) as refused:
        plan_variants("eliquare2023", *varied)
    assert len(refused.value.lines) == len(lines)
    for said, line in zip(refused.value.lines, lines, strict=True):
        assert said.startswith(line)
    assert str(refused.value).startswith(f"{len(lines)} of ")


def test_losses_without_layers_are_refused_before_training(tmp_path):
    shallow = {
        "steps": [{"blank": {"layers": "1/12", "width": "1/1", "ffn": "1/1"}}, "distill"],
        "distill.loss": {"patient": 1},
        "distill.layers": "last",
        "distill.temperature": None,
    }
    path = tmp_path / "mine.yaml"
    document = {"source": "here", "question": "Why?", "paper": "So.", "recipe": "eliquare2023"}
    path.write_text(yaml.safe_dump(document | {"variants": {"shallow": shallow}}))
    with pytest.raises(RefusedError) as refused:
        plan_study(INFO, "mt", build_entries(load_study(str(path))), load_scale("mini"))
    assert refused.value.lines == (
        "shallow: eliquare2023: steps[1].distill: teacher 'teacher': patient expected a student of 2 layers "
        "or more, since it compares the layers below the last; got 1; keep more layers",
    )


@pytest.mark.parametrize(
    ("varied", "message"),
    [
        ("temperature", r"--vary: expected step\.field=a,b,c, .*; got 'temperature'"),
        ("distill.temperature=", r"--vary: expected step\.field=a,b,c"),
        ("distill.temperature=1,1", r"--vary distill\.temperature: a value is given twice in '1,1'"),
        ("distill.temperature={1", r"--vary distill\.temperature: expected values as a, b"),
    ],
)
def test_wrong_vary_option_is_refused(varied, message):
    with pytest.raises(UsageError, match=message):
        build_study("eliquare2023", [varied])


def test_field_is_varied_once():
    with pytest.raises(UsageError, match=r"distill\.temperature is given twice; name all its values at once"):
        build_study("eliquare2023", ["distill.temperature=1", "distill.temperature=2"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vary: {a.b: [1]}\nvariants: {x: {a.b: 1}}", "expected vary or variants, one of the two"),
        ("", "expected vary or variants, one of the two"),
        ("vary: {a.b: []}", r"vary\.a\.b: expected values"),
        ("variants: {x: {a.b: 1}}\nreference: y", "unknown variant 'y'; there are: x"),
        ("vary: {a.b: [1]}\nrecip: z", "unknown key 'recip'"),
    ],
)
def test_wrong_study_is_refused(text, message, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(f"source: here\nquestion: Why?\npaper: So.\nrecipe: eliquare2023\n{text}\n")
    with pytest.raises(UsageError, match=message):
        load_study(str(path))


def test_load_entries_reads_each_recipe_once():
    assert len(load_entries([]).entries) >= 10
    entries = load_entries(["eliquare2023@pre", "nope", "cruz2025", "cruz2025"])
    assert [one.id for one in entries.entries] == ["eliquare2023_pre", "cruz2025"]
    assert [line.split(";")[0] for line in entries.refusals] == [
        "unknown recipe 'nope'",
        "cruz2025: is given twice",
    ]
