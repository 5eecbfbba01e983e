"""What a model computes on its way: the hidden states of every layer, and what its attention is made of.

Shapes: **B** batch, **L** length, **D** hidden, **A** heads × head size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from harness.errors import HarnessError
from harness.models.families.lookup import FAMILIES

_ROLES = ("query", "key", "value")


@dataclass(frozen=True)
class Inside:
    """One model's view of a batch.

    Attributes:
        hiddens: B × L × D after the embeddings and after each layer; the last one alone if no more was asked.
        queries: B × L × A of each layer, before they are split into heads; likewise ``keys`` and ``values``;
            empty if not asked for.
        num_heads: of the model.
    """

    hiddens: tuple[Tensor, ...]
    queries: tuple[Tensor, ...]
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    num_heads: int


def look(
    model: nn.Module,
    batch: Mapping[str, Tensor],
    *,
    hiddens: bool = False,
    attention: bool = False,
) -> Inside:
    """Runs the encoder of a model once and gives what was asked for; gradients flow as the caller allows.

    Args:
        model: of a known family, with whatever head.
        batch: ``input_ids`` and ``attention_mask``.
        hiddens: every layer's states, not the last alone.
        attention: queries, keys and values of every layer.

    Raises:
        HarnessError: the family's queries, keys and values are not three layers that could be watched.
    """
    encoder: Any = model.base_model
    config: Any = model.config
    with watch(model, attention=attention) as seen:
        outputs = encoder(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            output_hidden_states=hiddens,
        )
    states = tuple(outputs.hidden_states) if hiddens else (outputs.last_hidden_state,)
    return gather(states, seen, config)


def gather(states: tuple[Tensor, ...], seen: Mapping[str, list[Tensor]], config: Any) -> Inside:
    """Gives a model's view of a batch: its hidden states, and what `watch` saw."""
    queries, keys, values = (tuple(seen.get(role, ())) for role in _ROLES)
    return Inside(states, queries, keys, values, int(config.num_attention_heads))


@contextmanager
def watch(model: nn.Module, *, attention: bool) -> Iterator[dict[str, list[Tensor]]]:
    """Keeps queries, keys and values of every layer while the model runs, in the order of the layers.

    Raises:
        HarnessError: the family's queries, keys and values are not three layers that could be watched.
    """
    config: Any = model.config
    roles = _ROLES if attention else ()
    seen: dict[str, list[Tensor]] = {role: [] for role in roles}
    hooks = [
        _find(model, role, layer).register_forward_hook(_keep(seen[role]))
        for role in roles
        for layer in range(config.num_hidden_layers)
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _find(model: nn.Module, role: str, layer: int) -> nn.Module:
    config: Any = model.config
    family = FAMILIES.get(config.model_type)
    path = family and getattr(family, role, None)
    if family is None or not path:
        raise HarnessError(
            "distill: wanted a model whose attention has a query, key and value map; got "
            f"{config.model_type}; take losses of logits or hidden states"
        )
    return model.get_submodule(f"{family.layers}.{layer}.{path}")


def _keep(into: list[Tensor]) -> Callable[[nn.Module, Any, Tensor], None]:
    return lambda _module, _inputs, output: into.append(output)
