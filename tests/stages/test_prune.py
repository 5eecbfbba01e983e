"""The stage that drops FFN neurons: its rounds, and the text on which it measures importance."""

from __future__ import annotations

import pytest

from harness.config.amounts import TextSettings
from harness.config.steps.prune import ResolvedPrune
from harness.stages import corpus, prune


@pytest.mark.parametrize(
    ("now", "target", "rounds", "widths"), [(24, 16, 2, [20, 16]), (10, 3, 3, [8, 6, 3]), (8, 8, 1, [8])]
)
def test_rounds_are_equal_and_end_at_the_target(now, target, rounds, widths):
    assert prune._list_widths(now, target, rounds) == widths


def test_magnitude_needs_no_text(corpus_config, make_context, write_teacher, tmp_path, data):
    write_teacher(tmp_path / "teacher" / "model")
    text = tmp_path / "text"
    text.mkdir()
    corpus.run(make_context(corpus_config, {"data:corpus/mt": data / "corpus/mt"}, out=text))
    step = ResolvedPrune(ffn=10, score="magnitude", rounds=1)
    inputs = {"model": tmp_path / "teacher", "corpus": text}
    context = make_context({"held_out_length": 32}, inputs, step=step)
    assert prune.run(context).shape.ffn == 10


def test_importance_is_not_measured_on_held_out_text(
    corpus_config, make_context, write_teacher, tmp_path, data
):
    write_teacher(tmp_path / "teacher" / "model")
    amount = {"tokens": 600, "batch_tokens": 96, "mask_fraction": 0.2, "sequence_length": 24}
    read = TextSettings(**amount, precision="fp32", seed=1)
    step = ResolvedPrune(ffn=10, score="taylor", rounds=1, text=read)
    kept = {}
    for changed in (None, "held_out", "train"):
        text = tmp_path / f"text-{changed}"
        text.mkdir()
        corpus.run(make_context(corpus_config, {"data:corpus/mt": data / "corpus/mt"}, out=text))
        if changed:
            (path,) = text.glob(f"{changed}.*")
            path.write_text("\n".join(path.read_text(encoding="utf-8").splitlines()[:3]), encoding="utf-8")
        inputs = {"model": tmp_path / "teacher", "corpus": text}
        context = make_context({"held_out_length": 32}, inputs, step=step)
        prune.run(context)
        kept[changed] = (context.out / "model" / "model.safetensors").read_bytes()
    assert kept["held_out"] == kept[None] != kept["train"]
