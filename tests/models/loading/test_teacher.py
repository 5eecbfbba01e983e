"""Teachers as they are published: without an MLM head, with padded embeddings, in half precision."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    AutoModel,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    ElectraForMaskedLM,
    ElectraForPreTraining,
    GPT2Config,
    ModernBertConfig,
    ModernBertForMaskedLM,
    ModernBertForSequenceClassification,
    XLMRobertaConfig,
)

from harness.config.load import load_recipe, load_scale
from harness.config.teacher import find_teacher
from harness.errors import HarnessError
from harness.models.loading.checkpoint import load_checkpoint, load_teacher, save_checkpoint

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
MANY = {**SIZES, "max_position_embeddings": 64}
PUBLISHED = {
    "BERT, WordPiece": ("wordpiece", BertConfig, MANY),
    "BERT, Unigram": ("unigram", BertConfig, MANY),
    "XLM-R": ("unigram", XLMRobertaConfig, MANY | {"type_vocab_size": 1}),
    "DistilBERT": (
        "wordpiece",
        DistilBertConfig,
        {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "max_position_embeddings": 64},
    ),
    "Electra": ("wordpiece", ElectraConfig, MANY | {"embedding_size": 16}),
    "ModernBERT": ("bpe", ModernBertConfig, MANY | {"global_attn_every_n_layers": 2}),
}
PADDING_ROWS = 37
RECIPE, SCALE = load_recipe("trimmer2023"), load_scale("paper")


@pytest.fixture(params=PUBLISHED)
def published(request, tmp_path):
    """Save an encoder without a head, in fp16, with rows that no token has; return folder and tokenizer."""
    name, config_class, sizes = PUBLISHED[request.param]
    tokenizer = request.getfixturevalue(name)
    special = {
        f"{role}_token_id": getattr(tokenizer, f"{role}_token_id")
        for role in ("pad", "bos", "eos", "cls", "sep")
        if getattr(tokenizer, f"{role}_token_id", None) is not None
    }
    torch.manual_seed(5)
    config = config_class(vocab_size=len(tokenizer) + PADDING_ROWS, **sizes, **special)
    model = AutoModel.from_config(config).half()
    model.save_pretrained(tmp_path / "published")
    tokenizer.save_pretrained(tmp_path / "published")
    return tmp_path / "published", tokenizer


def test_published_encoder_becomes_a_masked_language_model(published, lines):
    folder, tokenizer = published
    loaded = load_teacher(folder)
    assert (loaded.new_head, loaded.dropped_rows) == (True, PADDING_ROWS)
    model = loaded.checkpoint.model
    assert model.get_input_embeddings().num_embeddings == len(tokenizer)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    plain = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    batch = tokenizer(lines[:5], return_tensors="pt", padding=True, truncation=True, max_length=40)
    with torch.no_grad():
        expected = plain(**batch).last_hidden_state
        states = model.base_model(**batch).last_hidden_state
        logits = model(**batch).logits
    assert torch.equal(states, expected)
    assert logits.shape == (*batch["input_ids"].shape, len(tokenizer))
    assert torch.isfinite(logits).all()


def test_new_head_is_the_same_each_time_and_tied(published, tmp_path):
    folder, _ = published
    one, two = (load_teacher(folder).checkpoint for _ in range(2))
    assert one.model.config.tie_word_embeddings
    state = two.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in one.model.state_dict().items())
    save_checkpoint(*one, tmp_path / "saved")
    again = load_checkpoint(tmp_path / "saved").model.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in one.model.state_dict().items())


def test_complete_checkpoint_is_taken_as_it_is(encoder, folder):
    loaded = load_teacher(folder)
    assert (loaded.new_head, loaded.dropped_rows) == (False, 0)
    state = loaded.checkpoint.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in encoder.model.state_dict().items())


@pytest.mark.parametrize(
    ("stock", "new_head"),
    [
        (ElectraForPreTraining, True),
        (ElectraForMaskedLM, False),
        (ModernBertForSequenceClassification, True),
        (ModernBertForMaskedLM, False),
    ],
)
def test_a_head_for_another_purpose_is_no_masked_language_head(stock, new_head, wordpiece, tmp_path):
    """Electra's discriminator, and ModernBERT's classifier, whose head has an MLM head's dense layer."""
    settings = {"embedding_size": 16} if stock.config_class is ElectraConfig else {"eos_token_id": None}
    ids = {"pad_token_id": 0, "bos_token_id": None, "cls_token_id": None, "sep_token_id": None}
    torch.manual_seed(5)
    model = stock(stock.config_class(vocab_size=len(wordpiece), **MANY, **settings, **ids)).eval()
    model.save_pretrained(tmp_path)
    wordpiece.save_pretrained(tmp_path)
    assert find_teacher(RECIPE, SCALE.with_teacher(str(tmp_path))).mlm_head != new_head
    loaded = load_teacher(tmp_path)
    assert loaded.new_head == new_head
    if not new_head:
        state = model.state_dict()
        assert all(
            torch.equal(value, state[name]) for name, value in loaded.checkpoint.model.state_dict().items()
        )


def test_tokenizer_with_more_tokens_than_rows_is_refused(wordpiece, tmp_path):
    config = BertConfig(vocab_size=len(wordpiece) - 1, **MANY)
    AutoModel.from_config(config).save_pretrained(tmp_path)
    wordpiece.save_pretrained(tmp_path)
    with pytest.raises(
        HarnessError, match="expected a tokenizer with one id for each of the 319 embedding rows"
    ):
        load_teacher(tmp_path)


def test_decoder_only_model_is_refused(bpe, tmp_path):
    config = GPT2Config(vocab_size=len(bpe), n_embd=16, n_layer=1, n_head=2)
    AutoModel.from_config(config).save_pretrained(tmp_path)
    bpe.save_pretrained(tmp_path)
    with pytest.raises(HarnessError, match=r"expected a model family of bert, .*; got 'gpt2'"):
        load_teacher(tmp_path)
