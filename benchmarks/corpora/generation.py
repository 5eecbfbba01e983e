"""Generate a web corpus of many languages in HPLT's layout, with known near-duplicates and test sentences.

Every document begins with a word of its own: ``d12``, and ``d12c`` for its near-duplicate.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_LETTERS = "abcdefghijklmnopqrstuvwxyzàèìòùáéíóúāēīōūċġħż"
_VOCABULARY = 20_000
_WORDS = 150
_LINES = 5
_FILE_BYTES = 5_000_000
_DUPLICATES = 0.05
_LEAKS = 0.01
_CHANGED = 0.01
"""The share of its words that a near-duplicate has changed."""


@dataclass(frozen=True)
class Planted:
    """A generated corpus.

    Attributes:
        codes: of its languages.
        documents: by language, the number of documents without their near-duplicates.
        duplicates: by language, the numbers of the documents that have a near-duplicate.
        sentences: the test sentences.
    """

    codes: tuple[str, ...]
    documents: dict[str, int]
    duplicates: dict[str, list[int]]
    sentences: list[str]


def generate(folder: Path, num_bytes: int, num_languages: int, seed: int = 0) -> Planted:
    """Write a corpus below ``folder/src`` and a data folder with test sentences at ``folder/data``."""
    codes = tuple(f"q{chr(97 + number // 26)}{chr(97 + number % 26)}" for number in range(num_languages))
    drawn = np.random.default_rng(seed)
    sentences: list[str] = []
    documents, duplicates = {}, {}
    for code in codes:
        language = _Language(code, np.random.default_rng(drawn.integers(2**32)))
        sentences += language.sentences
        language.write(folder / "src" / f"{code}_Latn", num_bytes // num_languages)
        documents[code], duplicates[code] = language.number, language.duplicates
    topic = folder / "data" / "topic" / codes[0]
    topic.mkdir(parents=True)
    for part, texts in (("train", sentences[:1]), ("dev", sentences[::2]), ("test", sentences[1::2])):
        rows = "".join(f"{text}\tlabel\n" for text in texts)
        (topic / f"{part}.tsv").write_text(f"text\tlabel\n{rows}", encoding="utf-8")
    return Planted(codes, documents, duplicates, sentences)


class _Language:
    def __init__(self, code: str, drawn: np.random.Generator) -> None:
        self.code, self.drawn = code, drawn
        letters = np.array(list(_LETTERS))
        lengths = drawn.integers(2, 10, _VOCABULARY)
        self.words = np.array(["".join(drawn.choice(letters, length)) for length in lengths])
        self.sentences = [f"{' '.join(self._draw(12))} , {code}{number} ." for number in range(20)]
        self.number = 0
        self.duplicates: list[int] = []

    def _draw(self, number: int) -> list[str]:
        """Draw words, frequent ones more often, as in text."""
        return self.words[(self.drawn.random(number) ** 3 * _VOCABULARY).astype(int)].tolist()  # type: ignore[no-any-return]

    def write(self, folder: Path, num_bytes: int) -> None:
        folder.mkdir(parents=True)
        lines = self._make_lines()
        for file_number in range(max(1, round(num_bytes / _FILE_BYTES))):
            size = 0
            with (folder / f"{file_number}.jsonl").open("w", encoding="utf-8") as file:
                while size < min(num_bytes, _FILE_BYTES):
                    size += file.write(next(lines))

    def _make_lines(self) -> Iterator[str]:
        waiting: list[tuple[int, str]] = []
        while True:
            words = [f"d{self.number}", *self._draw(_WORDS - 1)]
            yield self._format(words)
            if self.drawn.random() < _DUPLICATES:
                copy = [f"d{self.number}c", *words[1:]]
                for place in self.drawn.integers(1, _WORDS, max(1, int(_CHANGED * _WORDS))):
                    copy[place] = self._draw(1)[0]
                waiting.append((self.number, self._format(copy)))
            if len(waiting) > 20:
                number, line = waiting.pop(int(self.drawn.integers(len(waiting))))
                self.duplicates.append(number)
                yield line
            self.number += 1

    def _format(self, words: list[str]) -> str:
        """Return a record; some documents have a test sentence, alone in a line, within one or over two."""
        step = _WORDS // _LINES
        lines = [" ".join(words[start : start + step]) for start in range(0, _WORDS, step)]
        if self.drawn.random() < _LEAKS:
            sentence = self.sentences[self.drawn.integers(len(self.sentences))]
            half = sentence.index(" ", len(sentence) // 2)
            place = int(self.drawn.integers(1, _LINES))
            planted = (
                [sentence.replace(" ,", ",").replace(" .", ".")],
                [f"{lines[place]} {sentence} {lines[place]}"],
                [sentence[:half], sentence[half + 1 :]],
            )
            lines[place:place] = planted[int(self.drawn.integers(3))]
        record = {"text": "\n".join(lines), "lang": [f"{self.code}_Latn"], "prob": [1.0]}
        return json.dumps(record, ensure_ascii=False) + "\n"
