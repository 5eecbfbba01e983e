"""Narrow a model by its activations on text: choose the directions that stay, and fit every map to them.

Shapes: **D** hidden, **S** hidden of the narrower model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from harness.errors import HarnessError, unknown
from harness.families import list_families
from harness.models.families.table import find_layout
from harness.models.narrowing.basis import principal_basis, principal_read_basis, selection_basis
from harness.models.narrowing.pre_norm import refit_pre_norm
from harness.models.narrowing.refit import refit as refit_tensors
from harness.models.surgery.axes import check_heads, check_rotary, fold_basis, narrow, rebuild_model
from harness.models.surgery.importance import Batch, keep_top, measure_hidden_importance

BASES = ("first", "importance", "pca")


def narrow_on_text(
    model: PreTrainedModel,
    hidden: int,
    heads: int,
    batches: Iterable[Batch],
    *,
    basis: Literal["first", "importance", "pca"] = "pca",
    within: Literal["first", "svd"] = "svd",
    refit: bool = True,
    heads_mode: Literal["narrowed", "dropped"] | None = None,
) -> PreTrainedModel:
    """Return the model with a narrower residual stream, chosen and fitted on text.

    - ``first`` keeps the first dimensions, ``importance`` those with the greatest effect on the loss
      (`importance.measure_hidden_importance`, Taylor), ``pca`` the directions in which the stream varies most
      (`basis.principal_basis`; in a pre-norm family as it is read, `basis.principal_read_basis`).
    - ``refit`` then fits every map and norm, layer by layer, to the wide model (`refit.refit`; in a pre-norm
      family `pre_norm.refit_pre_norm`), which saves most of the loss. Without it the basis is folded into the
      weights as they are.

    Invariants: keeping every dimension loses nothing with ``first`` and ``importance``, nor with ``pca`` and
    ``refit`` in a pre-norm family. In a post-norm family ``pca`` then loses what the norms' gains lose under
    a rotation, and the head's share, of which the fit restores most.

    Args:
        model: the model to narrow; it is left as it was.
        hidden: the new width.
        heads: the new number of heads.
        batches: text of the language, never of a test set: ``input_ids``, ``attention_mask``, ``labels``.
        basis: which directions stay.
        within: which dimensions of a narrowed head stay: the first, or the best low-rank form.
        refit: whether to fit.
        heads_mode: as in `surgery.axes.narrow`.

    Raises:
        HarnessError: a width that no head fits, no text, or a family that cannot be fitted.
    """
    if basis not in BASES:
        raise unknown("basis", basis, BASES)
    check_heads(model.config, hidden, heads, heads_mode)
    sample = list(batches)
    family, fitted = find_layout(model).model_type, list_families("narrow on text")
    if (basis == "pca" or refit) and family not in fitted:
        raise HarnessError(
            f"narrow: expected a family of {', '.join(fitted)} for basis: pca and refit; got {family}; "
            "take basis: first or importance, without refit"
        )
    check_rotary(model, hidden // heads)
    is_pre_norm, is_whole = find_layout(model).pre_norm is not None, hidden == model.config.hidden_size
    is_exact = is_whole and refit and (is_pre_norm or basis != "pca")
    if is_exact or (basis != "pca" and not refit):
        kept = _choose_dimensions(model, basis, sample, hidden)
        return narrow(model, hidden, heads, basis=kept, heads_mode=heads_mode, within=within)
    basis_DS = _make_basis(model, basis, sample, hidden)
    if not refit:
        return fold_basis(model, basis_DS, heads, within=within)
    if is_pre_norm:
        return refit_pre_norm(model, basis_DS, heads, sample)
    tensors = refit_tensors(model, basis_DS, heads, sample, within=within)
    return rebuild_model(model, tensors, hidden_size=hidden, num_attention_heads=heads)


def _make_basis(model: PreTrainedModel, basis: str, sample: Sequence[Batch], hidden: int) -> Tensor:
    if basis == "pca":
        choose = principal_read_basis if find_layout(model).pre_norm else principal_basis
        return choose(model, sample, hidden)
    kept = _choose_dimensions(model, basis, sample, hidden)
    return selection_basis(kept, model.config.hidden_size)


def _choose_dimensions(model: PreTrainedModel, basis: str, sample: Sequence[Batch], hidden: int) -> Tensor:
    if basis != "importance":
        return torch.arange(hidden)
    return keep_top([measure_hidden_importance(model, sample, "taylor")], hidden)[0]
