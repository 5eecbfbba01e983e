"""Packing, batches by length, padding and masking: what they promise, tried on drawn inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from harness.data.batches import IGNORED, Packed, bucket_batches, collate, mask, pack, special_positions
from harness.errors import HarnessError

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNK, CLS, SEP, MASK = range(5)
VOCABULARY = 40


def tokenizer(**names: str) -> Any:
    """Return a tokenizer of whole words: ``w5`` is id 5."""
    vocabulary = dict(zip(SPECIAL, range(5), strict=True)) | {f"w{one}": one for one in range(5, VOCABULARY)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    names = names or {"cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", mask_token="[MASK]", **names
    )


def line(*ids: int) -> str:
    return " ".join(f"w{one}" for one in ids)


def rows(packed: Packed) -> list[list[int]]:
    return [packed[index].tolist() for index in range(len(packed))]


def test_lines_are_joined_while_they_fit_and_never_across_documents() -> None:
    packed = pack([[line(5, 6), line(7), line(8, 9)], [line(10)]], tokenizer(), 5)
    assert rows(packed) == [[CLS, 5, 6, 7, SEP], [CLS, 8, 9, SEP], [CLS, 10, SEP]]
    assert packed.ids.dtype == np.int32
    assert packed.lengths.tolist() == [5, 4, 3]


def test_long_lines_are_cut_and_the_last_piece_is_joined() -> None:
    packed = pack([[line(5), line(*range(6, 13)), line(13)]], tokenizer(), 5)
    assert rows(packed) == [[CLS, 5, SEP], [CLS, 6, 7, 8, SEP], [CLS, 9, 10, 11, SEP], [CLS, 12, 13, SEP]]


def test_empty_lines_and_documents_leave_no_row() -> None:
    assert rows(pack([[""], [], ["", line(5, 6, 7), ""]], tokenizer(), 5)) == [[CLS, 5, 6, 7, SEP]]
    assert rows(pack([[line(5)], ["", line(6)]], tokenizer(), 5)) == [[CLS, 5, SEP], [CLS, 6, SEP]]
    assert len(pack([], tokenizer(), 5)) == 0


def test_rows_begin_with_bos_and_end_with_eos_where_there_is_no_cls() -> None:
    assert rows(pack([[line(9)]], tokenizer(bos_token="w5", eos_token="w6"), 5)) == [[5, 9, 6]]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.lists(st.integers(5, VOCABULARY - 1), max_size=9), max_size=6), max_size=5))
def test_no_token_is_lost_and_no_row_is_too_long(documents: list[list[list[int]]]) -> None:
    packed = pack([[line(*ids) for ids in one] for one in documents], tokenizer(), 6)
    inner = [one for row in rows(packed) for one in row[1:-1]]
    assert inner == [one for document in documents for ids in document for one in ids]
    assert all(3 <= len(row) <= 6 and row[0] == CLS and row[-1] == SEP for row in rows(packed))


def test_packing_in_several_calls_returns_the_same_rows() -> None:
    documents = [[line(5 + (one + two) % 30) for two in range(7)] for one in range(1500)]
    whole = rows(pack(documents, tokenizer(), 8))
    parts = [pack(documents[start : start + 500], tokenizer(), 8) for start in (0, 500, 1000)]
    assert whole == [row for part in parts for row in rows(part)]
    assert len(whole) == 3000


def test_mapped_rows_are_those_in_memory_and_leave_no_file(tmp_path: Path) -> None:
    documents = [
        [f"w{number % 90} " * (number % 40) for number in range(document % 7)] for document in range(900)
    ]
    for read in (documents, []):
        mapped, held = pack(read, tokenizer(), 16, tmp_path), pack(read, tokenizer(), 16)
        np.testing.assert_array_equal(mapped.ids, held.ids)
        np.testing.assert_array_equal(mapped.offsets, held.offsets)
    assert list(tmp_path.iterdir()) == []


def test_packed_rows_are_saved_and_loaded_without_pickle(tmp_path: Path) -> None:
    packed = pack([[line(5, 6), line(7)]], tokenizer(), 4)
    packed.save(tmp_path / "rows.npz")
    assert rows(Packed.load(tmp_path / "rows.npz")) == rows(packed)


@pytest.mark.parametrize("raw", [b"", b"no zip", None])
def test_an_unreadable_file_of_rows_is_refused(tmp_path: Path, raw: bytes | None) -> None:
    path = tmp_path / "rows.npz"
    if raw is not None:
        path.write_bytes(raw)
    with pytest.raises(HarnessError, match=r"rows\.npz: expected packed rows; got '.*'; pack again"):
        Packed.load(path)


def test_a_length_without_room_is_refused() -> None:
    with pytest.raises(HarnessError, match=r"pack: expected a length of 3 or more .*; got 2"):
        pack([["w5"]], tokenizer(), 2)


def test_a_tokenizer_without_frame_is_refused() -> None:
    with pytest.raises(HarnessError, match=r"pack: expected a tokenizer with \[CLS\] and \[SEP\]"):
        pack([["w5"]], tokenizer(cls_token="[CLS]"), 8)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 64), max_size=200), st.integers(0, 9), st.integers(0, 9), st.sampled_from([1, 8])
)
def test_batches_have_each_row_once_within_the_budget(
    lengths: list[int], seed: int, epoch: int, multiple: int
) -> None:
    batches = bucket_batches(lengths, 128, seed, epoch, multiple=multiple)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = -(-max(lengths[index] for index in batch) // multiple) * multiple
        assert 0 < len(batch) * longest <= 128
    assert list(batches) == list(bucket_batches(lengths, 128, seed, epoch, multiple=multiple))


def test_batches_pad_little_and_fill_their_budget() -> None:
    lengths = np.random.default_rng(0).lognormal(3.5, 0.6, 20_000).clip(3, 512).astype(np.int64)
    batches = bucket_batches(lengths, 8192, 0, 0)
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert 1 - lengths.sum() / padded < 0.10
    assert padded / (8192 * len(batches)) > 0.90


def test_batches_differ_by_seed_and_epoch_and_are_shuffled() -> None:
    lengths = [3 + number % 50 for number in range(2000)]
    drawn = [list(bucket_batches(lengths, 512, *pair)) for pair in ((0, 0), (0, 1), (1, 0))]
    assert drawn[0] != drawn[1] != drawn[2] != drawn[0]
    means = [np.mean([lengths[index] for index in batch]) for batch in drawn[0]]
    assert abs(np.corrcoef(means, range(len(means)))[0, 1]) < 0.3


def test_the_budget_is_used_to_its_last_token() -> None:
    assert [len(batch) for batch in bucket_batches([8] * 64, 64, 0, 0)] == [8] * 8


def test_rows_of_one_length_do_not_stay_together() -> None:
    first, second = (bucket_batches([8] * 64, 64, 0, epoch) for epoch in (0, 1))
    assert {frozenset(batch) for batch in first}.isdisjoint(frozenset(batch) for batch in second)


def test_a_row_longer_than_the_budget_is_refused() -> None:
    with pytest.raises(
        HarnessError, match="batches: expected rows within the budget of 16 tokens; got one of 24"
    ):
        bucket_batches([3, 17], 16, 0, 0, multiple=8)


def test_rows_are_padded_to_the_longest_or_a_multiple() -> None:
    two = [np.array([2, 9, 3], np.int32), np.array([2, 9, 9, 9, 3], np.int32)]
    batch = collate(two, PAD)
    assert batch["input_ids"].tolist() == [[2, 9, 3, PAD, PAD], [2, 9, 9, 9, 3]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert batch["input_ids"].dtype == batch["attention_mask"].dtype == torch.int64
    assert collate(two, PAD, multiple=8)["input_ids"].shape == (2, 8)


def batch_of(num_rows: int, length: int, vocabulary: int = 1000) -> torch.Tensor:
    ids_BL = torch.randint(5, vocabulary, (num_rows, length), generator=torch.Generator().manual_seed(7))
    ids_BL[:, 0], ids_BL[:, -2], ids_BL[:, -1] = CLS, SEP, PAD
    return ids_BL


def masked(ids_BL: torch.Tensor, seed: int = 0, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    choices = {"fraction": 0.15, "vocabulary": 1000} | options
    return mask(
        ids_BL,
        special_positions(ids_BL, range(5)),
        mask_id=MASK,
        generator=torch.Generator().manual_seed(seed),
        random_exclude=range(5),
        **choices,
    )


def test_masking_keeps_its_shares() -> None:
    ids_BL = batch_of(400, 128)
    new_BL, labels_BL = masked(ids_BL)
    chosen_BL = labels_BL != IGNORED
    maskable = ids_BL.numel() - 3 * 400
    assert chosen_BL.sum() / maskable == pytest.approx(0.15, abs=0.01)
    assert torch.equal(labels_BL[chosen_BL], ids_BL[chosen_BL])
    assert torch.equal(new_BL[~chosen_BL], ids_BL[~chosen_BL])
    became, was = new_BL[chosen_BL], ids_BL[chosen_BL]
    shares = [(became == MASK), (became != MASK) & (became != was), became == was]
    assert [share.float().mean().item() for share in shares] == pytest.approx([0.8, 0.1, 0.1], abs=0.02)


def test_masking_never_touches_or_draws_special_tokens() -> None:
    ids_BL = batch_of(200, 64, vocabulary=8)
    new_BL, labels_BL = masked(ids_BL, fraction=0.9, vocabulary=8)
    special_BL = ids_BL < 5
    assert (labels_BL[special_BL] == IGNORED).all()
    assert torch.equal(new_BL[special_BL], ids_BL[special_BL])
    assert set(new_BL[~special_BL].unique().tolist()) == {MASK, 5, 6, 7}


def test_every_allowed_id_can_be_drawn() -> None:
    ids_BL = torch.full((200, 200), 5)
    new_BL, _ = masked(ids_BL, fraction=0.5, vocabulary=30)
    assert set(new_BL.unique().tolist()) == {MASK, *range(5, 30)}


def test_each_row_has_a_chosen_position_if_it_can() -> None:
    ids_BL = torch.tensor([[CLS, 9, SEP, PAD], [CLS, SEP, PAD, PAD], [CLS, 9, 9, SEP]])
    for seed in range(20):
        _, labels_BL = masked(ids_BL, seed, fraction=0.01)
        chosen_B = (labels_BL != IGNORED).sum(1)
        assert chosen_B[1] == 0
        assert chosen_B[0] == 1
        assert chosen_B[2] >= 1


def test_exact_masking_chooses_the_rounded_fraction_of_each_row() -> None:
    ids_BL = batch_of(50, 43)
    ids_BL[10:, 20:] = PAD
    _, labels_BL = masked(ids_BL, exact=True)
    assert (labels_BL != IGNORED).sum(1).tolist() == [6] * 10 + [3] * 40


def test_masking_depends_on_the_generator_alone_and_changes_no_input() -> None:
    ids_BL = batch_of(8, 32)
    before_BL = ids_BL.clone()
    first, again, other = masked(ids_BL, 1), masked(ids_BL, 1), masked(ids_BL, 2)
    assert torch.equal(ids_BL, before_BL)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first[1], other[1])


def test_a_share_of_the_rows_is_evenly_spread_and_whole() -> None:
    given = [[number] * (number + 1) for number in range(10)]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in given])])
    packed = Packed(np.concatenate(given).astype(np.int32), offsets.astype(np.int64))
    taken = packed.take(0.3)
    assert rows(taken) == [given[0], given[3], given[6]]
    assert len(packed.take(0.01)) == 1
