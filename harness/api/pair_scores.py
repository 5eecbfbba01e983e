"""Score models on minimal pairs, without any training: which of two sentences do they find more likely?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.api.compression import load
from harness.data.minimal_pairs import MinimalPair, read_minimal_pairs
from harness.errors import UsageError

_RIGHT, _WRONG = "right", "wrong"


@dataclass(frozen=True)
class PairScore:
    """The share of pairs in which a model finds the sentence without the error more likely.

    Attributes:
        model: the folder or hub id.
        phenomenon: of the pairs that were counted; empty: all pairs.
        num_pairs: how many they are.
        value: the share.
        low: the lower end of its 95 % interval over pairs.
        high: the upper end.
        difference: from the first model, with the ends of its interval; None for the first model.
        p_holm: of approximate randomisation, corrected over all models and phenomena; None likewise.
        verdict: on the difference; None likewise.
    """

    model: str
    phenomenon: str
    num_pairs: int
    value: float
    low: float
    high: float
    difference: tuple[float, float, float] | None = None
    p_holm: float | None = None
    verdict: str | None = None


def score_pairs(
    models: Sequence[str | Path],
    file: str | Path,
    *,
    progress: Callable[[str, int, int], None] = lambda _, __, ___: None,
) -> list[PairScore]:
    """Score models on a file of minimal pairs, such as one of MultiBLiMP.

    A sentence's likelihood is its pseudo-log-likelihood; a tie counts as wrong.

    Args:
        models: folders or hub ids, each once; the others are compared with the first.
        file: a table with the columns ``sen`` and ``wrong_sen``, and perhaps ``phenomenon``.
        progress: called with the model, and how many of how many sentences are done.

    Raises:
        HarnessError: a model has no masked-language head, or a file does not fit.
    """
    names = [str(model) for model in models]
    if len(set(names)) < len(names) or not names:
        raise UsageError(f"pairs: expected at least one model, each once; got {', '.join(names) or 'none'}")
    pairs = read_minimal_pairs(Path(file))
    return _compare({name: _choose_sentences(name, pairs, progress) for name in names}, pairs)


def _choose_sentences(
    name: str, pairs: Sequence[MinimalPair], progress: Callable[[str, int, int], None]
) -> list[str]:
    """Return for each pair whether the model finds the sentence without the error more likely."""
    model = load(name)
    if model.has_new_head:
        raise UsageError(
            f"{name}: expected a model with a masked-language head; got one without; fit one with "
            "`harness.api.fit_head`, or name a student"
        )
    import torch  # noqa: PLC0415  the core has none

    from harness.measure.pseudo_likelihood import measure_pseudo_likelihoods  # noqa: PLC0415  loads torch

    network = model.network.to("cuda" if torch.cuda.is_available() else "cpu")
    sentences = [text for pair in pairs for text in (pair.sentence, pair.wrong)]
    likelihoods = measure_pseudo_likelihoods(
        network,
        model.tokenizer,
        sentences,
        max_tokens=model.shape.max_length,
        report=lambda done: progress(name, done, len(sentences)),
    )
    return [
        _RIGHT if one > other else _WRONG
        for one, other in zip(likelihoods[::2], likelihoods[1::2], strict=True)
    ]


def _compare(chosen: Mapping[str, Sequence[str]], pairs: Sequence[MinimalPair]) -> list[PairScore]:
    from harness.measure.scores import tally  # noqa: PLC0415  numpy and scipy
    from harness.measure.significance import compare_predictions, holm, verdict  # noqa: PLC0415

    phenomena = sorted({pair.phenomenon for pair in pairs})
    groups: dict[str, Sequence[int]] = {"": range(len(pairs))}
    if len(phenomena) > 1:
        groups |= {
            name: [place for place, pair in enumerate(pairs) if pair.phenomenon == name]
            for name in phenomena
            if name
        }
    first = next(iter(chosen))
    scores, tests = [], []
    for phenomenon, places in groups.items():
        gold = [_RIGHT] * len(places)
        for name, choices in chosen.items():
            own = [choices[place] for place in places]
            interval = tally("accuracy", gold, own).interval()
            scores.append(
                PairScore(name, phenomenon, len(places), interval.value, interval.low, interval.high)
            )
            if name != first:
                reference = [chosen[first][place] for place in places]
                tests.append((len(scores) - 1, compare_predictions("accuracy", gold, [own], [reference])))
    for (place, test), p_value in zip(tests, holm([test.p_value for _, test in tests]), strict=True):
        change = test.difference
        scores[place] = replace(
            scores[place],
            difference=(change.value, change.low, change.high),
            p_holm=p_value,
            verdict=verdict(change, p_value),
        )
    return scores
