# ruff: noqa: E501 - the tables of messages
from __future__ import annotations

import copy

import pytest
import yaml

from harness.config import KNOWN_TEACHERS, Shape, load_recipe, load_scale, resolve, show
from harness.errors import HarnessError, UsageError

MBERT = KNOWN_TEACHERS["mbert"].shape
XLMR = KNOWN_TEACHERS["xlmr"].shape
IDS = ["adapt", "shorten", "distill", "prune", "narrow", "distill-2", "trim"]

COUNTS = {
    ("mbert", ""): [177_974_523, 135_447_291, 126_003_963, 47_710_587, 22_812_376],
    ("mbert", "@456"): [177_974_523, 135_447_291, 126_003_963, 71_311_611, 34_958_632],
    ("mbert", "@564"): [177_974_523, 135_447_291, 126_003_963, 89_692_779, 44_748_724],
    ("xlmr", ""): [278_295_186, 235_767_954, 226_324_626, 88_543_314, 22_812_688],
    ("xlmr", "@456"): [278_295_186, 235_767_954, 226_324_626, 130_930_002, 34_959_088],
    ("xlmr", "@564"): [278_295_186, 235_767_954, 226_324_626, 163_400_418, 44_749_288],
}
"""After the teacher, shorten, prune, narrow and trim. Trim keeps exactly 40,000 tokens, special ones counted: solving
each last number for the vocabulary is 40,000.0, so nothing is added for the special tokens."""


@pytest.fixture(scope="module")
def paper():
    return load_scale("paper")


@pytest.fixture(scope="module")
def mini():
    return load_scale("mini")


@pytest.mark.parametrize(("teacher", "variant"), COUNTS)
def test_gurgurov2025_has_published_sizes(teacher, variant, paper):
    rows = show(load_recipe(f"gurgurov2025{variant}"), KNOWN_TEACHERS[teacher].shape, paper)
    by_id = {row.id: row.parameters for row in rows}
    changing = ("teacher", "shorten", "prune", "narrow", "trim")
    assert [by_id[one] for one in changing] == COUNTS[teacher, variant]
    assert [row.id for row in rows] == ["teacher", *IDS]
    assert sum(row.delta for row in rows) == rows[-1].parameters - rows[0].parameters
    assert all(row.delta == 0 for row in rows if row.id in ("adapt", "distill", "distill-2"))


@pytest.mark.parametrize(
    ("teacher", "layers"), [(MBERT, (6, 7, 8, 9, 10, 11)), (XLMR, (0, 2, 4, 6, 8, 10))], ids=["mbert", "xlmr"]
)
def test_each_family_keeps_the_layers_of_the_paper(teacher, layers, paper):
    steps = {step.id: step for step in resolve(load_recipe("gurgurov2025"), paper, teacher)}
    assert steps["shorten"].step.layers == layers


def test_paper_scale_keeps_numbers_of_recipe(paper):
    planned = {one.id: one.step for one in resolve(load_recipe("gurgurov2025"), paper, MBERT)}
    steps = {name: step.to_config() for name, step in planned.items()}
    assert steps["adapt"] == {
        "tokens": 1_600_000_000,
        "learning_rate": 1e-4,
        "batch_tokens": 16384,
        "mask_fraction": 0.15,
        "warmup_fraction": 0.0,
        "sequence_length": 512,
        "precision": "auto",
        "seed": 42,
        "device_tokens": 16384,
    }
    assert planned["distill"].teacher == "adapt"
    assert planned["distill-2"].teacher == "prune"
    assert steps["distill"]["loss"] == {"mlm": 0.5, "logit_mse": 0.5}
    assert steps["narrow"] == {"hidden": 312, "heads": 12, "basis": "first", "heads_mode": "narrowed"}
    assert steps["trim"] == {"vocabulary": 40_000}
    assert steps["prune"]["ffn"] == 2048


def test_ratios_apply_to_smaller_teacher(mini):
    sizes = {"layers": 12, "hidden": 192, "heads": 6, "ffn": 768, "vocabulary": 8000}
    teacher = mini.teacher.pretrain.shape.model_copy(update=sizes)
    steps = {step.id: step for step in resolve(load_recipe("gurgurov2025"), mini, teacher)}
    assert steps["shorten"].shape.layers == 6
    assert steps["prune"].shape.ffn == 512
    assert (steps["narrow"].shape.hidden, steps["narrow"].shape.heads) == (78, 6)
    assert steps["trim"].shape.vocabulary == round(8000 * 40_000 / 119_547) == 2677


@pytest.mark.parametrize(
    ("family", "vocabulary"), [("bert", 250_002), ("xlm-roberta", 119_547), ("bert", 50_000)]
)
def test_trim_keeps_the_stated_number_of_tokens(mini, family, vocabulary):
    teacher = mini.teacher.pretrain.shape.model_copy(
        update={"family": family, "vocabulary": vocabulary, "positions": 80}
    )
    absolute = mini.model_copy(update={"reference_vocabulary": None})
    last = resolve(load_recipe("gurgurov2025"), absolute, teacher)[-1]
    assert last.shape.vocabulary == 40_000
    expected = 40_000 if vocabulary >= 119_547 else round(vocabulary * 40_000 / 119_547)
    assert resolve(load_recipe("gurgurov2025"), mini, teacher)[-1].shape.vocabulary == expected


def test_trim_refuses_a_smaller_vocabulary(mini):
    absolute = mini.model_copy(update={"reference_vocabulary": None})
    with pytest.raises(
        UsageError, match="tokens 40000 keeps 40000; the vocabulary is 8000 by now; keep fewer"
    ):
        resolve(
            load_recipe("gurgurov2025"),
            absolute,
            mini.teacher.pretrain.shape.model_copy(update={"vocabulary": 8000}),
        )


def test_scale_replaces_training_by_kind_then_id(mini):
    training = yaml.safe_load("{distill: {tokens: 5e5, learning_rate: 1e-3}, distill-2: {tokens: 7e5}}")
    scale = type(mini).model_validate(mini.model_dump() | {"training": training})
    recipe = load_recipe("gurgurov2025")
    steps = {one.id: one.step for one in resolve(recipe, scale, mini.teacher.pretrain.shape)}
    assert [steps[one].training.tokens for one in ("adapt", "distill", "distill-2")] == [
        1_600_000_000,
        500_000,
        700_000,
    ]
    assert steps["distill-2"].training.learning_rate == 1e-3


@pytest.mark.parametrize(
    ("recipe", "rate"),
    [
        ("cruz2025", 3e-4),  # random weights, MLM and logits
        ("mobilebert2020", 2e-3),  # random weights, the states of layers too
        ("minilm2021", 2e-3),  # random weights, but no word is learnt
        ("distilbert2019", 2e-3),  # the teacher's weights
    ],
)
def test_blank_amounts_apply_where_words_alone_are_learnt(mini, recipe, rate):
    document = mini.model_dump()
    document["training"] |= {"blank": {"learning_rate": 3e-4}}
    scale = type(mini).model_validate(document)
    steps = resolve(load_recipe(recipe), scale, mini.teacher.pretrain.shape)
    (training,) = [one.step.training for one in steps if one.id == "distill"]
    assert (training.learning_rate, training.tokens) == (rate, mini.training["distill"].tokens)


THIN = Shape(family="bert", layers=5, hidden=192, heads=6, ffn=77, vocabulary=1000, positions=64, types=2)


@pytest.fixture
def document():
    recipe = load_recipe("gurgurov2025")
    steps = [{step.kind: copy.deepcopy(step.values)} for step in recipe.steps]
    return {"source": "here", "teacher": "mbert", "steps": steps}


def resolved(document, tmp_path, scale, shape=MBERT):
    path = tmp_path / "my.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return {step.id: step for step in resolve(load_recipe(path), scale, shape)}


@pytest.fixture
def one_step(tmp_path, mini):
    """Resolves a recipe of one step, on a thin teacher."""

    def run(kind, **values):
        document = {"source": "here", "teacher": "mbert", "steps": [{kind: values}]}
        return resolved(document, tmp_path, mini, THIN)[kind]

    return run


@pytest.mark.parametrize(
    ("heads", "ratio", "width"),
    [
        ("narrowed", "312/768", (78, 6)),
        ("narrowed", "1/2", (96, 6)),
        ("narrowed", "100/192", (102, 6)),
        ("narrowed", "99/192", (102, 6)),
        ("dropped", "312/768", (64, 2)),
        ("dropped", "80/192", (96, 3)),
        ("dropped", "16/192", (32, 1)),
        ("dropped", "1/1", (192, 6)),
    ],
)
def test_widths_are_of_whole_heads(heads, ratio, width, one_step):
    step = one_step("narrow", width=ratio, basis="first", heads=heads)
    assert (step.shape.hidden, step.shape.heads) == (step.step.hidden, step.step.heads) == width


@pytest.mark.parametrize(
    ("values", "config"),
    [
        ({"basis": "pca"}, {"within": "svd", "refit": True, "tokens": 8192}),
        ({"basis": "pca", "refit": False, "within": "first"}, {"within": "first", "refit": False}),
        ({"basis": "pca", "heads": "dropped"}, {"within": "first", "refit": True}),
        ({"basis": "importance"}, {"within": "first", "refit": False, "tokens": 8192}),
        ({"basis": "first", "refit": True}, {"within": "first", "refit": True, "mask_fraction": 0.2}),
        ({"basis": "first", "within": "svd"}, {"within": "svd", "refit": False}),
    ],
)
def test_narrow_states_heads_refit_and_text(values, config, one_step):
    step = one_step("narrow", width="1/2", **values)
    config_now = step.step.to_config()
    assert config_now.items() >= {"basis": values["basis"], **config}.items()
    reads_text = values["basis"] != "first" or "refit" in values
    assert ("tokens" in config_now) == ("seed" in config_now) == (step.step.text is not None) == reads_text


@pytest.mark.parametrize(
    ("keep", "ratio", "layers"),
    [
        ("first", "2/5", [0, 1]),
        ("last", "6/12", [2, 3, 4]),
        ("strided", "6/12", [0, 1, 3]),
        ("strided", "2/5", [0, 2]),
        ("strided", "1/1", [0, 1, 2, 3, 4]),
        ([1, 4], "2/5", [1, 4]),
    ],
)
def test_shorten_keeps_named_layers(keep, ratio, layers, one_step):
    step = one_step("shorten", layers=ratio, keep=keep)
    assert list(step.step.layers) == layers
    assert step.shape.layers == len(layers)


def test_taylor_logits_reads_text(one_step):
    text = {"tokens": 1000, "batch_tokens": 256, "mask_fraction": 0.15}
    taylor, logits = (
        one_step("prune", width="1/2", score=one, **text).step for one in ("taylor", "taylor_logits")
    )
    assert logits == taylor.model_copy(update={"score": "taylor_logits"})
    assert logits.text.tokens > 0


def test_magnitude_reads_no_text(one_step):
    step = one_step("prune", width="1/2", score="magnitude")
    assert step.step.to_config() == {"ffn": 39, "score": "magnitude", "rounds": 1}


def test_description_states_sum_of_weights(document, tmp_path, paper):
    document["steps"][2]["distill"]["loss"] = {"mlm": 1, "logit_kl": 2.5}
    document["steps"][2]["distill"]["temperature"] = 2
    step = resolved(document, tmp_path, paper)["distill"]
    assert step.step.temperature == 2.0
    assert step.step.describe() == "from adapt: 1·mlm + 2.5·logit_kl (weights sum to 3.5), 512,000,000 tokens"


def test_trim_takes_a_number(document, tmp_path, paper):
    document["steps"][6]["trim"]["tokens"] = 40000
    assert resolved(document, tmp_path, paper, XLMR)["trim"].shape.vocabulary == 40_000


def edited(index, **values):
    def edit(document):
        next(iter(document["steps"][index].values())).update(values)

    return edit


def insert(index, step):
    return lambda document: document["steps"].insert(index, step)


def both(*edits):
    return lambda document: [edit(document) for edit in edits]


def deeper(document):
    """A student of twelve layers that learns from one of six."""
    blank = {"blank": {"layers": "12/12", "width": "1/1", "ffn": "1/1"}}
    document["steps"].insert(2, blank)
    document["steps"][3]["distill"] |= {"teacher": "shorten", "loss": {"feature_mse": 1}}


def tuned(*edits, **values):
    """The recipe with a tune step in place of the trimming."""

    def edit(document):
        document["steps"][6] = {"tune": {"teacher": "teacher", "loss": {"class_mse": 1}} | values}
        for one in edits:
            one(document)

    return edit


def only_influence(document):
    """A student that begins as layers of the tuned teacher, before anybody knows which."""
    text = {"tokens": 4096, "batch_tokens": 1024, "mask_fraction": 0.2}
    shorten = {"shorten": {"layers": "6/12", "keep": "influence"} | text}
    tune = {"teacher": "teacher", "loss": {"class_mse": 1}, "start": "tuned"}
    document["steps"] = [shorten, {"tune": tune}]


def without_tokens(document):
    del document["steps"][0]["adapt"]["tokens"]


REFUSED = [
    (edited(2, teacher="prune"), "steps[2].distill: teacher 'prune' is no earlier step; there are: teacher, adapt, shorten"),
    (edited(5, teacher="distil"), "steps[5].distill: teacher 'distil' is no earlier step; there are: teacher, adapt, "
     "shorten, distill, prune, narrow"),
    (edited(1, layers="0/12"), "steps[1].shorten: layers 0/12 of 12 leaves no layer; keep more"),
    (edited(3, width="0/3072"), "steps[3].prune: width 0/3072 of 3072 leaves no FFN neuron; keep more"),
    (edited(4, width="1/768"), "steps[4].narrow: width 1/768 of 768 leaves no head: each of its 12 heads needs a width "
     "of one or more; keep more"),
    (edited(4, width="31/768", heads="dropped"), "steps[4].narrow: width 31/768 of 768 leaves no head: one of its heads "
     "is 64 wide; keep more"),
    (edited(6, tokens="0/7"), "steps[6].trim: tokens 0/7 of 119547 leaves no token; keep more"),
    (edited(6, tokens=200000), "steps[6].trim: tokens 200000 keeps 200000; the vocabulary is 119547 by now; keep fewer"),
    (insert(6, {"shorten": {"layers": "7/12", "keep": "first"}}), "steps[6].shorten: layers 7/12 keeps 7; the model has 6 "
     "by now; keep fewer"),
    (insert(4, {"prune": {"width": "1/1", "score": "magnitude"}}), "steps[4].prune: width 1/1 keeps 3072; the FFN is 2048 "
     "wide by now; keep fewer"),
    (insert(5, {"narrow": {"width": "1/2", "basis": "first"}}), "steps[5].narrow: width 1/2 keeps 384; the model is 312 "
     "wide by now; keep less"),
    (edited(1, keep=[0, 1]), "steps[1].shorten: keep lists 2 layers, the ratio keeps 6; make them agree"),
    (edited(1, keep=[0, 1, 2, 3, 4, 12]), "steps[1].shorten: keep: expected a rising list of layers from 0 to 11; got "
     "[0, 1, 2, 3, 4, 12]; correct the list"),
    (edited(5, loss={"hidden_mse": 1}), "steps[5].distill: teacher 'prune': hidden_mse expected one hidden size in "
     "teacher and student; got 768 and 312; take losses of logits, relations or classes, move the step before narrow, or add "
     "projection: learned to a distill step"),
    (edited(5, loss={"relation_qq": 1}, relation_split=5), "steps[5].distill: teacher 'prune': relation_qq expected widths that 60 relation heads divide; "
     "got 768 in the teacher; change relation_split or the width"),
    (edited(5, loss={"relation_vv": 1}, relation_split=4), "steps[5].distill: teacher 'prune': relation_vv expected widths that 48 relation heads divide; "
     "got 312 in the student; change relation_split or the width"),
    (both(edited(4, width="384/768", heads="dropped"), edited(5, loss={"attention_kl": 1})), "steps[5].distill: teacher 'prune': attention_kl expected as many heads in teacher "
     "and student; got 12 and 6; keep all heads, or take relation losses"),
    (both(edited(1, layers="1/12"), edited(2, loss={"patient": 1})), "steps[2].distill: teacher 'adapt': patient expected a student of 2 layers or "
     "more, since it compares the layers below the last; got 1; keep more layers"),
    (insert(2, {"blank": {"layers": "0/12", "width": "1/2", "ffn": "1/2"}}), "steps[2].blank: 0/12 leaves no layer; take more"),
    (insert(2, {"blank": {"layers": "1/2", "width": "1/2", "ffn": "1/2", "embeddings": "copied"}}), "steps[2].blank: embeddings of 768 cannot be "
     "copied into a width of 384; take random ones"),
    (deeper, "steps[3].distill: teacher 'shorten': feature_mse expected a student no deeper than its teacher; got 12 layers "
     "and the teacher's 6; shorten the student"),
    (insert(1, {"trim": {"tokens": 1000}}), "steps[3].distill: teacher 'adapt' has 119547 tokens, the student 1000; "
     "one text would be other tokens to each: distill before trim, or trim both"),
    (insert(1, {"retokenize": {"vocabulary": 1000}}), "steps[3].distill: teacher 'adapt' has 119547 tokens, the student 1000; "
     "one text would be other tokens to each: distill before trim, or trim both"),
    (insert(1, {"retokenize": {"vocabulary": "1/1"}}), "steps[3].distill: teacher 'adapt' has 119547 tokens, the student 119547 "
     "others; one text would be other tokens to each: distill before trim, or trim both"),
    (insert(0, {"retokenize": {"vocabulary": "0/7"}}), "steps[0].retokenize: tokens 0/7 of 119547 leaves no token; keep more"),
    (edited(0, tokens=100), "steps[0].adapt: 100 tokens are fewer than one batch of 16384; raise tokens"),
    (edited(0, batch_tokens=100), "steps[0].adapt: a batch of 100 tokens holds no sequence of 512; raise batch_tokens"),
    (insert(3, {"tune": {"teacher": "teacher", "loss": {"class_mse": 1}}}), "steps[3].tune: expected it last, after the steps that make the student; "
     "move it there"),
    (insert(7, {"tune": {"teacher": "teacher", "loss": {"class_mse": 1}}}), "steps[7].tune: teacher 'teacher' has 119547 tokens, "
     "the student 40000; one text would be other tokens to each: tune before trim, or trim both"),
    (tuned(teacher="narow"), "steps[6].tune: teacher 'narow' is no earlier step; there are: teacher, adapt, shorten, distill, "
     "prune, narrow, distill-2"),
    (tuned(loss={"patient": 1}), "steps[6].tune: teacher 'teacher': patient expected one hidden size in teacher and student; got "
     "768 and 312; take losses of logits, relations or classes, move the step before narrow, or add projection: learned to a distill step"),
    (only_influence, "steps[1].tune: start: tuned takes layers that are known beforehand; expected shorten without keep: influence"),
    (tuned(start="tuned"), "steps[6].tune: start: tuned takes layers of the fine-tuned teacher; expected one shorten before it and "
     "teacher: teacher; got adapt, shorten, distill, prune, narrow, distill-2, and teacher; take start: student, or leave the "
     "other steps out"),
    (tuned(edited(1, layers="1/12"), edited(4, width="1/1"), teacher="adapt", loss={"patient": 1}), "steps[6].tune: teacher "
     "'adapt': patient expected a student of 2 layers or more, since it compares the layers below the last; got 1; keep more layers"),
    (without_tokens, "steps[0].adapt: neither the recipe nor the scale 'paper' states tokens; add it"),
]  # fmt: skip


@pytest.mark.parametrize(("edit", "message"), REFUSED)
def test_recipe_that_cannot_run_is_refused(edit, message, document, tmp_path, paper):
    edit(document)
    with pytest.raises(UsageError) as caught:
        resolved(document, tmp_path, paper)
    assert str(caught.value).startswith(f"my: {message}")


@pytest.mark.parametrize("way", [{"text": 500}, {"teachers": "all"}])
def test_stored_logits_may_come_from_a_teacher_with_another_vocabulary(way, document, tmp_path, paper):
    document["steps"].append({"tune": {"teacher": "teacher", "loss": {"class_mse": 1}} | way})
    assert "tune" in resolved(document, tmp_path, paper)


def test_models_after_a_learned_vocabulary_may_teach(document, tmp_path, paper):
    document["steps"].insert(0, {"retokenize": {"vocabulary": 20_000}})
    steps = resolved(document | {"steps": document["steps"][:-1]}, tmp_path, paper)
    assert {step.shape.vocabulary for step in steps.values()} == {20_000}
    assert steps["retokenize"].step.describe() == "20,000 tokens learned from the text"
    assert steps["retokenize"].step.to_config() == {"vocabulary": 20_000}


def retokenized(**changes):
    """A student with a learned vocabulary, and a teacher without it."""
    amount = {
        "tokens": 1e6,
        "learning_rate": 1e-4,
        "batch_tokens": 16384,
        "mask_fraction": 0.15,
        "warmup_fraction": 0,
    }
    distill = {"teacher": "teacher", "loss": {"mlm": 0.5, "hidden_cosine": 1}} | amount | changes
    return [{"retokenize": {"vocabulary": 20_000}}, {"distill": distill}]


def test_aligned_teacher_may_have_other_tokens(document, tmp_path, paper):
    document["steps"] = retokenized(align="mean")
    step = resolved(document, tmp_path, paper)["distill"].step
    assert step.to_config()["align"] == "mean"
    assert " at spans of text (mean), " in step.describe()
    document["steps"][0] = {"trim": {"tokens": 20_000}}
    assert resolved(document, tmp_path, paper)["distill"].step.align == "mean"


def test_config_without_alignment_is_as_before(document, tmp_path, paper):
    assert "align" not in resolved(document, tmp_path, paper)["distill"].step.to_config()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r"teacher 'teacher' has 119547 tokens, the student 20000; one text would be other tokens to each: "
         "distill before trim, or trim both, or add align: mean to losses of hidden states"),
        ({"align": "mean", "loss": {"mlm": 1, "logit_kl": 1}, "temperature": 2}, "align goes with mlm, hidden_cosine, "
         "centred_cosine, sentence_cosine, hidden_mse, embedding_mse, feature_mse, patient; got logit_kl, which "
         "compares token by token; remove one"),
        ({"align": "mean", "loss": {"relation_vv": 1}, "relation_split": 1}, "got relation_vv, which compares token by token"),
        ({"align": "first"}, "align"),
        ({"teacher": "retokenize", "align": "last"}, "align is used where teacher and student read other tokens only; remove it"),
    ],
)  # fmt: skip
def test_losses_that_need_one_vocabulary_are_refused(changes, message, document, tmp_path, paper):
    document["steps"] = retokenized(**changes)
    with pytest.raises(UsageError) as caught:
        resolved(document, tmp_path, paper)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_learned_vocabulary_may_be_larger(document, tmp_path, paper):
    document["steps"].append({"retokenize": {"vocabulary": 60_000}})
    assert resolved(document, tmp_path, paper)["retokenize"].shape.vocabulary == 60_000


RULES = {
    "40,000 tokens kept": ({"tokens": 40_000}, {"vocabulary": 40_000}),
    "the fewest tokens that make up 99.9 % of the text, at most 119,547 tokens kept": (
        {"coverage": 0.999}, {"vocabulary": 119_547, "rule": "coverage", "share": 0.999},
    ),
    "tokens in 0.05 % of the lines, at most 50,000 tokens kept": (
        {"line_fraction": "0.0005", "tokens": 50_000}, {"vocabulary": 50_000, "rule": "line_fraction", "share": 0.0005},
    ),
    "tokens that are 0.0001 % of the text, at most 119,547 tokens kept, with text of en": (
        {"probability": 1e-6, "languages": ["en"]},
        {"vocabulary": 119_547, "rule": "probability", "share": 1e-6, "languages": ["en"]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("words", RULES)
def test_trim_states_a_number_or_a_rule_with_the_most(words, document, tmp_path, paper):
    values, config = RULES[words]
    document["steps"] = [{"trim": values}]
    planned = resolved(document, tmp_path, paper)["trim"]
    assert planned.shape.vocabulary == config["vocabulary"]
    assert planned.step.to_config() == config
    assert planned.step.describe() == words


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "steps[0].trim: expected tokens, or one of coverage, document_fraction, line_fraction, probability; got none of "
         "them; add one"),
        ({"coverage": 0.9, "probability": 1e-6}, "steps[0].trim: expected one rule; got coverage and probability; remove all but one"),
        ({"coverage": 1.5}, "steps[0].trim.coverage: expected a share above 0, of at most 1, as 0.0005; got '1.5'"),
        ({"line_fraction": 0}, "steps[0].trim.line_fraction: expected a share above 0, of at most 1, as 0.0005; got '0'"),
        ({"tokens": 9, "languages": "en"}, "steps[0].trim.languages: expected languages, each once, as [en, de]; got 'en'"),
        ({"tokens": 9, "languages": ["en", "en"]}, "steps[0].trim.languages: expected languages, each once, as [en, de]; got"),
        ({"tokens": 9, "languages": []}, "steps[0].trim.languages: expected languages, each once, as [en, de]; got '[]'"),
    ],
)  # fmt: skip
def test_trim_without_one_clear_rule_is_refused(values, message, document, tmp_path, paper):
    document["steps"] = [{"trim": values}]
    with pytest.raises(UsageError) as caught:
        resolved(document, tmp_path, paper)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tokens_chosen_by_a_rule_are_not_the_teachers(document, tmp_path, paper):
    """Their number is not known before the text is counted, and may be less than the planned one."""
    distill = {"teacher": "teacher", "loss": {"logit_mse": 1}, "tokens": 1e6, "learning_rate": 1e-4,
               "batch_tokens": 4096, "mask_fraction": 0.15, "warmup_fraction": 0}  # fmt: skip
    document["steps"] = [{"trim": {"coverage": 0.999}}, {"distill": distill}]
    with pytest.raises(UsageError, match="the student 119547 others; one text would be other tokens to each"):
        resolved(document, tmp_path, paper)
    distill["teacher"] = "trim"
    assert resolved(document, tmp_path, paper)["distill"].shape.vocabulary == 119_547


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": {"feature_mse": 1, "mlm": 1}}, "steps[1].distill: progressive goes with losses of single layers (feature_mse, "
         "attention_score_mse, attention_mse, attention_kl); got mlm; weigh it in a distill step after this one"),
        ({"loss": {"patient": 1}}, "(feature_mse, attention_score_mse, attention_mse, attention_kl); got patient; weigh it"),
        ({"tokens": 5 * 16384}, "steps[1].distill: progressive expected a batch or more for each of 6 layers; got 5; raise tokens"),
        ({"progressive": 1}, "steps[1].distill.progressive: expected a fraction from 0 to below 1; got '1'"),
    ],
)  # fmt: skip
def test_layers_that_cannot_learn_one_by_one_are_refused(changes, message, document, tmp_path, paper):
    training = {
        "tokens": 1e6,
        "learning_rate": 1e-4,
        "batch_tokens": 16384,
        "mask_fraction": 0.15,
        "warmup_fraction": 0,
    }
    distill = {"teacher": "teacher", "loss": {"feature_mse": 1}, "progressive": 0.1} | training | changes
    document["steps"] = [{"shorten": {"layers": "6/12", "keep": "last"}}, {"distill": distill}]
    with pytest.raises(UsageError) as caught:
        resolved(document, tmp_path, paper)
    assert message in str(caught.value)


@pytest.mark.parametrize("step", ["trim", "retokenize"])
def test_small_teachers_scale_numbers_of_tokens(step, document, tmp_path, paper):
    field = {"trim": "tokens", "retokenize": "vocabulary"}[step]
    document["steps"] = [{step: {field: 40_000}}]
    scaled = paper.model_copy(update={"reference_vocabulary": 120_000})
    shape = MBERT.model_copy(update={"vocabulary": 6_000})
    assert resolved(document, tmp_path, scaled, shape)[step].shape.vocabulary == 2_000


def test_sequence_beyond_positions_is_refused(paper, document, tmp_path):
    shape = MBERT.model_copy(update={"positions": 128})
    with pytest.raises(
        HarnessError, match=r"sequence_length 512 is above the 128 the teacher's positions hold"
    ):
        resolved(document, tmp_path, paper, shape)


def test_family_without_value_is_refused(paper, document, tmp_path):
    document["steps"][1]["shorten"]["keep"] = {"bert": "last"}
    assert resolved(document, tmp_path, paper)["shorten"].shape.layers == 6
    with pytest.raises(UsageError, match="states no value for the model family 'xlm-roberta'; it has: bert"):
        resolved(document, tmp_path, paper, XLMR)


@pytest.mark.parametrize(
    ("keep", "ratio", "layers"),
    [
        ("strided", "6/12", [0, 2, 4, 6, 8, 10]),
        ("strided-last", "6/12", [1, 3, 5, 7, 9, 11]),
        ("spread", "6/12", [0, 2, 4, 7, 9, 11]),
        ("strided-last", "2/4", [1, 3]),
        ("spread", "2/4", [0, 3]),
        ("spread", "3/4", [0, 2, 3]),
        ("spread", "1/4", [0]),
        ("spread", "5/5", [0, 1, 2, 3, 4]),
    ],
)
def test_layer_names_follow_the_papers(keep, ratio, layers, tmp_path, mini):
    shape = MBERT.model_copy(update={"layers": int(ratio.partition("/")[2])})
    document = {"source": "here", "teacher": "mbert", "steps": [{"shorten": {"layers": ratio, "keep": keep}}]}
    steps = resolved(document, tmp_path, mini, shape)
    assert list(steps["shorten"].step.layers) == layers


def test_activation_checkpointing_reaches_every_step_with_text(paper):
    sparing = paper.model_copy(update={"activation_checkpointing": True})
    steps = resolve(load_recipe("gurgurov2025"), sparing, MBERT)
    sparing = {one.id for one in steps if one.step.to_config().get("activation_checkpointing")}
    assert sparing == {"adapt", "distill", "prune", "distill-2"}
