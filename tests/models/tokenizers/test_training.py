"""Training of tokenizers: the same bytes every time, the size asked for, and loaded by the stock class."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest
from transformers import AutoTokenizer

from harness.errors import HarnessError
from harness.models.tokenizers import train_unigram, train_wordpiece

TRAINERS = {"wordpiece": (train_wordpiece, 320), "unigram": (train_unigram, 200)}
PROGRAM = """
import sys
from harness.models.tokenizers import train_unigram, train_wordpiece
folder = sys.argv[1]
lines = open(folder + "/text", encoding="utf-8").read().split("\\n")
train_wordpiece(lines, 320).save_pretrained(folder + "/wordpiece")
train_unigram(lines, 200).save_pretrained(folder + "/unigram")
"""


@pytest.fixture(params=TRAINERS)
def trained(request):
    return request.param, request.getfixturevalue(request.param)


def test_another_process_writes_equal_bytes(lines, tmp_path):
    """Hash maps are walked in another order in every process."""
    (tmp_path / "text").write_text("\n".join(lines), encoding="utf-8")
    environment = {"TOKENIZERS_PARALLELISM": "true", "PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], check=True, env=environment)
    for kind, (train, size) in TRAINERS.items():
        train(lines, size).save_pretrained(tmp_path / "here" / kind)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            here, there = (tmp_path / folder / kind / name for folder in ("here", "."))
            assert hashlib.sha256(here.read_bytes()).digest() == hashlib.sha256(there.read_bytes()).digest()


def test_stock_class_reads_equal_ids(trained, lines, tmp_path):
    kind, tokenizer = trained
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert type(again).__name__ == {"wordpiece": "BertTokenizer", "unigram": "XLMRobertaTokenizer"}[kind]
    texts = [*lines, "Ħobż  u\u00a0żejt! été 漢字 ﬁn x²", "", "ŻEJT"]
    assert [again(text).input_ids for text in texts] == [tokenizer(text).input_ids for text in texts]
    assert again("a", "b").input_ids == tokenizer("a", "b").input_ids
    assert again.model_max_length == 512


def test_special_ids_are_those_of_published_teachers(wordpiece, unigram):
    assert wordpiece.convert_ids_to_tokens(range(5)) == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert unigram.convert_ids_to_tokens(range(4)) == ["<s>", "<pad>", "</s>", "<unk>"]
    assert unigram.mask_token_id == len(unigram) - 1
    assert (unigram.bos_token_id, unigram.pad_token_id, unigram.eos_token_id, unigram.unk_token_id) == (
        0,
        1,
        2,
        3,
    )
    assert wordpiece("il-kelb").input_ids[0] == wordpiece.cls_token_id
    assert unigram("il-kelb").input_ids[-1] == unigram.sep_token_id


def test_case_and_accents_stay(lines):
    text = "Żewġt itfal qegħdin"
    maltese = [lines[0], *lines[5:12]]
    for tokenizer in (train_wordpiece(maltese, 160), train_unigram(maltese, 50)):
        assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text
        assert tokenizer("Żewġt").input_ids != tokenizer("żewġt").input_ids
    plain = train_wordpiece([*maltese, "Ħobż biż-żejt"], 160, lowercase=True)
    assert plain("ĦOBŻ").input_ids == plain("ħobż").input_ids


def test_rare_characters_leave_only_the_alphabet():
    lines = ["abab abba baab bbaa"] * 9 + ["abqab"]
    tokenizer = train_wordpiece(lines, 11)
    assert "q" not in "".join(tokenizer.get_vocab())
    assert len(tokenizer) == 11
    assert tokenizer.unk_token_id not in tokenizer("abba baab").input_ids


@pytest.mark.parametrize("train", [train_wordpiece, train_unigram])
def test_impossible_sizes_are_refused(train, lines):
    name = train.__name__
    with pytest.raises(
        HarnessError, match=rf"^{name}: expected 90,000 tokens; got [\d,]+ from this text; give it more"
    ):
        train(lines, 90_000)
    with pytest.raises(
        HarnessError, match=rf"^{name}: expected 6 tokens; got [\d,]+ from this text; ask for more"
    ):
        train(lines, 6)
    with pytest.raises(
        HarnessError, match=rf"^{name}: expected lines of text; got none; give the trainer a corpus"
    ):
        train(["", "  "] if train is train_unigram else [], 100)
