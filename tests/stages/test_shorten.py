"""The stage that drops layers: chosen beforehand, or by the loss on training text."""

from __future__ import annotations

from harness.config.amounts import TextSettings
from harness.config.steps.shorten import ResolvedShorten
from harness.stages import corpus, shorten
from harness.stages.io.facts import to_json


def test_layers_by_influence_are_written_with_their_order(
    corpus_config, make_context, write_teacher, tmp_path, data
):
    write_teacher(tmp_path / "teacher" / "model")
    amount = {"tokens": 200, "batch_tokens": 96, "mask_fraction": 0.2, "sequence_length": 24}
    read = TextSettings(**amount, precision="fp32", seed=1)
    kept = {}
    for changed in (None, "held_out"):
        text = tmp_path / f"text-{changed}"
        text.mkdir()
        corpus.run(make_context(corpus_config, {"data:corpus/mt": data / "corpus/mt"}, out=text))
        if changed:
            (path,) = text.glob(f"{changed}.*")
            path.write_text("\n".join(path.read_text(encoding="utf-8").splitlines()[:3]), encoding="utf-8")
        inputs = {"model": tmp_path / "teacher", "corpus": text}
        step = ResolvedShorten(layers=(), number=1, text=read)
        facts = shorten.run(make_context({"held_out_length": 32}, inputs, step=step))
        assert facts.shape.layers == len(facts.kept) == 1
        kept[changed] = facts.kept, facts.removed
    assert kept["held_out"] == kept[None]
    layers = [*kept[None][0], *(one.layer for one in kept[None][1])]
    assert sorted(layers) == list(range(len(layers)))


def test_layers_chosen_beforehand_have_the_facts_of_old_manifests(
    corpus_config, make_context, write_teacher, tmp_path, data
):
    write_teacher(tmp_path / "teacher" / "model")
    text = tmp_path / "text"
    text.mkdir()
    corpus.run(make_context(corpus_config, {"data:corpus/mt": data / "corpus/mt"}, out=text))
    inputs = {"model": tmp_path / "teacher", "corpus": text}
    facts = shorten.run(make_context({"held_out_length": 32}, inputs, step=ResolvedShorten(layers=(0,))))
    assert not {"kept", "removed"} & to_json(facts).keys()
