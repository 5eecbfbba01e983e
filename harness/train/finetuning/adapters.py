"""Fine-tune few parameters: bottleneck adapters, written here, and LoRA, from peft.

Both change the output of every layer from the first on, and the outputs before it depend in their last digits
on the rows that a batch pads together: nothing of the frozen encoder is kept from seed to seed.

Shapes: **D** hidden, **K** width of the bottleneck.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import HarnessError

_FFN_OUT = re.compile(r"\.\d+\.(output\.dense|ffn\.lin2|mlp\.Wo)$")
"""The last linear map of each layer's FFN: of families with BERT's names, of DistilBERT, of ModernBERT."""
_ATTENTION = r".*\.\d+\..*(query|value|query_proj|value_proj|q_lin|v_lin|Wqkv)$"
"""The maps that LoRA changes: queries and values (Hu et al. 2022, section 4.2)."""
HEAD_NAMES = ("classifier", "pre_classifier", "score", "head", "pooler")
"""Names of a task head's parts in the stock classes; they are trained whole. A pooler is newly drawn too."""
_ALPHA = 2
"""LoRA's scale is alpha/rank with alpha twice the rank."""


class Bottleneck(nn.Module):
    """A linear map of a frozen encoder followed by a bottleneck: ``h + up(relu(down(h)))``.

    Invariants: before training it is the map itself, since ``up`` begins at zero; the map is not trained.
    It follows the map of each layer's FFN, before the sum with the residual stream and its norm (the place of
    Pfeiffer et al. 2021, whose reduction of 16 Gurgurov et al. take).

    Args:
        inner: the map; its output has D features.
        reduction: D/K.
    """

    def __init__(self, inner: nn.Linear, reduction: int) -> None:
        super().__init__()
        self.inner = inner
        width = max(1, inner.out_features // reduction)
        self.down = nn.Linear(inner.out_features, width)
        self.up = nn.Linear(width, inner.out_features)
        nn.init.normal_(self.down.weight, std=0.02)
        for parameter in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(parameter)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the map's output plus the bottleneck's."""
        inner: Tensor = self.inner(hidden)
        added: Tensor = self.up(torch.relu(self.down(inner)))
        return inner + added


def add_adapters(model: Any, reduction: int) -> Any:
    """Freeze a task model except its head, and put a bottleneck into every layer.

    Raises:
        HarnessError: the layers of the model's family are not known.
    """
    names = [name for name, _ in model.named_modules() if _FFN_OUT.search(name)]
    if not names:
        raise HarnessError(
            f"adapters: expected a family whose FFN is known (BERT, XLM-R, DistilBERT, ModernBERT); got "
            f"{model.config.model_type}; use method: full"
        )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not {*name.split(".")}.isdisjoint(HEAD_NAMES))
    for name in names:
        parent, _, last = name.rpartition(".")
        place = model.get_submodule(parent)
        setattr(place, last, Bottleneck(getattr(place, last), reduction))
    return model


def add_lora(model: Any, rank: int) -> Any:
    """Freeze a task model except its head, and add LoRA of a rank to its query and value maps.

    Raises:
        HarnessError: the layers of the model's family are not known.
    """
    if not any(re.fullmatch(_ATTENTION, name) for name, _ in model.named_modules()):
        raise HarnessError(
            f"lora: expected a family whose attention is known (BERT, XLM-R, DistilBERT, ModernBERT); got "
            f"{model.config.model_type}; use method: full"
        )
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415  takes a second to import, and few runs need it

    heads = sorted({*(name.rpartition(".")[2] for name, _ in model.named_modules())} & {*HEAD_NAMES})
    config = LoraConfig(r=rank, lora_alpha=_ALPHA * rank, target_modules=_ATTENTION, modules_to_save=heads)
    return get_peft_model(model, config)


def merge_lora(model: Any) -> Any:
    """Return the stock class with the LoRA products added into its weights."""
    return model.merge_and_unload()


def count_trained(model: nn.Module) -> int:
    """Count the parameters that training changes."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
