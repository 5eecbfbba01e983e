from __future__ import annotations

import json
import shutil
from dataclasses import replace
from fractions import Fraction

import pytest

from harness.errors import HarnessError
from harness.pipeline import Plan, Stage, status, verify
from harness.pipeline.manifest import Manifest

ALL = ["pretrain", "adapt", "join"]


def test_second_run_skips_every_stage(runs):
    diary, made = runs.run()
    assert diary.list_stages("finished") == list(made) == ALL
    before = runs.contents()
    again, same = runs.run()
    assert again.list_stages("skipped") == ALL
    assert again.list_stages("started", "resumed") == []
    assert (runs.contents(), same) == (before, made)


def test_manifest_records_inputs_outputs_and_machine(runs):
    _, made = runs.run()
    plan = runs.plan()
    adapt, join = made["adapt"].manifest, made["join"].manifest
    assert (adapt.stage, adapt.kind, adapt.version, adapt.key) == ("adapt", "count", 1, plan.keys["adapt"])
    assert (adapt.seed, adapt.config["steps"], adapt.facts.keys()) == (7, 5, {"total"})
    assert (adapt.versions, adapt.threads, adapt.ops, adapt.commit) == ({"python": "3"}, 1, "reference", None)
    assert set(adapt.outputs) == {"deep/total.txt", "empty"}
    assert adapt.outputs["empty"].bytes == 0
    assert join.inputs["student"].key == plan.keys["adapt"]
    assert join.inputs["student"].digest == adapt.outputs_digest
    assert join.seed is None
    assert adapt.wall_s >= 0
    assert json.loads((made["adapt"].folder / "manifest.json").read_text())["schema_version"] == 1


def test_stage_folder_has_number_id_and_key_but_no_checkpoints(runs):
    _, made = runs.run()
    folder = made["join"].folder
    assert folder == runs.root / "mt/paper-mini" / f"03-join-{runs.plan().keys['join']}"
    assert not list(runs.root.rglob("checkpoints"))
    assert not list(runs.root.rglob(".partial*"))


def test_runs_share_equal_stages(runs):
    runs.run()
    diary, made = runs.run(runs.plan(seed=8), "sk/paper-mini")
    assert diary.list_stages("skipped") == ["pretrain"]
    assert diary.list_stages("finished") == ["adapt", "join"]
    assert made["pretrain"].folder.parts[-3] == "mt"
    assert made["join"].folder.parts[-3] == "sk"


def test_runner_receives_folder_config_and_inputs(runs):
    seen = []

    def look(context):
        seen.append(context)
        assert list(context.out.iterdir()) == []
        (context.out / "x").write_text("x")

    _, made = runs.run(join=look)
    (context,) = seen
    assert context.inputs == {"teacher": made["pretrain"].folder, "student": made["adapt"].folder}
    assert (context.config, context.resuming) == ({}, False)


def test_typed_step_reaches_runner_but_no_key(runs):
    steps = []

    def note(context):
        (context.out / "x").write_text("x")
        steps.append(context.get_step(Fraction))
        with pytest.raises(TypeError, match="expected the step as str; got Fraction"):
            context.get_step(str)

    stage = Stage("note", "note", 1, {"half": "1/2"}, {}, step=Fraction(1, 2))
    runs.run(Plan([stage]), note=note)
    assert steps == [Fraction(1, 2)]
    assert runs.run(Plan([replace(stage, step=None)]), note=note)[0].list_stages("skipped") == ["note"]


def test_means_reach_runner_and_manifest_but_no_key(runs):
    def note(context):
        (context.out / "x").write_text(context.config["text"])

    stage = Stage("note", "note", 1, {"text": "a"}, {}, means={"sparing": True})
    _, made = runs.run(Plan([stage]), note=note)
    assert made["note"].manifest.config == {"text": "a", "sparing": True}
    assert runs.run(Plan([replace(stage, means={})]), note=note)[0].list_stages("skipped") == ["note"]


def test_progress_reaches_the_observer(runs):
    diary, _ = runs.run()
    progress = [line[2:] for line in diary.lines if line[:2] == ("progress", "adapt")]
    assert progress == [(done, 5, "steps") for done in range(1, 6)]


def test_changed_input_makes_a_stage_run_again(runs):
    _, made = runs.run()
    shutil.rmtree(made["adapt"].folder)

    def differently(context):
        runs.RUNNERS["count"](context)
        (context.out / "deep" / "total.txt").write_text("other\n")

    diary, made = runs.run(count=differently)
    assert (diary.list_stages("skipped"), diary.list_stages("finished")) == (["pretrain"], ["adapt", "join"])
    assert (made["join"].folder / "joined.txt").read_text().endswith("other\n")
    assert verify(runs.root) == []


def test_rebuilt_equal_input_changes_nothing(runs):
    _, made = runs.run()
    shutil.rmtree(made["adapt"].folder)
    diary, _ = runs.run()
    assert (diary.list_stages("skipped"), diary.list_stages("finished")) == (["pretrain", "join"], ["adapt"])


def test_file_from_outside_is_an_input_by_content(runs, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("one")

    def copy(context):
        (context.out / "copy.txt").write_text(context.inputs["text"].read_text())

    plan = [Stage("copy", "copy", 1, {}, {"text": text})]
    _, made = runs.run(Plan(plan), copy=copy)
    assert made["copy"].manifest.inputs["text"].path == str(text)
    assert runs.run(Plan(plan), copy=copy)[0].list_stages("skipped") == ["copy"]
    text.write_text("two")
    diary, made = runs.run(Plan(plan), copy=copy)
    assert diary.list_stages("finished") == ["copy"]
    assert (made["copy"].folder / "copy.txt").read_text() == "two"


def test_unknown_kind_is_refused_before_anything_runs(runs):
    plan = Plan([*runs.plan(), Stage("last", "squash", 1, {}, {})])
    with pytest.raises(HarnessError, match=r"^unknown kind of stage 'squash'; there are: count, join"):
        runs.run(plan)
    assert not runs.root.exists()


@pytest.mark.parametrize(
    ("fact", "reason"), [(float("nan"), "not JSON compliant"), (object(), "expected JSON types")]
)
def test_fact_that_json_does_not_have_is_refused(fact, reason, runs):
    def lie(context):
        context.facts["loss"] = fact

    with pytest.raises(HarnessError, match=rf"^join: the manifest cannot be written: .*{reason}"):
        runs.run(join=lie)
    assert runs.run()[0].list_stages("finished") == ["join"]


def test_peak_memory_is_measured_per_stage(runs):
    def waste(context):
        (context.out / "size").write_text(str(len(bytearray(b"x") * 80_000_000)))

    plan = Plan([Stage("waste", "waste", 1, {}, {}), *runs.plan()])
    _, made = runs.run(plan, waste=waste)
    peaks = {stage: one.manifest.peak_memory_bytes for stage, one in made.items()}
    if peaks["waste"] is None:
        pytest.skip("this kernel does not let a process forget its peak")
    assert peaks["waste"] > peaks["adapt"] + 60_000_000


def test_status_predicts_a_run(runs):
    def states():
        return [one.state for one in status(runs.plan(), runs.store)]

    assert states() == ["missing", "missing", "missing"]
    with pytest.raises(KeyboardInterrupt):
        runs.run(join=interrupt)
    assert states() == ["done", "done", "partial"]
    _, made = runs.run()
    assert states() == ["done", "done", "done"]
    (made["join"].folder / "joined.txt").write_text("cut")
    shutil.rmtree(made["adapt"].folder)
    assert states() == ["done", "missing", "broken"]
    assert [one.folder is None for one in status(runs.plan(), runs.store)] == [False, True, False]


def interrupt(context):
    raise KeyboardInterrupt


def test_manifest_is_frozen(runs):
    _, made = runs.run()
    with pytest.raises(ValueError, match="frozen"):
        made["join"].manifest.key = "x"
    assert isinstance(made["join"].manifest, Manifest)
