"""Every recipe that ships makes the shape that its paper states; each number has its source."""

from __future__ import annotations

import pytest

from harness.config import KNOWN_TEACHERS, list_recipes, load_recipe, load_scale, resolve, show
from harness.config.load import vary
from harness.errors import UsageError

MBERT, XLMR = (KNOWN_TEACHERS[name].shape for name in ("mbert", "xlmr"))

EXACT = {
    ("gurgurov2025", "mbert"): (22_812_376, "Gurgurov et al. 2025: 312 wide, 40,000 tokens"),
    ("trimmer2023", "xlmr"): (109_115_186, "model card vocabtrimmer/xlm-roberta-base-trimmed-fr-30000"),
    ("trimmer2023@5k", "xlmr"): (89_890_186, "model card vocabtrimmer/xlm-roberta-base-trimmed-en-5000"),
    ("trimmer2023@10k", "xlmr"): (93_735_186, "model card vocabtrimmer/xlm-roberta-base-trimmed-pt-10000"),
    ("trimmer2023@15k", "xlmr"): (97_580_186, "model card vocabtrimmer/xlm-roberta-base-trimmed-fr-15000"),
    ("trimmer2023@60k", "xlmr"): (132_185_186, "model card vocabtrimmer/xlm-roberta-base-trimmed-pt-60000"),
}
"""Counted by their authors as here: the weights of the ForMaskedLM class."""

MILLIONS = {
    ("cruz2025@tiny", "mbert"): (42.2, "configs/tiny_config.json of the authors; the paper's dBERT tiny"),
    ("cruz2025", "mbert"): (135.4, "configs/base_config.json of the authors"),
    ("eliquare2023", "mbert"): (66.0, "the paper's 66 M with its vocabulary"),
    ("eliquare2023@pre", "mbert"): (66.0, "the same size, trimmed before distilling"),
    ("geotrend2020@en-fr", "mbert"): (112.0, "README of Geotrend-research/smaller-transformers"),
    ("geotrend2020@15lang", "mbert"): (141.1, "the same table: 141 M"),
}


@pytest.fixture(scope="module")
def paper():
    return load_scale("paper")


def last(name, teacher, scale):
    return show(load_recipe(name), KNOWN_TEACHERS[teacher].shape, scale)[-1]


@pytest.mark.parametrize(("name", "teacher"), EXACT)
def test_sizes_equal_published_ones(name, teacher, paper):
    assert last(name, teacher, paper).parameters == EXACT[name, teacher][0]


@pytest.mark.parametrize(("name", "teacher"), MILLIONS)
def test_sizes_round_to_published_ones(name, teacher, paper):
    assert round(last(name, teacher, paper).parameters / 1e6, 1) == MILLIONS[name, teacher][0]


def without_head(shape):
    """The parameters of the encoder class alone, with its pooler: what model cards often count."""
    return shape.num_parameters - shape.parameters()["mlm_head"] + shape.hidden * (shape.hidden + 1)


OWN_VOCABULARY = {
    ("minilm2021", "xlmr", 250_002): (107.0, "README of microsoft/unilm, minilm: L6xH384 mMiniLMv2, 107M"),
    ("minilm2021", "mbert", 30_522): (22.7, "model card of MiniLM-L6-H384-uncased: 22.7 M"),
    ("tinybert2020", "mbert", 30_522): (14.4, "table 1 of the paper: 14.5 M; config.json has 14,350,248"),
    ("tinybert2020@6", "mbert", 30_522): (67.0, "table 1 of the paper: 67.0 M"),
    ("pkd2019", "mbert", 30_522): (67.0, "table 1 of TinyBERT: BERT6-PKD, 67.0 M"),
}
"""By recipe, teacher and the vocabulary of the authors' model: millions."""


UNSIZED = {
    "bistil2023": "the paper's students hold the tokens of two languages",
    "mobilebert2020": "the recipe lacks the stacked FFN and the factorised embeddings that the 25.3 M count",
    "privileged2024": "the paper is on where a student begins, at several depths",
    "compact2026": "ours",
}
"""Recipes whose size no publication states, and why."""


def test_every_recipe_has_a_size_or_a_reason():
    sized = {name.partition("@")[0] for name, *_ in (*EXACT, *MILLIONS, *OWN_VOCABULARY)}
    assert sized | {"distilbert2019"} | UNSIZED.keys() == set(list_recipes())
    assert not sized & UNSIZED.keys()


@pytest.mark.parametrize(("name", "teacher", "vocabulary"), OWN_VOCABULARY)
def test_sizes_with_authors_vocabulary(name, teacher, vocabulary, paper):
    shape = last(name, teacher, paper).shape.model_copy(update={"vocabulary": vocabulary})
    assert round(without_head(shape) / 1e6, 1) == OWN_VOCABULARY[name, teacher, vocabulary][0]


def test_distilmbert_size_without_token_types(paper):
    """The card says 134 M; ``DistilBertModel`` has 134,734,080, no pooler and no token types."""
    shape = last("distilbert2019", "mbert", paper).shape
    pooler, types = 768 * 769, 2 * 768
    assert without_head(shape) - pooler - types == 134_734_080


def test_smallest_geotrend_saves_45_percent(paper):
    saved = 1 - last("geotrend2020", "mbert", paper).parameters / MBERT.num_parameters
    assert round(saved, 2) == 0.45


@pytest.mark.parametrize("name", ["mbert", "xlmr", "mini", "small"])
def test_every_variant_fits_every_teacher(name, paper):
    scale = paper if name in KNOWN_TEACHERS else load_scale(name)
    shape = KNOWN_TEACHERS[name].shape if name in KNOWN_TEACHERS else scale.teacher.pretrain.shape
    for base in list_recipes():
        for one in (base, *(f"{base}@{variant}" for variant in load_recipe(base).variants)):
            planned = resolve(load_recipe(one), scale, shape)
            unknown = planned[0].step.has_own_tokens and len(planned) == 1  # known when the text was counted
            assert planned[-1].shape.num_parameters < shape.num_parameters + unknown


@pytest.mark.parametrize(
    ("recipe", "layers"),
    [("distilbert2019", [0, 2, 4, 7, 9, 11]), ("eliquare2023", [0, 2, 4, 6, 8, 10])],
)
def test_layers_are_those_of_the_papers(recipe, layers, paper):
    steps = {step.id: step for step in resolve(load_recipe(recipe), paper, MBERT)}
    assert list(steps["shorten"].step.layers) == layers


def steps_of(name, scale, shape=MBERT):
    """Return the resolved steps of a recipe by id."""
    return {one.id: one.step for one in resolve(load_recipe(name), scale, shape)}


def test_tokens_are_chosen_by_the_shares_of_the_papers(paper):
    chosen = {
        name: (trim.rule, trim.share, trim.languages)
        for name in ("eliquare2023@sentences", "geotrend2020@documents", "bistil2023@probability")
        for trim in [steps_of(name, paper)["trim"]]
    }
    assert list(chosen.values()) == [
        ("line_fraction", 5e-4, ()),
        ("document_fraction", 5e-5, ()),
        ("probability", 1e-6, ("en",)),
    ]


def test_losses_are_those_of_the_papers(paper):
    step = steps_of("eliquare2023", paper)["distill"]
    assert step.loss == {"logit_kl": 5.0, "hidden_cosine": 1.0, "mlm": 2.0}
    training = step.training
    assert (step.temperature, training.mask_smoothing, training.epochs) == (2.0, 0.7, 10)
    assert (training.learning_rate, training.batch_tokens) == (5e-4, 1600 * 32)
    ran = steps_of("cruz2025@as-run", paper)["distill"]
    assert set(ran.loss) == {"attention_score_mse", "feature_mse", "embedding_mse"}
    assert ran.temperature is None
    assert ran.projection == "learned"


def test_task_distillation_is_that_of_the_papers(paper):
    kept, tuned = steps_of("pkd2019", paper).values()
    assert kept.layers == (0, 1, 2, 3, 4, 5)
    assert tuned.layers == "uniform"
    assert set(tuned.loss) == {"labels", "class_kl", "patient"}
    assert steps_of("pkd2019@last", paper)["tune"].layers == "last"
    mse, kl, from_base = (
        steps_of(f"privileged2024{variant}", paper, XLMR)["tune"] for variant in ("", "@kl", "@from-base")
    )
    assert (mse.teacher, mse.method, mse.loss) == ("teacher", "full", {"class_mse": 1.0})
    assert (kl.loss, kl.temperature) == ({"class_kl": 1.0}, 1.0)
    assert mse.kept_layers == kl.kept_layers == steps_of("privileged2024", paper, XLMR)["shorten"].layers
    assert from_base.kept_layers is None


def test_mobilebert_learns_layer_by_layer_before_it_learns_logits(paper):
    plain, steps = steps_of("mobilebert2020", paper), steps_of("mobilebert2020@progressive", paper)
    transfer, logits = steps["distill-2"], steps["distill-3"]
    assert (set(transfer.loss), transfer.progressive) == ({"feature_mse", "attention_kl"}, 0.1)
    assert (logits.loss, logits.progressive) == ({"mlm": 0.5, "logit_kl": 0.5}, None)
    assert transfer.training.tokens / logits.training.tokens == 240_000 / 500_000
    assert "progressive" not in plain["distill"].to_config()
    assert " layer by layer, " in transfer.describe()


def test_tinybert_learns_the_layers_of_a_task_as_those_of_the_text(paper):
    steps = steps_of("tinybert2020@6-taught", paper)
    assert steps["tune"].loss == {"class_kl": 1.0, **steps["distill"].loss}
    assert steps["tune"].layers == steps["distill"].layers == "uniform"
    assert steps["blank"].shape.hidden == MBERT.hidden, "no projection is needed on the task"


def test_bistil_weights_follow_the_papers_means(paper):
    steps = steps_of("bistil2023", paper)
    assert steps["shorten"].layers == (1, 3, 5, 7, 9, 11)
    for step in (steps["distill"], steps["tune"]):
        loss = step.loss
        assert loss["feature_mse"] / loss["embedding_mse"] == pytest.approx(6, rel=2e-3)
        assert loss["feature_mse"] + loss["embedding_mse"] == loss["attention_mse"] == 1
    assert steps["tune"].loss["class_kl"] * steps["tune"].temperature ** 2 == 1
    assert (steps["tune"].method, steps["tune"].density) == ("sft", 0.08)
    whole = steps_of("bistil2023@paper", paper)
    assert (whole["adapt"].density, whole["trim"].rule, whole["trim"].share) == (0.08, "probability", 1e-6)
    assert load_recipe("bistil2023@paper").task_language == "en"
    training = steps["distill"].training
    assert training.tokens == 200_000 * training.batch_tokens


@pytest.mark.parametrize(
    ("steps", "ids"),
    [
        (["trim", "shorten"], ["trim", "shorten"]),
        (["trim", {"trim": {"tokens": "1/2"}}], ["trim", "trim-2"]),
        ([{"blank": {"layers": "1/2", "width": "1/2", "ffn": "1/2"}}], ["blank"]),
    ],
)
def test_variant_may_reorder_steps(steps, ids):
    assert [step.id for step in vary("here", load_recipe("eliquare2023"), {"steps": steps}).steps] == ids


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"steps": ["trimm"]}, "here: steps: unknown step 'trimm'; there are: shorten, distill, trim"),
        ({"steps": []}, "here: steps: expected a list, as [trim, shorten]; got '[]'"),
        ({"steps": ["trim", "trim"]}, "here: steps: 'trim' is given twice; write the second one in full"),
        ({"steps": [{"trimm": {}}]}, "here: steps: steps[0]: unknown step 'trimm'"),
        ({"steps": ["trim"], "shorten.keep": "last"}, "here: unknown step 'shorten'; there are: trim"),
        ({"distill.temprature": 2}, "here: steps[1].distill: unknown key 'temprature'"),
        ({"trim": 3}, "here: expected step.key, as narrow.width; got 'trim'"),
        ({"task_language": ["en"]}, "here: task_language: expected a language or null; got '['en']'"),
        ({"source_language": 3}, "here: source_language: expected a language or null; got '3'"),
    ],
)
def test_variant_with_unknown_name_is_refused(changes, line):
    with pytest.raises(UsageError) as refused:
        vary("here", load_recipe("eliquare2023"), changes)
    assert str(refused.value).startswith(line)
