"""Hidden states of a model on a batch: those of every layer, and its attention's queries, keys and values.

Shapes: **B** batch, **L** length, **D** hidden, **A** heads × head size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from harness.errors import HarnessError
from harness.families import list_families
from harness.models.families.table import LAYOUTS

_PROJECTIONS = ("query", "key", "value")


@dataclass(frozen=True)
class HiddenStates:
    """The hidden states and the attention projections of one model on one batch.

    Attributes:
        hidden_states: B × L × D after the embeddings and after each layer; or the last layer's alone.
        queries: B × L × A of each layer, before they are split into heads; empty if not asked for.
        keys: likewise.
        values: likewise.
        num_heads: attention heads of the model.
    """

    hidden_states: tuple[Tensor, ...]
    queries: tuple[Tensor, ...]
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    num_heads: int


def capture_hidden_states(
    model: nn.Module,
    batch: Mapping[str, Tensor],
    *,
    every_layer: bool = False,
    attention: bool = False,
) -> HiddenStates:
    """Run a model's encoder once and return its hidden states; gradients flow as the caller allows.

    Args:
        model: a model of a known family, with any head.
        batch: ``input_ids`` and ``attention_mask``.
        every_layer: return the states of every layer, not of the last alone.
        attention: also return queries, keys and values of every layer.

    Raises:
        HarnessError: ``attention`` of a family whose attention is not made of its queries and keys alone.
    """
    encoder: Any = model.base_model
    config: Any = model.config
    with record_attention(model, enabled=attention) as recorded:
        outputs = encoder(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            output_hidden_states=every_layer,
        )
    states = tuple(outputs.hidden_states) if every_layer else (outputs.last_hidden_state,)
    return collect_hidden_states(states, recorded, config)


def collect_hidden_states(
    states: tuple[Tensor, ...], recorded: Mapping[str, list[Tensor]], config: Any
) -> HiddenStates:
    """Return hidden states together with what `record_attention` recorded."""
    queries, keys, values = (tuple(recorded.get(name, ())) for name in _PROJECTIONS)
    return HiddenStates(states, queries, keys, values, int(config.num_attention_heads))


@contextmanager
def record_attention(model: nn.Module, *, enabled: bool) -> Iterator[dict[str, list[Tensor]]]:
    """Record queries, keys and values of every layer while the model runs, in the order of the layers.

    Raises:
        HarnessError: the family's attention is not made of its queries and keys alone.
    """
    config: Any = model.config
    names = _PROJECTIONS if enabled else ()
    recorded: dict[str, list[Tensor]] = {name: [] for name in names}
    hooks = [
        _find_projection(model, name, layer).register_forward_hook(_append_output(recorded[name]))
        for name in names
        for layer in range(config.num_hidden_layers)
    ]
    try:
        yield recorded
    finally:
        for hook in hooks:
            hook.remove()


def _find_projection(model: nn.Module, name: str, layer: int) -> nn.Module:
    config: Any = model.config
    if config.model_type not in (able := list_families("attention")):
        raise HarnessError(
            f"distill: expected a family of {', '.join(able)} for losses of attention or relations; got "
            f"{config.model_type}; take losses of logits or hidden states"
        )
    layout = LAYOUTS[config.model_type]
    return model.get_submodule(f"{layout.layers}.{layer}.{getattr(layout, name)}")


def _append_output(outputs: list[Tensor]) -> Callable[[nn.Module, Any, Tensor], None]:
    def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        outputs.append(output)

    return hook
