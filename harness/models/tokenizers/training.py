"""Train the tokenizers of a fresh multilingual teacher: WordPiece as BERT's, Unigram as XLM-R's.

The same lines give the same bytes. The trainers of ``tokenizers`` walk hash maps in an order that changes
between runs, and break ties by it; so WordPiece is given its alphabet in a fixed order, and Unigram is
trained by ``sentencepiece``. The caller balances the languages.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import BertTokenizer, PreTrainedTokenizerBase, XLMRobertaTokenizer

from harness.errors import HarnessError

BERT_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
XLMR_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
XLMR_MASK = "<mask>"

_ALPHABET_FRACTION = 0.25
_ALPHABET_LIMIT = 1000
"""The alphabet takes at most this share of a vocabulary, and at most this many characters."""

_LONGEST_LINE_BYTES = 1 << 16
_ADDED_SPECIALS = len(XLMR_SPECIALS) + 1 - 3
"""sentencepiece counts its own three special tokens; XLM-R has five."""


def train_wordpiece(
    lines: Iterable[str], vocabulary: int, max_length: int = 512, *, lowercase: bool = False
) -> PreTrainedTokenizerBase:
    """Return BERT's tokenizer (accents kept, Chinese characters apart) with exactly ``vocabulary`` tokens.

    Invariants: the ids of ``[PAD] [UNK] [CLS] [SEP] [MASK]`` are 0 to 4. The alphabet is the most frequent
    characters, at most 1,000 and a quarter of the vocabulary; other characters count as spaces.

    Raises:
        HarnessError: no text, or too little text for so many tokens.
    """
    normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=False)
    texts = [normalizer.normalize_str(line) for line in lines]
    alphabet = _alphabet(texts, vocabulary)
    rare = {ord(character): " " for character in set().union(*texts) - set(alphabet)}
    texts = [text.translate(rare) for text in texts]
    first = (*BERT_SPECIALS, *_characters(texts))
    tokens = _wordpieces(texts, vocabulary, first) if len(first) <= vocabulary else list(first)
    if len(tokens) != vocabulary:
        raise _wrong_size("train_wordpiece", vocabulary, len(tokens))
    return BertTokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        do_lower_case=lowercase,
        strip_accents=False,
        model_max_length=max_length,
    )


def train_unigram(lines: Iterable[str], vocabulary: int, max_length: int = 512) -> PreTrainedTokenizerBase:
    """Return XLM-R's tokenizer (NFKC, ``▁`` for a space) with exactly ``vocabulary`` tokens.

    Invariants: the ids of ``<s> <pad> </s> <unk>`` are 0 to 3, that of ``<mask>`` is the last.

    Raises:
        HarnessError: no text, or too little text for so many tokens.
    """
    texts = [text for text in (" ".join(line.split()) for line in lines) if text]
    if not texts:
        raise HarnessError("train_unigram: expected lines of text; got none; give the trainer a corpus")
    proto = sentencepiece_model_pb2.ModelProto.FromString(  # type: ignore[attr-defined]
        _unigram(texts, vocabulary)
    )
    pieces = [(piece.piece, piece.score) for piece in proto.pieces if piece.type == piece.NORMAL]
    scored = [*((token, 0.0) for token in XLMR_SPECIALS), *pieces, (XLMR_MASK, 0.0)]
    if len(scored) != vocabulary:
        raise _wrong_size("train_unigram", vocabulary, len(scored))
    return XLMRobertaTokenizer(
        vocab=scored,
        _spm_precompiled_charsmap=proto.normalizer_spec.precompiled_charsmap,
        model_max_length=max_length,
    )


def _wrong_size(where: str, expected: int, got: int) -> HarnessError:
    advice = "give it more text or ask for fewer" if got < expected else "ask for more"
    return HarnessError(f"{where}: expected {expected:,} tokens; got {got:,} from this text; {advice}")


def _alphabet(texts: list[str], vocabulary: int) -> list[str]:
    """Return the most frequent characters, ties by code point, in the order of code points."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update("".join(text.split()))
    if not counts:
        raise HarnessError("train_wordpiece: expected lines of text; got none; give the trainer a corpus")
    limit = min(_ALPHABET_LIMIT, int(vocabulary * _ALPHABET_FRACTION))
    return sorted(sorted(counts, key=lambda character: (-counts[character], character))[: max(1, limit)])


def _backend(vocabulary: int, first: tuple[str, ...]) -> tuple[Tokenizer, trainers.WordPieceTrainer]:
    backend = Tokenizer(models.WordPiece(unk_token=BERT_SPECIALS[1]))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary, special_tokens=list(first), limit_alphabet=1 << 20, show_progress=False
    )
    return backend, trainer


def _characters(texts: list[str]) -> list[str]:
    """Return each character as ``x`` at the start of a word, as ``##x`` within a word, in a fixed order."""
    backend, trainer = _backend(0, BERT_SPECIALS)
    backend.train_from_iterator(texts, trainer)
    forms = set(backend.get_vocab()) - set(BERT_SPECIALS)
    return sorted(forms, key=lambda form: (form.startswith("##"), form))


def _wordpieces(texts: list[str], vocabulary: int, first: tuple[str, ...]) -> list[str]:
    backend, trainer = _backend(vocabulary, first)
    backend.train_from_iterator(texts, trainer)
    ids: dict[str, int] = backend.get_vocab()
    return sorted(ids, key=ids.__getitem__)


def _unigram(texts: list[str], vocabulary: int) -> bytes:
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type="unigram",
            vocab_size=vocabulary - _ADDED_SPECIALS,
            character_coverage=0.9995,
            max_sentence_length=_LONGEST_LINE_BYTES,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise _unigram_refusal(vocabulary, str(error)) from error
    return model.getvalue()


def _unigram_refusal(vocabulary: int, reason: str) -> HarnessError:
    bound = read_size_bound(reason)
    if bound is not None:
        return _wrong_size("train_unigram", vocabulary, bound + _ADDED_SPECIALS)
    return HarnessError(
        f"train_unigram: expected {vocabulary:,} tokens; got: {' '.join(reason.split())}; "
        "ask for another size"
    )


def read_size_bound(reason: str) -> int | None:
    """Return the most, or the fewest, tokens that sentencepiece's message says the text allows."""
    bound = re.search(r"value <= (\d+)", reason) or re.search(r"required_chars\. \d+ vs (\d+)", reason)
    return int(bound.group(1)) if bound else None
