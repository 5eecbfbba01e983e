"""Student and teacher read one text as other tokens: spans, rows, masks, and losses of spans."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from harness.config.losses import DISTILL_LOSSES, find_unalignable
from harness.data.aligned_rows import align_lines, find_ends, number_spans, pack_aligned
from harness.data.batches import IGNORED, pack
from harness.errors import HarnessError
from harness.models.hidden_states import HiddenStates
from harness.models.tokenizers import train_unigram, train_wordpiece
from harness.train.language_model import training
from harness.train.language_model.batches import AlignedBatches, MaskedBatches
from harness.train.losses.objective import Objective, total_loss
from harness.train.losses.span_states import mark_spans, pool_spans
from harness.train.parts import BatchPart, compute_part_shares, count_units, split_rows

ALIGNABLE = [name for name in DISTILL_LOSSES if find_unalignable([name]) is None]
SENTENCES = (
    "Il-kelb jiġri fil-ġnien u l-qattusa torqod taħt is-siġra.",
    "  Pes beží  po záhrade\ta mačka spí — pod stromom… 12 345,6 🐈 ",
    "कुत्ता बगीचे में दौड़ता है।",
    "猫は木の下で寝ています。",
    "ﬁne ﬂour ½ Å",
    "",
)


@pytest.fixture(scope="module")
def lines(documents):
    return [line for document in documents for line in document]


@pytest.fixture(scope="module")
def bpe(lines):
    """A byte-level BPE tokenizer, whose tokens hold the space before a word and parts of characters."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<s>", "</s>", "<pad>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(lines, trainer)
    names = {"cls": "<s>", "sep": "</s>", "pad": "<pad>", "mask": "<mask>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, **{f"{role}_token": token for role, token in names.items()}
    )


@pytest.fixture(scope="module")
def tokenizers(tokenizer, lines, bpe):
    more = [*lines, *SENTENCES] * 2
    return {
        "wordpiece": tokenizer,
        "larger": train_wordpiece(more, 200, 64),
        "unigram": train_unigram(more, 125, 64),
        "bpe": bpe,
    }


PAIRS = [("larger", "wordpiece"), ("unigram", "wordpiece"), ("bpe", "unigram"), ("unigram", "bpe")]


def test_token_of_white_space_ends_with_the_next():
    ends = find_ends(" ab  c ", [(0, 3), (3, 4), (4, 5), (5, 6), (6, 7)])
    assert ends.tolist() == [3, 6, 6, 6, -1]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=12), st.lists(st.integers(0, 12), max_size=12))
def test_spans_are_the_common_ends(one, other):
    ends = [np.array(sorted(values), np.int64) for values in (one, other)]
    numbers, common = number_spans(*ends), sorted({*one} & {*other})
    for spans, own in zip(numbers, ends, strict=True):
        aligned = spans[spans >= 0]
        assert sorted(set(aligned.tolist())) == list(range(len(common)))
        assert (np.diff(aligned) >= 0).all()
        last = [own[spans == number].max() for number in range(len(common))]
        assert last == common
        assert (own[spans < 0] > max(common, default=-1)).all()


def test_equal_tokenizers_have_a_span_for_each_token(tokenizers, lines):
    tokenizer = tokenizers["unigram"]
    for line in align_lines(lines[:20], tokenizer, tokenizer):
        assert line.student.tolist() == line.teacher.tolist()
        assert line.student_spans.tolist() == line.teacher_spans.tolist() == list(range(line.num_spans))


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_every_word_that_both_end_is_made_of_whole_spans(pair, tokenizers, lines):
    both = [tokenizers[name] for name in pair]
    words = 0
    for line in [*lines[:60], *SENTENCES]:
        encoded = [one(line, add_special_tokens=False, return_offsets_mapping=True) for one in both]
        ends = [find_ends(line, one["offset_mapping"]) for one in encoded]
        spans = number_spans(*ends)
        for word in re.finditer(r"\S+", line):
            within = [
                {*numbers[(word.start() < own) & (own <= word.end())].tolist()}
                for numbers, own in zip(spans, ends, strict=True)
            ]
            if all(word.end() in own for own in ends):
                words += 1
                assert within[0] == within[1] != set()
                outside = [
                    {*numbers[(own <= word.start()) | (own > word.end())].tolist()}
                    for numbers, own in zip(spans, ends, strict=True)
                ]
                assert not within[0] & (outside[0] | outside[1])
    assert words > 200


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_rows_hold_the_same_text_in_order(pair, tokenizers, documents, tmp_path):
    student, teacher = (tokenizers[name] for name in pair)
    rows = pack_aligned(documents, student, teacher, 24, tmp_path)
    assert not list(tmp_path.iterdir())
    columns = (rows.student, rows.student_spans, rows.teacher, rows.teacher_spans)
    read = []
    for row in range(len(rows)):
        ids, spans, own, own_spans = (column[row] for column in columns)
        assert len(ids) == len(spans) <= 24
        assert len(own) == len(own_spans) <= 24
        assert (np.diff(spans) >= 0).all()
        assert {*spans.tolist()} == {*own_spans.tolist()} == {*range(spans[-1] + 1)}
        for tokenizer, tokens, numbers in ((student, ids, spans), (teacher, own, own_spans)):
            assert (tokens[0], tokens[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
            assert (numbers == 0).sum() == (numbers == numbers[-1]).sum() == 1
        assert letters(student, ids) == letters(teacher, own)
        read.append(letters(student, ids))
    assert "".join(read) == "".join("".join(line.split()) for document in documents for line in document)


def letters(tokenizer, ids):
    """Return the text of tokens without white space."""
    return re.sub(r"\s|##", "", tokenizer.decode(ids, skip_special_tokens=True))


def test_rows_never_join_documents(tokenizers, documents, tmp_path):
    rows = pack_aligned(documents, tokenizers["unigram"], tokenizers["wordpiece"], 40, tmp_path)
    whole = ["".join("".join(line.split()) for line in document) for document in documents]
    assert all(any(letters(tokenizers["unigram"], row) in one for one in whole) for row in rows.student)


def test_span_that_no_row_holds_is_left_out(tokenizers, tmp_path):
    document = ["kami tora", f"{'q' * 40} fasel"]
    rows = pack_aligned([document], tokenizers["bpe"], tokenizers["wordpiece"], 16, tmp_path)
    assert [letters(tokenizers["bpe"], row) for row in rows.student] == ["kamitora", "fasel"]


def test_same_share_of_rows_for_both(tokenizers, documents, tmp_path):
    rows = pack_aligned(documents, tokenizers["unigram"], tokenizers["wordpiece"], 24, tmp_path)
    half = rows.take(0.5)
    assert len(half) == len(half.teacher) == len(half.student_spans) == round(len(rows) / 2)
    assert [len(row) for row in half.student] == [len(row) for row in half.student_spans]


def test_rows_need_room(tokenizers, tmp_path):
    with pytest.raises(HarnessError, match=r"pack: expected a length of 3 or more"):
        pack_aligned([["ka"]], tokenizers["unigram"], tokenizers["wordpiece"], 2, tmp_path)


@pytest.fixture(scope="module")
def rows(tokenizers, documents, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    return pack_aligned(documents, tokenizers["larger"], tokenizers["wordpiece"], 24, folder)


def test_teacher_is_masked_where_the_student_is(rows, tokenizers, make_budget):
    student, teacher = tokenizers["larger"], tokenizers["wordpiece"]
    batches = AlignedBatches(rows, student, make_budget())
    masked_as_before = MaskedBatches(rows.student, student, make_budget())
    for index in (0, 5, len(batches) - 1):
        batch, before = batches[index], masked_as_before[index]
        assert all(torch.equal(batch[name], value) for name, value in before.items())
        for row, number in enumerate(batches.list_rows(index)):
            touched = {*batch["spans"][row][batch["labels"][row] != IGNORED].tolist()}
            assert -1 not in touched
            expected = [
                teacher.mask_token_id if span in touched else token
                for token, span in zip(
                    rows.teacher[number].tolist(), rows.teacher_spans[number].tolist(), strict=True
                )
            ]
            padding = batch["teacher_input_ids"].shape[1] - len(expected)
            assert batch["teacher_input_ids"][row].tolist() == expected + [teacher.pad_token_id] * padding
            assert batch["teacher_attention_mask"][row].sum() == len(expected)


def test_pooling_by_hand():
    spans_BL = torch.tensor([[0, 1, 1, 2], [0, 1, -1, -1]])
    states_BLD = torch.arange(8.0).view(2, 4, 1)
    states = HiddenStates((states_BLD,), (), (), (), 1)
    assert mark_spans(spans_BL).tolist() == [[True, True, True], [True, True, False]]
    mean, last = (pool_spans(states, spans_BL, way).hidden_states[0][..., 0] for way in ("mean", "last"))
    assert mean.tolist() == [[0, 1.5, 3], [4, 5, 0]]
    assert last.tolist() == [[0, 2, 3], [4, 5, 0]]


@pytest.fixture
def pair(make_model, tokenizers):
    """A student and a teacher with other tokens."""
    return SimpleNamespace(
        student=make_model(vocabulary=len(tokenizers["larger"])),
        teacher=make_model(seed=2, vocabulary=len(tokenizers["wordpiece"])),
    )


@pytest.mark.parametrize("way", ["mean", "last"])
@pytest.mark.parametrize("name", ALIGNABLE)
def test_loss_of_equal_tokens_is_the_ordinary_loss(name, way, make_model, batch):
    student, teacher = make_model(), make_model(seed=2)
    attended_BL = batch["attention_mask"].bool()
    spans_BL = (attended_BL.cumsum(1) - 1).masked_fill(~attended_BL, -1)
    same = {f"teacher_{one}": batch[one] for one in ("input_ids", "attention_mask")}
    aligned = batch | same | {"spans": spans_BL, "teacher_spans": spans_BL}
    # without a teacher mlm alone is no distillation, but its loss is the same
    expected, _ = total_loss(Objective({name: 1.0}), student, teacher, batch)
    loss, _ = total_loss(Objective({name: 1.0}, align=way), student, teacher, aligned)
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("way", ["mean", "last"])
def test_cosine_of_spans_by_hand(way, pair, rows, tokenizers, make_budget):
    batch = AlignedBatches(rows, tokenizers["larger"], make_budget())[3]
    loss, _ = total_loss(Objective({"hidden_cosine": 1.0}, align=way), pair.student, pair.teacher, batch)
    own = {"input_ids": batch["teacher_input_ids"], "attention_mask": batch["teacher_attention_mask"]}
    given = {name: batch[name] for name in own}
    with torch.no_grad():
        states = [
            model.base_model(**one).last_hidden_state
            for model, one in ((pair.student, given), (pair.teacher, own))
        ]
    distances = []
    for row in range(len(batch["spans"])):
        for span in range(int(batch["spans"][row].max()) + 1):
            chosen = [
                one[row][batch[spans][row] == span]
                for one, spans in zip(states, ("spans", "teacher_spans"), strict=True)
            ]
            one, other = (tokens.mean(0) if way == "mean" else tokens[-1] for tokens in chosen)
            distances.append(1 - torch.cosine_similarity(one, other, dim=0))
    torch.testing.assert_close(loss.detach(), torch.stack(distances).mean())


def test_parts_of_a_batch_add_up(pair, rows, tokenizers, make_budget):
    names = [name for name in ALIGNABLE if name not in {"centred_cosine", "sentence_cosine"}]
    objective = Objective(dict.fromkeys(names, 0.5), align="mean")
    batch = AlignedBatches(rows, tokenizers["larger"], make_budget())[3]
    whole, _ = total_loss(objective, pair.student, pair.teacher, batch)
    counts = count_units(batch)
    parts = list(split_rows(batch, batch["input_ids"].shape[1]))
    losses = [
        total_loss(
            objective, pair.student, pair.teacher, one, part=BatchPart(compute_part_shares(one, counts))
        )[0]
        for one in parts
    ]
    assert len(parts) > 1
    torch.testing.assert_close(torch.stack(losses).sum(), whole)


def test_student_learns_the_states_of_a_teacher_with_other_tokens(  # noqa: PLR0917
    pair, rows, tokenizers, make_budget, weights_of, tmp_path
):
    teacher_before = weights_of(pair.teacher)
    trained = training.train(
        pair.student,
        tokenizers["larger"],
        rows,
        objective=Objective({"mlm": 0.5, "hidden_cosine": 1.0}, align="mean"),
        teacher=pair.teacher,
        budget=make_budget(tokens=2400, device_tokens=24),
        folder=tmp_path,
        progress=lambda *_: None,
    )
    losses = [one["loss"] for one in trained["losses"]]
    assert losses[-1] < 0.95 * losses[0]
    assert all(torch.equal(value, teacher_before[name]) for name, value in pair.teacher.state_dict().items())


def test_projection_joins_widths_of_spans(make_model, rows, tokenizers, make_budget, tmp_path):
    student = make_model(vocabulary=len(tokenizers["larger"]), hidden=12)
    training.train(
        student,
        tokenizers["larger"],
        rows,
        objective=Objective({"feature_mse": 1.0, "hidden_mse": 1.0}, align="last", projection=True),
        teacher=make_model(seed=2, vocabulary=len(tokenizers["wordpiece"])),
        budget=make_budget(tokens=300),
        folder=tmp_path,
        progress=lambda *_: None,
    )


@pytest.mark.parametrize("name", ["logit_kl", "relation_qq", "attention_kl"])
def test_losses_that_compare_token_by_token_are_refused(name):
    with pytest.raises(HarnessError, match=rf"distill: align goes with mlm, .*; got {name}, which compares"):
        Objective({name: 1.0}, temperature=2.0, relation_split=1, align="mean")


def test_rows_of_one_tokenizer_are_those_of_pack(tokenizers, documents, tmp_path):
    tokenizer = tokenizers["wordpiece"]
    rows = pack_aligned(documents, tokenizer, tokenizer, 24, tmp_path)
    packed = pack(documents, tokenizer, 24)
    assert [row.tolist() for row in rows.student] == [row.tolist() for row in packed]
