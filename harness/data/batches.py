"""From documents to padded, masked batches: packing, batches by length, masking, padding.

Shapes: **B** batch, **L** length.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from harness.errors import HarnessError

IGNORED = -100
_LINES_PER_CALL = 4096
_ROWS_PER_TURN = 1 << 20
_KEPT, _RANDOM = 0.1, 0.2  # of the chosen: below 0.1 unchanged, below 0.2 replaced at random, else masked


@dataclass(frozen=True)
class Packed:
    """Rows of token ids in one flat array; row ``i`` is ``ids[offsets[i]:offsets[i + 1]]``.

    Attributes:
        ids: int32, all rows one after the other.
        offsets: int64, one more than there are rows.
    """

    ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> npt.NDArray[np.int32]:
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The rows' lengths in tokens, special tokens included."""
        return np.diff(self.offsets)

    def take(self, fraction: float) -> Packed:
        """Return a share of the rows, evenly spread; at least one row."""
        number = max(1, round(fraction * len(self)))
        rows = [self[index * len(self) // number] for index in range(number)]
        lengths = [len(row) for row in rows]
        return Packed(np.concatenate(rows), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    def save(self, path: Path) -> None:
        """Write the two arrays as ``.npz`` (never pickled)."""
        with path.open("wb") as file:
            np.savez(file, ids=self.ids, offsets=self.offsets)

    @classmethod
    def load(cls, path: Path) -> Packed:
        """Read the arrays that ``save`` wrote.

        Raises:
            HarnessError: the file is missing or does not hold the two arrays.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls(arrays["ids"], arrays["offsets"])
        except (OSError, ValueError, KeyError, EOFError) as fault:
            raise HarnessError(f"{path}: expected packed rows; got '{fault}'; pack again") from fault


def pack(
    documents: Iterable[Sequence[str]], tokenizer: Any, max_length: int, folder: Path | None = None
) -> Packed:
    """Return rows of at most ``max_length`` tokens, each between the two special tokens.

    Consecutive lines of one document are joined while they fit; a longer line is cut into pieces, the last of
    which may be joined by the lines after it. No row crosses a document, and no token is lost.

    Args:
        documents: each a sequence of lines.
        tokenizer: a fast tokenizer of transformers.
        max_length: of a row, special tokens included.
        folder: where to keep the ids in a file without a name, which is mapped into memory and is gone with
            the rows; None: they are kept in memory.

    Raises:
        HarnessError: the length leaves no room, or the tokenizer has no opening and closing token.
    """
    if max_length < 3:
        raise HarnessError(f"pack: expected a length of 3 or more (two are special tokens); got {max_length}")
    first, last = find_frame(tokenizer)
    parts = _pack_parts(documents, tokenizer, max_length - 2)
    framed = (_frame(stream, counts, first, last) for stream, counts in parts)
    return _join_parts(framed) if folder is None else _map_parts(framed, folder)


def _pack_parts(
    documents: Iterable[Sequence[str]], tokenizer: Any, room: int
) -> Iterator[tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]]:
    """Yield the ids of finished rows and the number of ids of each, without special tokens."""
    stream = np.zeros(0, np.int32)
    counts: list[int] = []
    for lines, openings in group_lines(documents):
        encoded = tokenizer(
            lines,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        stream = np.append(stream, np.fromiter((one for row in encoded for one in row), np.int32))
        for row, opening in zip(encoded, openings, strict=True):
            _extend_rows(counts, len(row), room, opening)
        finished, counts = counts[:-1], counts[-1:]
        yield stream[: sum(finished)], np.array([one for one in finished if one], np.int64)
        stream = stream[sum(finished) :]
    yield stream, np.array([one for one in counts if one], np.int64)


def _join_parts(parts: Iterable[Packed]) -> Packed:
    joined = [(part.ids, part.lengths) for part in parts]
    ids, lengths = (np.concatenate(arrays) for arrays in zip(*joined, strict=True))
    return Packed(ids, _sum_lengths(lengths))


def _map_parts(parts: Iterable[Packed], folder: Path) -> Packed:
    lengths = []
    with TemporaryFile(dir=folder) as file:
        for part in parts:
            part.ids.tofile(file)
            lengths.append(part.lengths)
        return map_ids(file, np.concatenate(lengths))


def map_ids(file: IO[bytes], lengths: npt.NDArray[np.int64]) -> Packed:
    """Return the rows of these lengths whose ids were written to a file, mapped into memory."""
    file.flush()
    offsets = _sum_lengths(lengths)
    if not offsets[-1]:
        return Packed(np.zeros(0, np.int32), offsets)
    return Packed(np.asarray(np.memmap(file, np.int32, "r", shape=(int(offsets[-1]),))), offsets)


def _sum_lengths(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])


def find_frame(tokenizer: Any) -> tuple[int, int]:
    """Return the ids that open and close a row: [CLS] and [SEP], or <s> and </s>."""
    first = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    last = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    if first is None or last is None:
        raise HarnessError(
            "pack: expected a tokenizer with [CLS] and [SEP] (or <s> and </s>); got one without"
        )
    return first, last


def group_lines(documents: Iterable[Sequence[str]]) -> Iterable[tuple[list[str], list[bool]]]:
    """Yield thousands of lines at a time, each with a flag that is true for a document's first line."""
    lines: list[str] = []
    openings: list[bool] = []
    for document in documents:
        lines.extend(document)
        openings.extend(index == 0 for index in range(len(document)))
        if len(lines) >= _LINES_PER_CALL:
            yield lines, openings
            lines, openings = [], []
    if lines:
        yield lines, openings


def _extend_rows(counts: list[int], length: int, room: int, opening: bool) -> None:
    """Add a line to the last row if it fits, else to new rows; ``counts`` are tokens a row."""
    if counts and not opening and counts[-1] + length <= room:
        counts[-1] += length
        return
    whole, rest = divmod(length, room)
    counts.extend([room] * whole)
    if rest or opening:
        counts.append(rest)


def _frame(stream: npt.NDArray[np.int32], counts: npt.NDArray[np.int64], first: int, last: int) -> Packed:
    """Cut the stream into rows of the counted lengths and put the special tokens around each."""
    offsets = _sum_lengths(counts + 2)
    ids = np.empty(offsets[-1], np.int32)
    inner = np.ones(len(ids), bool)
    inner[offsets[:-1]] = inner[offsets[1:] - 1] = False
    ids[inner] = stream
    ids[offsets[:-1]] = first
    ids[offsets[1:] - 1] = last
    return Packed(ids, offsets)


def bucket_batches(
    lengths: Sequence[int] | npt.NDArray[np.int64],
    token_budget: int,
    seed: int,
    epoch: int,
    *,
    noise: float = 0.1,
    multiple: int = 1,
) -> Batches:
    """Return batches of indices of rows of similar length, in an order drawn from seed and epoch.

    Invariants: each index is in exactly one batch; the number of a batch's rows × the longest row (rounded
    up to ``multiple``) is at most the budget; equal arguments return equal batches.

    Args:
        lengths: of the rows, in tokens.
        token_budget: most tokens of a batch, padding included.
        seed: of the run.
        epoch: counts passes over the rows; each has other batches.
        noise: how much lengths are increased at random before rows are sorted, as a fraction.
        multiple: batches are padded to a multiple of it (see ``collate``).

    Raises:
        HarnessError: a row alone is longer than the budget.
    """
    padded = -(-np.asarray(lengths, np.int64) // multiple) * multiple
    if len(padded) and padded.max() > token_budget:
        raise HarnessError(
            f"batches: expected rows within the budget of {token_budget} tokens; got one of {padded.max()}; "
            "raise the budget or shorten the rows"
        )
    drawn = np.random.default_rng([seed, epoch])
    order = np.argsort(padded * (1 + noise * drawn.random(len(padded))), kind="stable")
    starts = _fill(padded[order], token_budget)
    return Batches(order.astype(np.min_scalar_type(len(padded))), starts, drawn.permutation(len(starts) - 1))


@dataclass(frozen=True, eq=False)
class Batches(Sequence[list[int]]):
    """Batches of indices of rows, a few bytes a row; batch ``i`` is a part of ``order``.

    Attributes:
        order: all indices.
        starts: where the parts begin in it, and its end.
        turns: which part each batch is.
    """

    order: npt.NDArray[np.unsignedinteger[Any]]
    starts: npt.NDArray[np.int64]
    turns: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.turns)

    @overload
    def __getitem__(self, index: int) -> list[int]: ...
    @overload
    def __getitem__(self, index: slice) -> list[list[int]]: ...
    def __getitem__(self, index: int | slice) -> list[int] | list[list[int]]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        part = self.turns[index]
        return self.order[self.starts[part] : self.starts[part + 1]].tolist()  # type: ignore[no-any-return]


def _fill(lengths: npt.NDArray[np.int64], token_budget: int) -> npt.NDArray[np.int64]:
    """Return where batches of consecutive rows begin, and the number of rows."""
    starts = array("q")
    longest = place = 0
    for first in range(0, len(lengths), _ROWS_PER_TURN):
        for length in lengths[first : first + _ROWS_PER_TURN].tolist():
            longest = max(longest, length)
            if not starts or (place - starts[-1] + 1) * longest > token_budget:
                starts.append(place)
                longest = length
            place += 1
    starts.append(place)
    return np.array(starts, np.int64)


def collate(rows: Sequence[npt.NDArray[np.int32]], pad_id: int, multiple: int = 1) -> dict[str, Tensor]:
    """Return ``input_ids`` and ``attention_mask`` (both int64, B × L), padded on the right.

    Args:
        rows: token ids; at least one.
        pad_id: of the padding token.
        multiple: L is rounded up to a multiple of it (8 suits tensor cores).
    """
    longest = -(-max(map(len, rows)) // multiple) * multiple
    ids_BL = np.full((len(rows), longest), pad_id, np.int64)
    present_BL = np.zeros((len(rows), longest), np.int64)
    for index, row in enumerate(rows):
        ids_BL[index, : len(row)] = row
        present_BL[index, : len(row)] = 1
    return {"input_ids": torch.from_numpy(ids_BL), "attention_mask": torch.from_numpy(present_BL)}


def special_positions(ids_BL: Tensor, special_ids: Collection[int]) -> Tensor:
    """Return a boolean B × L, true at special tokens, padding included."""
    return torch.isin(ids_BL, torch.tensor(sorted(special_ids), dtype=ids_BL.dtype, device=ids_BL.device))


def mask(
    ids_BL: Tensor,
    special_BL: Tensor,
    *,
    mask_id: int,
    vocabulary: int,
    fraction: float,
    generator: torch.Generator,
    random_exclude: Collection[int],
    exact: bool = False,
    weight_V: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Mask tokens for language modelling: of the chosen positions 80 % mask, 10 % random, 10 % kept.

    Invariants: special positions are never chosen; a row with any other position has at least one
    chosen; a random replacement is never of ``random_exclude``; labels are the ids where chosen, else -100;
    equal generator states return equal results. Source: Devlin et al. 2019, section 3.1.

    Args:
        ids_BL: token ids, int64; not changed.
        special_BL: true at special tokens and padding.
        mask_id: of the mask token.
        vocabulary: number of ids.
        fraction: chance of each position to be chosen, in (0, 1).
        generator: the source of all randomness.
        random_exclude: ids never drawn as a replacement (the special tokens).
        exact: choose exactly ``round(fraction × maskable)`` positions of each row (at least one) instead of
            each by its own chance.
        weight_V: how likely each token is to be chosen; then ``fraction`` of the whole batch's
            maskable positions are chosen without replacement (Conneau and Lample 2019; Sanh et al. 2019).

    Returns:
        New ids and labels, both like ``ids_BL``.
    """
    draw = _draws(ids_BL, generator)
    score_BL = draw().masked_fill(special_BL, torch.inf)
    if weight_V is not None:
        score_BL = (-torch.log1p(-score_BL.clamp(max=1 - 1e-15)) / weight_V[ids_BL]).masked_fill(
            special_BL, torch.inf
        )
        chosen_BL = _least_of_all(score_BL, special_BL, fraction)
    else:
        chosen_BL = _least(score_BL, special_BL, fraction) if exact else score_BL < fraction
    chosen_BL = chosen_BL.scatter(1, score_BL.argmin(1, keepdim=True), True) & ~special_BL
    kind_BL, which_BL = draw(), draw()

    allowed = torch.ones(vocabulary, dtype=torch.bool, device=ids_BL.device)
    allowed[sorted(random_exclude)] = False
    pool = allowed.nonzero().squeeze(1)
    random_BL = pool[(which_BL * len(pool)).long().clamp(max=len(pool) - 1)].to(ids_BL.dtype)

    labels_BL = ids_BL.masked_fill(~chosen_BL, IGNORED)
    masked_BL = ids_BL.masked_fill(chosen_BL & (kind_BL >= _RANDOM), mask_id)
    replaced_BL = chosen_BL & (kind_BL >= _KEPT) & (kind_BL < _RANDOM)
    return torch.where(replaced_BL, random_BL, masked_BL), labels_BL


def _draws(ids_BL: Tensor, generator: torch.Generator) -> Callable[[], Tensor]:
    """Return a function that draws uniform numbers in [0, 1), B × L, on the ids' device."""

    def draw() -> Tensor:
        # float64: a float32 draw has 2^24 values, too few to reach every id of a large vocabulary evenly
        drawn = torch.rand(ids_BL.shape, generator=generator, device=generator.device, dtype=torch.float64)
        return drawn.to(ids_BL.device)

    return draw


def _least_of_all(score_BL: Tensor, special_BL: Tensor, fraction: float) -> Tensor:
    """Return the ``round(fraction × maskable)`` positions of the batch with the least scores.

    Scores drawn as exponential variables over weights make this a draw without replacement in proportion to
    the weights (Efraimidis and Spirakis 2006).
    """
    number = int(((~special_BL).sum() * fraction).round())
    return (score_BL.flatten().argsort().argsort() < number).view_as(score_BL)


def _least(score_BL: Tensor, special_BL: Tensor, fraction: float) -> Tensor:
    """Return the ``round(fraction × maskable)`` positions of each row with the least scores."""
    num_B = ((~special_BL).sum(1, keepdim=True) * fraction).round()
    return score_BL.argsort(1).argsort(1) < num_B
