"""Trimming every kind of tokenizer: text over all of Unicode that needs no dropped token keeps its ids."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from harness.errors import HarnessError
from harness.models.loading.checkpoint import build_model, load_teacher, save_checkpoint
from harness.models.loading.tokenizer_json import read_tokenizer
from harness.models.tokenizers import (
    choose_tokens,
    count_characters,
    count_tokens,
    trim_vocabulary,
    vocabulary,
)
from harness.models.tokenizers.drawn_text import draw_texts
from harness.models.tokenizers.lost_characters import find_lost_characters


@pytest.fixture(scope="module")
def trimmed(configuration, lines, tmp_path_factory):
    """A configuration trimmed to the tokens of two languages, saved, and read again."""
    tokenizer = configuration.tokenizer
    text = [lines[0], lines[2]]
    counts, characters = count_tokens(tokenizer, text), count_characters(tokenizer, text)
    spec = vocabulary.read(tokenizer)
    needed = vocabulary.required(tokenizer, spec), vocabulary.character_ids(tokenizer, spec, characters)
    forced = len(np.union1d(*needed))
    size = min(max(forced, int((counts > 0).sum())) + 30, len(tokenizer) - 20)
    kept = choose_tokens(counts, size, tokenizer, characters)
    result = trim_vocabulary(configuration.model, tokenizer, kept, lines[:5])
    folder = tmp_path_factory.mktemp("trimmed")
    save_checkpoint(result.model, result.tokenizer, folder)
    specs = [vocabulary.read(one) for one in (tokenizer, result.tokenizer)]
    new = dict(zip(result.kept.tolist(), range(len(result.kept)), strict=True))
    return SimpleNamespace(
        name=configuration.name,
        old=Tokenizer.from_file(str(configuration.folder / "tokenizer.json")),
        small=Tokenizer.from_file(str(folder / "tokenizer.json")),
        folder=folder,
        result=result,
        new=new,
        unknown=tokenizer.unk_token_id,
        words=specs[0]["model"]["type"] == "WordPiece",
        bytes=vocabulary.falls_back_to_bytes(specs[0]),
        loss=find_lost_characters(*specs),
        pieces=[re.sub("^##|</w>$|▁", "", piece) for piece in tokenizer.get_vocab()],
        kept_pieces=[re.sub("^##|</w>$|▁", "", piece) for piece in result.tokenizer.get_vocab()],
    )


def check(trimmed, texts):
    """Compare the ids of texts; return how many kept theirs, changed them, and became unknown."""
    kept = changed = unknown = 0
    pairs = (one.encode_batch_fast(texts) for one in (trimmed.old, trimmed.small))
    for text, before, after in zip(texts, *pairs, strict=True):
        needs_dropped = not set(before.ids) <= trimmed.new.keys()
        newly_unknown = before.ids.count(trimmed.unknown) < after.ids.count(trimmed.new[trimmed.unknown])
        if not needs_dropped and not (trimmed.words and trimmed.unknown in before.ids):
            assert [trimmed.new[number] for number in before.ids] == after.ids, repr(text)
            kept += 1
        changed += needs_dropped
        if newly_unknown and trimmed.unknown not in before.ids:
            assert not trimmed.bytes, repr(text)
            normalizer = trimmed.old.normalizer
            characters = set(normalizer.normalize_str(text) if normalizer else text)
            assert characters & (trimmed.loss.dropped | trimmed.loss.fragile), repr(text)
            unknown += 1
    return kept, changed, unknown


def test_drawn_text_keeps_its_ids(trimmed, lines):
    texts = [*draw_texts(1000, 11, trimmed.pieces), *draw_texts(1000, 12, trimmed.kept_pieces), *lines]
    kept, changed, unknown = check(trimmed, texts)
    assert kept > 30
    assert changed > 30
    assert trimmed.bytes <= (unknown == 0)
    certificate = trimmed.result.certificate
    assert certificate.exact
    assert certificate.num_drawn_texts == 1000
    assert sum(certificate.dropped_characters.values()) == len(trimmed.loss.dropped)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_text_keeps_its_ids(trimmed, data):
    pieces = st.one_of(st.text(max_size=6), st.sampled_from(trimmed.pieces + trimmed.kept_pieces))
    words = data.draw(st.lists(pieces, min_size=1, max_size=6))
    check(trimmed, ["".join(words), " ".join(words)])


def test_stock_classes_have_the_ids_of_a_trimmed_folder(trimmed):
    texts = list(draw_texts(300, 13, trimmed.pieces))
    expected = [one.ids for one in trimmed.small.encode_batch_fast(texts)]
    for tokenizer in (AutoTokenizer.from_pretrained(trimmed.folder), read_tokenizer(trimmed.folder)):
        assert tokenizer(texts)["input_ids"] == expected
    assert trimmed.result.tokenizer(texts)["input_ids"] == expected


def test_dropped_characters_are_counted_by_script(trimmed):
    counts = trimmed.result.certificate.dropped_characters
    if trimmed.name.startswith("wordpiece") or trimmed.name in {"unigram_old", "unigram_never"}:
        assert {"Devanagari", "Hebrew"} & counts.keys()
    else:
        assert counts == {}, "bytes and single characters all stay"


def test_keep_list_without_a_byte_is_refused(configuration):
    tokenizer = configuration.tokenizer
    spec = vocabulary.read(tokenizer)
    if not vocabulary.byte_ids(spec):
        return
    kept = [number for number in range(len(tokenizer)) if number != tokenizer.convert_tokens_to_ids("<0x99>")]
    with pytest.raises(
        HarnessError, match=r"^trim: the keep-list lacks the byte '<0x99>', without which text"
    ):
        trim_vocabulary(configuration.model, tokenizer, kept)


def test_certificate_notices_dropped_bytes(configuration, monkeypatch, lines):
    """The fault of old: byte tokens were dropped like all others, and text with rare characters was lost."""
    if configuration.name not in {"unigram_bytes", "letters_gemma"}:
        return
    monkeypatch.setattr(vocabulary, "byte_ids", lambda _: set())
    tokenizer = configuration.tokenizer
    kept = choose_tokens(count_tokens(tokenizer, lines[:1]), 150, tokenizer)
    certificate = trim_vocabulary(configuration.model, tokenizer, kept, lines[:2]).certificate
    assert certificate.num_words_altered == 0
    assert not certificate.exact


def with_gaps(spec, step=7):
    """Spread the ids of a vocabulary, so that rows between those of tokens have none."""
    ids = {number: number + max(0, number - 10) // step for number in range(len(spec["model"]["vocab"]))}
    spec["model"]["vocab"] = {token: ids[number] for token, number in spec["model"]["vocab"].items()}
    for token in spec["added_tokens"]:
        token["id"] = ids.get(token["id"], token["id"])
    return spec


@pytest.mark.parametrize("added", [(), ("<entity>",)], ids=["", "added"])
@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_rows_between_tokens_are_dropped(kind, added, request, lines, tmp_path, shape_of, lively):  # noqa: PLR0917
    """Ids with gaps, as after tokens were taken out by hand: the rows go, and every text keeps its tokens."""
    source = request.getfixturevalue(kind)
    spec = with_gaps(json.loads(source.backend_tokenizer.to_str()))
    backend = Tokenizer.from_str(json.dumps(spec))
    ids = backend.get_vocab().values()
    backend.add_tokens([*added])
    rows = 1 + max(ids) + 5
    model = lively(build_model(shape_of("bert", rows), seed=1))
    model.save_pretrained(tmp_path)
    backend.save(str(tmp_path / "tokenizer.json"))
    roles = {role: str(token) for role, token in source.special_tokens_map.items()}
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps(roles | {"tokenizer_class": "PreTrainedTokenizerFast"})
    )
    if len({*backend.get_vocab().values()}) < len(backend.get_vocab()):
        with pytest.raises(HarnessError, match=r"^trim: expected an id of its own for each token; got"):
            load_teacher(tmp_path)
        return
    loaded = load_teacher(tmp_path)
    tokenizer, small = loaded.checkpoint.tokenizer, loaded.checkpoint.model
    assert loaded.dropped_rows == rows - len(backend.get_vocab())
    assert small.config.vocab_size == len(tokenizer) == len(backend.get_vocab())
    old, new = backend.get_vocab(), tokenizer.get_vocab()
    texts = [*lines, *(f"{line} {token} {line}" for line in lines[:3] for token in added)]
    for text in texts:
        assert tokenizer.tokenize(text) == backend.encode(text, add_special_tokens=False).tokens
    weights = [one.get_input_embeddings().weight for one in (model, small)]
    for token, number in old.items():
        assert weights[1][new[token]].equal(weights[0][number])


@pytest.mark.parametrize("words_at_once", [1, 1 << 18])
def test_tokens_are_counted_as_of_lines_tokenised_whole(configuration, lines, words_at_once, monkeypatch):
    monkeypatch.setattr("harness.models.tokenizers.counting._MOST_WORDS", words_at_once)
    tokenizer = configuration.tokenizer
    backend = tokenizer.backend_tokenizer
    added = [token.content for token in backend.get_added_tokens_decoder().values()][:20]
    texts = [*lines[:3], *draw_texts(400, 0, list(tokenizer.get_vocab())[:200]), "", " ", " a  b ", "▁a ▁"]
    texts += [f"{before}{token}{after}" for token in added for before in ("", "a ") for after in ("", "b c")]
    expected = np.zeros(len(tokenizer), np.int64)
    for encoding in backend.encode_batch_fast(texts, add_special_tokens=False):
        np.add.at(expected, np.asarray(encoding.ids, np.int64), 1)
    np.testing.assert_array_equal(count_tokens(tokenizer, texts), expected)
