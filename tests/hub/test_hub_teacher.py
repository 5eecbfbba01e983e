"""A teacher named by its hub id: fetched, pinned to the commit that was found, refused in one line."""

from __future__ import annotations

import json

import pytest

SCALE = """
teacher: {hub: mbert}
corpus: {source: builtin, lines: 200, held_out_fraction: 0.1}
sequence_length: 32
precision: fp32
seed: 1
tasks: {source: builtin, names: [topic], train: 20, dev: 10, test: 10}
score:
  {seeds: [1], epochs: 1, learning_rate: 1e-3, batch_size: 8, warmup_fraction: 0, weight_decay: 0,
   baselines: []}
latency: {lengths: [16], threads: [1], batch_size: 1, seconds: 0.1, warmup_seconds: 0.1, rounds: 2}
export: {candidates: [legacy], quantize: none, parity_tolerance: 1e-4}
"""


@pytest.fixture
def scale(tmp_path):
    (tmp_path / "tiny.yaml").write_text(SCALE)
    return tmp_path / "tiny.yaml"


@pytest.fixture
def published(hub, write_teacher):
    folder = hub.root / "models" / "org" / "small-encoder"
    write_teacher(folder)
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\n---\nA small encoder.\n", encoding="utf-8")
    return hub.find("models", "org/small-encoder")


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "trim.yaml").write_text("source: here\nteacher: mbert\nsteps:\n  - trim: {tokens: 55}\n")
    return tmp_path / "trim.yaml"


@pytest.fixture
def plan(run_harness, scale, recipe):
    return lambda teacher: run_harness(
        "plan", "mt", "--recipe", recipe, "--scale", scale, "--teacher", teacher
    )


def test_a_hub_id_is_the_same_stage_as_its_commit(plan, published):
    by_name, by_commit = (
        plan(teacher) for teacher in ("org/small-encoder", f"org/small-encoder@{published.commit}")
    )
    assert by_name.returncode == 0, by_name.stderr
    assert _list_stages(by_name.stdout) == _list_stages(by_commit.stdout)
    assert "fetch" in by_name.stdout


def _list_stages(printed):
    """Return the rows of the plan's table; the free disk space below it changes from call to call."""
    return [line for line in printed.splitlines() if line.startswith("│")]


def test_the_manifest_names_the_commit(run_harness, scale, recipe, published, tmp_path):
    ended = run_harness(
        "reproduce", "mt", "--recipe", recipe, "--scale", scale, "--teacher", "org/small-encoder"
    )
    (manifest,) = tmp_path.glob("runs/mt/trim-tiny/??-teacher-*/manifest.json")
    written = json.loads(manifest.read_text())
    assert written["facts"]["teacher"] == {
        "name": "org/small-encoder",
        "revision": published.commit,
        "licence": "cc-by-4.0",
    }, ended
    assert written["config"]["revision"] == published.commit


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (
            "org/none",
            "'org/none': expected revision main from the hub or its cache; got no such repository, "
            "or one that needs a login; check the name, set HF_TOKEN where the model needs a login, or name "
            "a local folder",
        ),
        ("none", "--teacher none: expected a saved model's folder, or a hub id as ORG/NAME; got neither"),
    ],
)
def test_a_teacher_that_does_not_exist_is_refused_in_one_line(plan, teacher, message):
    ended = plan(teacher)
    assert ended.returncode == 1
    assert message in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
