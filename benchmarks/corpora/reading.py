"""Prepare and pack the text of a data folder as a run's stages do, for its memory to be watched.

python -m benchmarks.corpora.reading DATA LANGUAGE…
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from harness.data import corpus
from harness.data.batches import bucket_batches, pack
from harness.data.folder import read_corpus

_LENGTH = 128


class WordLengths:
    """A tokenizer without a vocabulary: a token for each word, its length."""

    cls_token_id, sep_token_id = 1, 2

    def __call__(self, lines: Sequence[str], **_: Any) -> dict[str, list[list[int]]]:
        """Return the lengths of the words of each line."""
        return {"input_ids": [[2 + len(word) for word in line.split()] for line in lines]}


def main(given: Sequence[str]) -> int:
    """Prepare and pack the text of all the languages together, and read the rows in batches."""
    data, *languages = given
    documents: Iterator[corpus.Document] = chain.from_iterable(
        read_corpus(Path(data), language) for language in languages
    )
    with tempfile.TemporaryDirectory(dir=data) as name:
        folder = Path(name)
        (folder / "spare").mkdir()
        prepared = corpus.prepare_on_disk(documents, 0.02, 0, (), folder / "spare")
        for part in corpus.PARTS:
            corpus.write_part(folder, part, prepared.stream(part))
        packed = pack(corpus.stream(folder, "train"), WordLengths(), _LENGTH, folder)
        batches = bucket_batches(packed.lengths, 64 * _LENGTH, 0, 0)
        tokens = sum(len(packed[row]) for batch in batches for row in batch)
        assert tokens == packed.lengths.sum()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
