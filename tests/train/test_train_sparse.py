"""Sparse fine-tuning: the weights that are chosen, and that no other weight moves."""

from __future__ import annotations

import pytest
import torch

from harness.models.loading import checkpoint
from harness.train.finetuning.finetune import finetune, load_task_model
from harness.train.finetuning.protocol import Protocol
from harness.train.finetuning.sparse import choose_most_moved, copy_encoder_weights

PROTOCOL = Protocol(
    epochs=2,
    learning_rate=5e-3,
    batch_size=8,
    warmup_fraction=0.1,
    weight_decay=0.1,
    max_length=16,
    precision="fp32",
    method="sft",
    density=0.05,
)


@pytest.fixture
def folder(make_model, tokenizer, tmp_path):
    checkpoint.save_checkpoint(make_model(), tokenizer, tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def tune(folder, tokenizer, sorted_texts, tmp_path):
    def tune(**changes):
        return finetune(
            folder,
            tokenizer,
            sorted_texts,
            protocol=Protocol(**(vars(PROTOCOL) | changes)),
            seed=1,
            score=lambda _: 0.0,
            folder=tmp_path / "scratch",
        )

    return tune


def test_the_most_moved_weights_of_all_tensors_are_chosen():
    before = {"a": torch.tensor([0.0, 0.0, 0.0]), "b": torch.tensor([[1.0], [1.0]])}
    after = {"a": torch.tensor([0.1, -0.9, 0.2]), "b": torch.tensor([[1.5], [0.9]])}
    chosen = choose_most_moved(before, after, 0.4)
    assert chosen["a"].tolist() == [False, True, False]
    assert chosen["b"].tolist() == [[True], [False]]
    assert sum(int(one.sum()) for one in choose_most_moved(before, after, 1e-9).values()) == 1


def test_the_chosen_share_and_the_head_move_alone(tune, folder, sorted_texts):
    start = copy_encoder_weights(load_task_model(folder, sorted_texts))
    tuned = tune()
    moved = sum(
        int((value != start[name]).sum()) for name, value in copy_encoder_weights(tuned.model).items()
    )
    places = sum(value.numel() for value in start.values())
    head = sum(one.numel() for one in tuned.model.parameters()) - places
    assert tuned.num_trained == head + round(0.05 * places)
    assert 0 < moved <= round(0.05 * places)
    assert type(tuned.model).__name__ == "BertForSequenceClassification"


def test_a_density_of_one_is_full_finetuning(tune):
    sparse, full = (tune(**changes).model.state_dict() for changes in ({"density": 1.0}, {"method": "full"}))
    assert all(torch.allclose(sparse[name], full[name], atol=1e-5) for name in full)


def test_sparse_finetuning_repeats_exactly(tune):
    one, other = (tune().model.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_protocol_settings_contain_the_density_alone():
    assert PROTOCOL.settings["density"] == 0.05
    assert {"rank", "reduction"}.isdisjoint(PROTOCOL.settings)
    assert "density" not in Protocol(**(vars(PROTOCOL) | {"method": "lora"})).settings
