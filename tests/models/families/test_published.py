"""Configurations in the form of well-known encoders are read, and counted as the stock class has them."""

from __future__ import annotations

import json

import pytest
import torch

from harness.config.shape import Shape
from harness.models.families.table import LAYOUTS
from harness.models.loading.folder import ModelFolder
from harness.models.loading.settings import load_config
from harness.models.size import count_parameters

BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
BERT = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
}
ROBERTA = {
    **BASE,
    **BERT,
    "layer_norm_eps": 1e-5,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 1,
}
ELECTRA = {
    **BERT,
    "summary_activation": "gelu",
    "summary_last_dropout": 0.1,
    "summary_type": "first",
    "summary_use_proj": True,
}
MODERNBERT = {
    **BASE,
    "num_hidden_layers": 22,
    "intermediate_size": 1152,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "classifier_activation": "gelu",
    "classifier_bias": False,
    "classifier_dropout": 0.0,
    "classifier_pooling": "mean",
    "decoder_bias": True,
    "deterministic_flash_attn": False,
    "embedding_dropout": 0.0,
    "global_attn_every_n_layers": 3,
    "global_rope_theta": 160000.0,
    "gradient_checkpointing": False,
    "hidden_activation": "gelu",
    "initializer_cutoff_factor": 2.0,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-5,
    "local_attention": 128,
    "max_position_embeddings": 8192,
    "mlp_bias": False,
    "mlp_dropout": 0.0,
    "model_type": "modernbert",
    "norm_bias": False,
    "norm_eps": 1e-5,
    "repad_logits_with_grad": False,
    "sparse_pred_ignore_index": -100,
    "sparse_prediction": False,
}
DEBERTA = {
    **BASE,
    **BERT,
    "model_type": "deberta-v2",
    "layer_norm_eps": 1e-7,
    "relative_attention": True,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": "p2c|c2p",
    "max_relative_positions": -1,
    "position_biased_input": False,
    "type_vocab_size": 0,
}
PUBLISHED = {
    "mbert": {
        **BASE,
        **BERT,
        "model_type": "bert",
        "vocab_size": 119547,
        "directionality": "bidi",
        "pooler_fc_size": 768,
        "pooler_num_attention_heads": 12,
        "pooler_num_fc_layers": 3,
        "pooler_size_per_head": 128,
        "pooler_type": "first_token_transform",
    },
    "xlm-roberta-base": {**ROBERTA, "model_type": "xlm-roberta", "vocab_size": 250002, "output_past": True},
    "roberta-base": {**ROBERTA, "model_type": "roberta", "vocab_size": 50265},
    "camembert-base": {**ROBERTA, "model_type": "camembert", "vocab_size": 32005, "output_past": True},
    "distilbert-multilingual": {
        "model_type": "distilbert",
        "activation": "gelu",
        "attention_dropout": 0.1,
        "dim": 768,
        "dropout": 0.1,
        "hidden_dim": 3072,
        "initializer_range": 0.02,
        "max_position_embeddings": 512,
        "n_heads": 12,
        "n_layers": 6,
        "output_past": True,
        "pad_token_id": 0,
        "qa_dropout": 0.1,
        "seq_classif_dropout": 0.2,
        "sinusoidal_pos_embds": False,
        "tie_weights_": True,
        "vocab_size": 119547,
    },
    "electra-base": {**BASE, **ELECTRA, "model_type": "electra", "embedding_size": 768, "vocab_size": 30522},
    "electra-small": {
        **ELECTRA,
        "model_type": "electra",
        "embedding_size": 128,
        "hidden_size": 256,
        "num_hidden_layers": 12,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
        "vocab_size": 30522,
    },
    "modernbert-base": {
        **MODERNBERT,
        "vocab_size": 50368,
        "local_rope_theta": 10000.0,
        "position_embedding_type": "absolute",
        "bos_token_id": 50281,
        "cls_token_id": 50281,
        "eos_token_id": 50282,
        "pad_token_id": 50283,
        "sep_token_id": 50282,
        "reference_compile": True,
    },
    "mmbert-base": {
        **MODERNBERT,
        "vocab_size": 256000,
        "local_rope_theta": 160000.0,
        "position_embedding_type": "sans_pos",
        "bos_token_id": 2,
        "cls_token_id": 1,
        "eos_token_id": 1,
        "mask_token_id": 4,
        "pad_token_id": 0,
        "sep_token_id": 1,
    },
    "mdeberta-v3-base": {**DEBERTA, "vocab_size": 251000},
    "deberta-v3-small": {**DEBERTA, "num_hidden_layers": 6, "vocab_size": 128100, "pooler_hidden_size": 768}
    | {"pooler_dropout": 0, "pooler_hidden_act": "gelu"},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configuration_is_read_and_counted(name, tmp_path):
    written = PUBLISHED[name]
    config = load_config(ModelFolder(tmp_path, name, json.loads(json.dumps(written))))
    with torch.device("meta"):
        model = LAYOUTS[config.model_type].model_class(config)
    shape = Shape.from_transformers(written)
    assert shape == Shape.from_transformers(config.to_dict())
    assert shape.num_parameters == sum(one.numel() for one in model.parameters())
    assert {part: size.parameters for part, size in count_parameters(model).items()} == shape.parameters()
