# ruff: noqa: E501 - the tables of messages
from __future__ import annotations

import copy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import harness
from harness.baselines import BASELINE_NAMES
from harness.config import (
    KNOWN_TEACHERS,
    Recipe,
    digest,
    list_recipes,
    list_scales,
    load_recipe,
    load_scale,
    resolve,
    show,
    to_yaml,
)
from harness.config.load import update_name
from harness.config.losses import DISTILL_LOSSES, TASK_LOSSES
from harness.config.scale import READERS
from harness.config.score_settings import Finetune, ScoreSettings
from harness.config.steps import KINDS
from harness.config.steps.base import PARTS
from harness.config.steps.shorten import NAMED_LAYERS
from harness.errors import HarnessError, UsageError
from harness.families import TEACHERS
from harness.precisions import COPIES
from harness.tasks import TASKS

ROOT = Path(harness.__file__).parent
MBERT = KNOWN_TEACHERS["mbert"].shape


def test_all_shipped_files_load():
    assert "gurgurov2025" in list_recipes()
    assert {"mini", "paper"} <= set(list_scales())
    for name in list_recipes():
        recipe = load_recipe(name)
        assert (recipe.name, bool(recipe.source)) == (name, True)
        for variant in recipe.variants:
            assert load_recipe(f"{name}@{variant}").name == f"{name}@{variant}"
    for name in list_scales():
        assert load_scale(name).name == name


def test_loading_imports_no_torch():
    code = "import sys, harness.config; print([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent
    )
    assert run.stdout.strip() == "[]"


def test_variant_replaces_one_value():
    plain, varied = load_recipe("gurgurov2025"), load_recipe("gurgurov2025@564")
    assert varied.variants == {}
    different = [(a.id, a.values, b.values) for a, b in zip(plain.steps, varied.steps, strict=True) if a != b]
    ((step, before, after),) = different
    assert step == "narrow"
    assert before | {"width": "564/768"} == after


@pytest.mark.parametrize("name", ["gurgurov2025", "gurgurov2025@456"])
def test_shown_recipe_can_be_saved_and_edited(name, tmp_path):
    recipe, scale = load_recipe(name), load_scale("paper")
    rows = show(recipe, MBERT, scale)
    path = tmp_path / "my.yaml"
    path.write_text(to_yaml(recipe, rows), encoding="utf-8")
    again = load_recipe(path)
    assert again == recipe.model_copy(update={"name": "my"})
    assert resolve(again, scale, MBERT) == resolve(recipe, scale, MBERT)
    for row in rows[1:]:
        assert f"# {row.parameters:,} parameters" in path.read_text()
    path.write_text(path.read_text().replace("kept", "").replace("layers: 6/12", "layers: 3/12"))
    assert resolve(load_recipe(path), scale, MBERT)[1].shape.layers == 3


def test_recipe_file_has_variants(tmp_path):
    path = tmp_path / "my.yaml"
    shutil.copy(ROOT / "recipes" / "gurgurov2025.yaml", path)
    assert load_recipe(f"{path}@564").name == "my@564"


def test_folder_name_may_contain_at_sign(tmp_path):
    path = tmp_path / "user@site.org" / "my.yaml"
    path.parent.mkdir()
    path.write_text((ROOT / "recipes" / "gurgurov2025.yaml").read_text())
    assert load_recipe(str(path)).name == "my"
    assert load_recipe(f"{path}@564").name == "my@564"
    with pytest.raises(UsageError, match=r"user@site\.org/none\.yaml: expected a recipe file; there is none"):
        load_recipe(str(path.with_name("none.yaml")))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gurgurov", "unknown recipe 'gurgurov'; there are: "),
        ("gurgurov2025@999", "unknown variant of gurgurov2025 '999'; there are: 564, 456."),
        (
            "nowhere/my.yaml",
            "nowhere/my.yaml: expected a recipe file; there is none; name a file, or one of: ",
        ),
    ],
)
def test_unknown_recipe_lists_known_ones(name, message):
    with pytest.raises(UsageError) as caught:
        load_recipe(name)
    assert str(caught.value).startswith(message)


def test_former_recipe_name_is_understood():
    assert load_recipe("harness") == load_recipe("compact2026")
    assert load_recipe("harness@wide").name == "compact2026@wide"
    names = ("harness@wide", "harness.yaml", "my@wide")
    assert [update_name(name) for name in names] == ["compact2026@wide", "harness.yaml", "my@wide"]


def test_unknown_scale_lists_known_ones():
    with pytest.raises(UsageError, match=r"^unknown scale 'huge'; there are: .*mini, paper"):
        load_scale("huge")


def refused(path: Path, text: str, load) -> str:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(HarnessError) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def step(index, **values):
    def edit(document):
        next(iter(document["steps"][index].values())).update(values)

    return edit


def append(entry):
    return lambda document: document["steps"].append(entry)


def top(**values):
    return lambda document: document.update(values)


def vary(**values):
    return lambda document: document["variants"].update(values)


def fields(schema) -> str:
    """Return the keys of a schema as a message lists them."""
    return ", ".join(schema.model_fields)


RECIPES = [
    (step(2, losss={}), f"steps[2].distill: unknown key 'losss'; there are: {fields(KINDS['distill'])}. Did you mean 'loss'?"),
    (step(2, loss={"mlmm": 1}), f"steps[2].distill.loss: unknown loss 'mlmm'; there are: {', '.join(DISTILL_LOSSES)}. Did you mean 'mlm'?"),
    (step(2, loss={"mlm": 0, "logit_mse": 1}), "steps[2].distill.loss.mlm: expected a number above 0, of at most 1e6; got '0'"),
    (step(2, loss={"mlm": 1}), "steps[2].distill: expected a loss that looks at the teacher; mlm alone is an adapt step"),
    (step(2, loss={}), "steps[2].distill.loss: expected losses and their weights, as {mlm: 0.5, logit_mse: 0.5}; got '{}'"),
    (step(2, positions="all"), "steps[2].distill.positions: unknown value 'all'; there are: attended, masked"),
    (append({"tune": {"teacher": "teacher", "loss": {"labels": 1}}}), "steps[7].tune: expected a loss that looks at the teacher; labels alone is how every student "
     "learns a task"),
    (append({"tune": {"teacher": "teacher", "loss": {"mlm": 1}}}), f"steps[7].tune.loss: unknown loss 'mlm'; there are: {', '.join(TASK_LOSSES)}"),
    (append({"tune": {"teacher": "teacher", "loss": {"class_kl": 1}}}), "steps[7].tune: expected a temperature with class_kl; got none; add one, as temperature: 2"),
    (append({"tune": {"teacher": "teacher", "loss": {"class_mse": 1}, "layers": "last"}}), "steps[7].tune: layers is used by feature_mse, patient, attention_score_mse, attention_mse only; remove it, "
     "or weigh one of them"),
    (append({"tune": {"teacher": "teacher", "loss": {"class_mse": 1, "patient": 1}, "text": 9}}), "steps[7].tune: text goes with losses of labels and logits (labels, class_kl, class_mse); got patient; remove one"),
    (append({"tune": {"teacher": "teacher", "loss": {"class_mse": 1}, "teachers": "all", "start": "tuned"}}), "steps[7].tune: teachers: all goes with start: student and method: full; remove one"),
    (append({"tune": {"teacher": "teacher", "loss": {"class_mse": 1}, "text": 0}}), "steps[7].tune.text: expected a whole number of one or more, as 1600 or 1.6e9; got '0'"),
    (append({"tune": {"teacher": "teacher", "loss": {"class_mse": 1}, "method": "sft"}}), "steps[7].tune: method: sft and density go "
     "together, as density: 0.08; add or remove one"),
    (step(2, temperature=2), "steps[2].distill: temperature is used by logit_kl, logit_ce only; remove it, or weigh one of them"),
    (step(2, loss={"logit_kl": 1}), "steps[2].distill: expected a temperature with logit_kl; got none; add one, as temperature: 2"),
    (step(2, loss={"relation_kk": 1}), "steps[2].distill: expected a relation_split with relation_kk; got none; add one, as relation_split: 4"),
    (step(2, relation_split=4), "steps[2].distill: relation_split is used by relation_qq, relation_kk, relation_vv only; "
     "remove it, or weigh one of them"),
    (step(2, projection="learned"), "steps[2].distill: projection is used by hidden_cosine, centred_cosine, sentence_cosine, hidden_mse, embedding_mse, "
     "feature_mse, patient only; remove it, or weigh one of them"),
    (step(2, layers="last"), "steps[2].distill: layers is used by feature_mse, patient, attention_score_mse, attention_mse, "
     "attention_kl only; remove it, or weigh one of them"),
    (step(2, freeze=["head"]), f"steps[2].distill.freeze: unknown part 'head'; there are: {', '.join(PARTS)}. Did you mean 'mlm_head'?"),
    (step(2, freeze=[]), "steps[2].distill.freeze: expected parts of the model, as [embeddings]; got '[]'"),
    (step(2, epochs=3), "steps[2].distill: expected tokens or epochs, not both; remove one"),
    (step(1, keep="middle"), f"steps[1].shorten.keep: unknown value 'middle'; there are: {', '.join(NAMED_LAYERS)}, a list of layers"),
    (step(1, tokens=100), "steps[1].shorten: tokens is used by keep: influence only; remove it"),
    (step(1, keep=[True]), "steps[1].shorten.keep: expected layer numbers, as [0, 2, 4]; got '[True]'"),
    (step(1, keep={"bert": "last", "gpt": "last"}), f"steps[1].shorten: unknown model family 'gpt'; there are: {', '.join(TEACHERS)}"),
    (step(1, keep={"bert": "last", "xlm-roberta": "x"}), f"steps[1].shorten.keep: unknown value 'x'; there are: {', '.join(NAMED_LAYERS)}, a list of layers"),
    (step(1, layers=6), "steps[1].shorten.layers: expected a ratio of whole numbers, as 6/12; got '6'"),
    (step(1, layers="6/0"), "steps[1].shorten.layers: expected a ratio of whole numbers, as 6/12; got '6/0'"),
    (step(1, layers="13/12"), "steps[1].shorten.layers: expected a ratio of at most 1; got '13/12', which keeps more than "
     "there is"),
    (step(0, tokens="many"), "steps[0].adapt.tokens: expected a whole number of one or more, as 1600 or 1.6e9; got 'many'"),
    (step(0, tokens=0), "steps[0].adapt.tokens: expected a whole number of one or more, as 1600 or 1.6e9; got '0'"),
    (step(0, tokens=1.5), "steps[0].adapt.tokens: expected a whole number of one or more, as 1600 or 1.6e9; got '1.5'"),
    (step(0, tokens=True), "steps[0].adapt.tokens: expected a whole number of one or more, as 1600 or 1.6e9; got 'True'"),
    (step(0, learning_rate=-1), "steps[0].adapt.learning_rate: expected a rate above 0, of at most 1, as 5e-5; got '-1'"),
    (step(0, learning_rate=3), "steps[0].adapt.learning_rate: expected a rate above 0, of at most 1, as 5e-5; got '3'"),
    (step(0, learning_rate=".inf"), "steps[0].adapt.learning_rate: expected a rate above 0, of at most 1, as 5e-5; got '.inf'"),
    (step(2, loss={"mlm": 1e9, "logit_mse": 1}), "steps[2].distill.loss.mlm: expected a number above 0, of at most 1e6; got '1000000000.0'"),
    (step(0, mask_fraction=15), "steps[0].adapt.mask_fraction: expected a fraction between 0 and 1, as 0.15; got '15'"),
    (step(4, tokens=9), "steps[4].narrow: tokens is used by basis: importance, basis: pca and refit only; remove it"),
    (step(4, within="svd", heads="dropped"), "steps[4].narrow: within: svd narrows heads, heads: dropped leaves those it "
     "keeps whole; remove one"),
    (step(3, score="magnitude"), "steps[3].prune: tokens is used by score: taylor and taylor_logits only; remove it"),
    (append({"squash": {}}), f"steps[7]: unknown step 'squash'; there are: {', '.join(KINDS)}"),
    (append("trim"), "steps[7]: expected one step, as '- shorten: {layers: 6/12}'; got 'trim'"),
    (append({"trim": None}), "steps[7].trim: expected tokens, or one of coverage, document_fraction, line_fraction, probability; got none of them; add one"),
    (append({"trim": 3}), "steps[7].trim: expected keys and values; got '3'"),
    (top(steps=[]), "steps: expected a list of steps, as '- shorten: {layers: 6/12, keep: last}'"),
    (lambda document: document.pop("source"), "lacks the key 'source'; add it"),
    (top(teacher="gpt"), f"teacher: unknown teacher 'gpt'; there are: {', '.join(KNOWN_TEACHERS)}"),
    (top(stepz=[]), f"unknown key 'stepz'; there are: {fields(Recipe)}. Did you mean 'steps'?"),
    (top(name="mine"), "the key 'name' is no setting: the name is the file's own; remove it"),
    (top(source=3), "source: expected text; got '3'"),
    (vary(x={"narow.width": "1/2"}), "variants.x: unknown step 'narow'; there are: adapt, shorten, distill, prune, "
     "narrow, distill-2, trim. Did you mean 'narrow'?"),
    (vary(x={"narrow.widht": "1/2"}), f"variants.x: steps[4].narrow: unknown key 'widht'; there are: {fields(KINDS['narrow'])}. Did you mean 'width'?"),
    (vary(x={"narrow": "1/2"}), "variants.x: expected step.key, as narrow.width; got 'narrow'"),
    (vary(x=3), "variants.x: expected keys and values; got '3'"),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "message"), RECIPES)
def test_wrong_recipe_is_refused_with_place(edit, message, tmp_path):
    document = copy.deepcopy(yaml.safe_load((ROOT / "recipes/gurgurov2025.yaml").read_text(encoding="utf-8")))
    edit(document)
    assert refused(tmp_path / "my.yaml", yaml.safe_dump(document), load_recipe) == f"my.yaml: {message}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\nb: 2", "my.yaml: line 2: not valid YAML: "),
        ("source: a\nsource: b\n", "my.yaml: line 1: not valid YAML: key 'source' is given twice"),
        ("- 1", "my.yaml: expected keys and values; got '[1]'"),
        ("", "my.yaml: expected keys and values; got nothing"),
        ("a: !!python/object:os.system x", "my.yaml: line 1: not valid YAML: "),
    ],
)
def test_file_without_mapping_is_refused(text, message, tmp_path):
    assert refused(tmp_path / "my.yaml", text, load_recipe).startswith(message)


def test_file_in_other_encoding_is_refused(tmp_path):
    (tmp_path / "my.yaml").write_bytes("source: \xe9".encode("latin-1"))
    with pytest.raises(UsageError, match=r"^my\.yaml: expected UTF-8 text; byte 8 is not; save it as UTF-8$"):
        load_recipe(tmp_path / "my.yaml")


def nested(*path, **values):
    def edit(document):
        for one in path:
            document = document[one]
        document.update(values)

    return edit


SCALES = [
    (nested("training", adaptt={}), f"training: unknown trained step 'adaptt'; there are: {', '.join(READERS)}, blank, distill-2, … by id. Did you mean 'adapt'?"),
    (nested("training", trim={}), f"training: unknown trained step 'trim'; there are: {', '.join(READERS)}, blank, distill-2, … by id"),
    (nested("training", "prune", learning_rate=1), "training: prune: unknown key 'learning_rate'; there are: tokens, "
     "batch_tokens, mask_fraction"),
    (nested("tasks", names=["poss"]), f"tasks.names: unknown task 'poss'; there are: {', '.join(TASKS)}. Did you mean 'pos'?"),
    (nested("score", seeds=[1, 1]), "score.seeds: expected different whole numbers, as [1, 2]; got '[1, 1]'"),
    (nested("score", seeds=[2**32]), "score.seeds: expected different whole numbers, as [1, 2]; got '[4294967296]'"),
    (lambda document: document["score"].pop("seeds"), "score: lacks the key 'seeds'; add it"),
    (nested("score", tasks={"pos": {"epoch": 1}}), f"score.tasks.pos: unknown key 'epoch'; there are: {fields(Finetune)}. Did you mean 'epochs'?"),
    (nested("score", tasks={"poss": {}}), f"score.tasks: unknown task 'poss'; there are: {', '.join(TASKS)}. Did you mean 'pos'?"),
    (nested("score", baselines=["luck"]), f"score.baselines: unknown baseline 'luck'; there are: {', '.join(BASELINE_NAMES)}"),
    (nested("export", precisions=["int4"]), "export.precisions: unknown precision 'int4'; there are: "
     f"{', '.join(COPIES)}. Did you mean 'int8'?"),
    (nested("score", method="soup"), "score.method: unknown value 'soup'; there are: full, adapter, lora, sft"),
    (nested("score", learning_rates=[1e-4]), "score: expected learning_rate or learning_rates; got both; state one of them"),
    (lambda document: document["score"].pop("learning_rate"), "score: expected learning_rate or learning_rates; got neither; state one of them"),
    (nested("score", learning_rates=[]), "score.learning_rates: expected different learning rates, as [1e-4, 5e-5]; got '[]'"),
    (nested("score", learning_rates=[1, 1]), "score.learning_rates: expected different learning rates, as [1e-4, 5e-5]; got '[1, 1]'"),
    (nested("score", tasks={"pos": {"learning_rate": 1, "learning_rates": [1]}}), "score.tasks.pos: expected learning_rate or learning_rates; got both; remove one"),
    (nested("score", density=0.5), "score: density goes with method: sft, and only with it"),
    (nested("score", rank=4), "score: rank goes with method: lora, and only with it"),
    (nested("score", reduction=4), "score: reduction goes with method: adapter, and only with it"),
    (nested("score", tasks={"pos": {"reduction": 4}}), "score: reduction goes with method: adapter, and only with it"),
    (nested("teacher", hub="mbert"), "teacher: expected exactly one of pretrain, hub, folder"),
    (top(teacher={"hub": "gpt"}), f"teacher: unknown teacher 'gpt'; there are: recipe, {', '.join(KNOWN_TEACHERS)}, a hub id "
     "organisation/name"),
    (nested("corpus", source="web"), "corpus.source: unknown value 'web'; there are: builtin, folder, hub"),
    (nested("tasks", others=True), "tasks: others: true goes with source: folder, and only with it"),
    (nested("corpus", folder="x"), "corpus: 'folder' goes with source: folder, and only with it"),
    (top(precision="fp8"), "precision: unknown value 'fp8'; there are: fp32, bf16, auto"),
    (nested("latency", lengths=[0]), "latency.lengths[0]: expected a whole number of one or more, as 1600 or 1.6e9; got '0'"),
    (nested("latency", lengths=4), "latency.lengths: expected a list, as [1, 2]; got '4'"),
    (nested("teacher", "pretrain", heads=7), "teacher.pretrain: hidden 128 is no multiple of the 7 heads"),
    (nested("teacher", "pretrain", heads=1, attention="neighbours"), "teacher.pretrain: attention: neighbours: expected "
     "two heads or more of an even size; got 1 of 128; change hidden or heads, or take random"),
    (nested("teacher", "pretrain", family="gpt"), "teacher.pretrain: unknown model family 'gpt'; there are: bert, xlm-roberta"),
    (nested("teacher", "pretrain", sequence_length=700), "teacher.pretrain: sequence_length 700 is above what 64 "
     "positions hold (64); lower it, or add positions"),
    (nested("teacher", "pretrain", languages=[]), "teacher.pretrain.languages: expected 'all' or language codes, as [mt, "
     "sk]; got '[]'"),
    (top(seed="x"), "seed: expected a whole number from 0 to 4294967295; got 'x'"),
    (top(seed=False), "seed: expected a whole number from 0 to 4294967295; got 'False'"),
    (top(seed=-1), "seed: expected a whole number from 0 to 4294967295; got '-1'"),
    (top(seed=2**63), "seed: expected a whole number from 0 to 4294967295; got '9223372036854775808'"),
    (top(training=[1]), "training: expected keys and values; got '[1]'"),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "message"), SCALES)
def test_wrong_scale_is_refused_with_place(edit, message, tmp_path):
    document = yaml.safe_load((ROOT / "scales/mini.yaml").read_text(encoding="utf-8"))
    edit(document)
    assert refused(tmp_path / "my.yaml", yaml.safe_dump(document), load_scale) == f"my.yaml: {message}"


def test_task_has_its_own_finetuning():
    score = load_scale("paper").score
    assert score.for_task("topic")["epochs"] == score.epochs
    assert score.for_task("pos") == score.for_task("topic") | {"epochs": 10, "batch_size": 32}


@pytest.mark.parametrize(
    ("stated", "own", "expected"),
    [
        ({"learning_rate": 1e-3}, {"learning_rates": [1e-4, 5e-5]}, {"learning_rates": (1e-4, 5e-5)}),
        ({"learning_rates": [1e-3]}, {"learning_rate": 1e-4}, {"learning_rate": 1e-4}),
        ({"learning_rates": [1e-3]}, {"epochs": 2}, {"learning_rates": (1e-3,)}),
    ],
)
def test_rates_of_a_task_replace_the_scores_rates(stated, own, expected):
    usual = load_scale("paper").score.model_dump(exclude={"learning_rate", "learning_rates", "tasks"})
    settings = ScoreSettings(**usual, **stated, tasks={"pos": own}).for_task("pos")
    assert {name: value for name, value in settings.items() if name.startswith("learning_rate")} == expected


def test_folders_replace_data_and_teacher_of_scale():
    mini = load_scale("mini")
    scale = mini.with_data("texts").with_teacher("model")
    assert (scale.corpus.source, scale.corpus.folder, scale.tasks.folder) == ("folder", "texts", "texts")
    assert scale.teacher.model_dump(exclude_none=True) == {"folder": "model"}
    assert type(scale).model_validate(scale.model_dump()) == scale
    assert mini.corpus.source == "builtin"


def test_equal_settings_have_equal_digests():
    assert digest({"a": 1, "b": (2, 3)}) == digest({"b": [2, 3], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert digest(load_scale("mini")) == digest(load_scale("mini"))
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest({"a": float("nan")})
