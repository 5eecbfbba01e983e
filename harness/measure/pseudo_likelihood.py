"""The pseudo-log-likelihood of sentences under a masked-language model.

Each token is masked in turn and predicted from the others (Salazar et al. 2020, arXiv:1910.14659). The
later tokens of its word are masked with it, since they would betray it (Kauf and Ivanova 2023,
arXiv:2305.10588).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import HarnessError
from harness.models.families.mlm_head import split_mlm_head

_BATCH_TOKENS = 4096
"""Tokens that go through the model at once."""


@torch.no_grad()
def measure_pseudo_likelihoods(
    model: nn.Module,
    tokenizer: Any,
    sentences: Sequence[str],
    *,
    max_tokens: int,
    report: Callable[[int], None] = lambda _: None,
) -> list[float]:
    """Return each sentence's pseudo-log-likelihood: the sum over its tokens, in nats.

    Args:
        model: an MLM model.
        tokenizer: the model's, a fast one.
        sentences: to measure.
        max_tokens: the longest input of the model.
        report: called with the number of sentences that are done.

    Raises:
        HarnessError: a sentence has no token, or too many.
    """
    model.eval()
    totals = []
    for done, sentence in enumerate(sentences, start=1):
        totals.append(_measure_sentence(model, tokenizer, sentence, max_tokens))
        report(done)
    return totals


def _measure_sentence(model: nn.Module, tokenizer: Any, sentence: str, max_tokens: int) -> float:
    encoded = tokenizer(sentence)
    words = encoded.word_ids()
    places = [place for place, word in enumerate(words) if word is not None]
    if not places or len(words) > max_tokens:
        raise HarnessError(
            f"pairs: expected sentences of 1 to {max_tokens} tokens; got {len(words)} in '{sentence[:40]}'; "
            "remove the pair"
        )
    ids_L = torch.tensor(encoded["input_ids"])
    rows_PL = ids_L.repeat(len(places), 1)
    for row, place in enumerate(places):
        hidden = [other for other in places if other >= place and words[other] == words[place]]
        rows_PL[row, hidden] = tokenizer.mask_token_id
    step = max(1, _BATCH_TOKENS // len(words))
    device = next(model.parameters()).device
    ids_L = ids_L.to(device)
    return sum(
        _sum_log_probabilities(model, rows_BL.to(device), torch.tensor(masked, device=device), ids_L)
        for rows_BL, masked in (
            (rows_PL[start : start + step], places[start : start + step])
            for start in range(0, len(places), step)
        )
    )


def _sum_log_probabilities(model: nn.Module, rows_BL: Tensor, places_B: Tensor, ids_L: Tensor) -> float:
    """Return the log-probability of the token at one place of each row, summed over the rows."""
    encoder: Any = model.base_model
    states_BLD = encoder(input_ids=rows_BL, attention_mask=torch.ones_like(rows_BL)).last_hidden_state
    head = split_mlm_head(model)
    features_BD = head.transform(states_BLD[torch.arange(len(rows_BL), device=rows_BL.device), places_B])
    logits_BV = nn.functional.linear(features_BD, head.weight_VD, head.bias_V).float()
    return -float(nn.functional.cross_entropy(logits_BV, ids_L[places_B], reduction="sum"))
