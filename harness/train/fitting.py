"""Compute the gradients of a batch in parts: those of several processes, and halves where memory is short."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback

from harness.errors import is_out_of_memory
from harness.pipeline.checkpoints import CannotResumeError
from harness.pipeline.process_group import ALONE, ProcessGroup
from harness.train.language_model.batches import hash_seed
from harness.train.parts import Counts, Shares, compute_part_shares, count_units, split_rows, take_rows


def take_fewest(*tokens: int | None) -> int | None:
    """Return the least ``fitting_tokens`` of several trainings; None where all batches fitted."""
    return min((one for one in tokens if one is not None), default=None)


class StartTogether(TrainerCallback):  # type: ignore[misc]
    """Begin a training in all processes of a group, with the weights of the main process."""

    def __init__(self, group: ProcessGroup) -> None:
        self.group = group

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:  # noqa: ARG002
        """Wait for the others.

        Raises:
            CannotResumeError: one of them cannot read its checkpoint (`harness.train.language_model`).
        """
        problem = next(filter(None, self.group.gather("")), None)
        if problem is not None:
            raise CannotResumeError(problem)
        self.group.copy_from_main(model.state_dict().values())


class _Part(NamedTuple):
    """The rows of a batch that this process takes, and the counts of the whole batch."""

    rows: dict[str, Tensor]
    whole: Counts


class FittingTrainer(Trainer):  # type: ignore[misc]
    """A trainer that computes a batch in parts; an optimiser step keeps its batch.

    Every process of a group receives the whole batch and takes some of its rows. A part that does not fit
    into the memory is halved, and so are the parts that are as large after it. Each loss of a part is weighed
    by the part's share of the positions that the loss is a mean over, and the gradients are added up: the
    step is the one that was planned (nearly, where a loss is centred and a batch did not fit).

    Attributes:
        group: the processes that train.
        fitting_tokens: the padded tokens that go through the model at once since a batch did not fit; None:
            every batch fitted.
        shares: of the part that is computed; None: it is the whole batch.
    """

    def __init__(self, *given: Any, group: ProcessGroup = ALONE, **settings: Any) -> None:
        super().__init__(*given, **settings)
        self.group = group
        self.fitting_tokens: int | None = None
        self.shares: Shares | None = None
        self._step = -1
        self._parts: list[_Part] = []
        if group.size > 1:
            self.add_callback(StartTogether(group))

    def training_step(self, model: nn.Module, inputs: dict[str, Tensor], *rest: Any) -> Tensor:
        """Add the gradients of a batch, and return its loss.

        Raises:
            RuntimeError: not even one row fits.
        """
        if self._step != self.state.global_step:
            self._step, self._parts = self.state.global_step, []
        rows = take_rows(inputs, self.group.rank, self.group.size)
        self._parts.append(_Part(rows, count_units(inputs)))
        todo = self._parts[-1:]
        while True:
            try:
                losses = [self._add_gradients(model, part, rest) for part in todo]
                break
            except RuntimeError as error:
                if not is_out_of_memory(error) or not self._halve(rows):
                    raise
            model.zero_grad(set_to_none=True)
            gc.collect()
            torch.cuda.empty_cache()
            todo = list(self._parts)
        return losses[-1] if self.group.size == 1 else self._add_up_processes(model, losses[-1])

    def _halve(self, batch: Mapping[str, Tensor]) -> bool:
        """Halve what goes through the model at once; return whether the batch can be split so."""
        rows, length = batch["input_ids"].shape
        before = min(rows * length, self.fitting_tokens or rows * length)
        self.fitting_tokens = before // 2
        return before >= 2 * length

    def _add_gradients(self, model: nn.Module, part: _Part, rest: tuple[Any, ...]) -> Tensor:
        if self.fitting_tokens is None and self.group.size == 1:
            loss: Tensor = super().training_step(model, part.rows, *rest)
            return loss
        losses = [torch.zeros((), device=self.args.device)]
        if len(part.rows["input_ids"]) > 0:
            most = self.fitting_tokens or part.rows["input_ids"].numel()
            with self._fork_random_state():
                for piece in split_rows(part.rows, most):
                    self.shares = compute_part_shares(piece, part.whole)
                    losses.append(super().training_step(model, piece))
        self.shares = None
        return torch.stack(losses).sum()

    @contextmanager
    def _fork_random_state(self) -> Iterator[None]:
        """Draw the dropout of this process's rows, and leave the common random state where it was."""
        if self.group.size == 1:
            yield
            return
        with torch.random.fork_rng():
            torch.manual_seed(
                hash_seed(self.args.seed, self.state.global_step, len(self._parts), self.group.rank)
            )
            yield

    def _add_up_processes(self, model: nn.Module, loss: Tensor) -> Tensor:
        """Add up the loss over the processes, and after the last batch of a step the gradients.

        A process whose parts have no row has no gradients; a parameter without a gradient in any process
        keeps none, since the optimiser passes it over.
        """
        parameters = [one for one in model.parameters() if one.requires_grad]
        present = [one.grad is not None for one in parameters]
        totals = torch.tensor([float(loss), *present], dtype=torch.float64)
        self.group.sum([totals])
        if self.accelerator.sync_gradients:
            reached = [one for one, number in zip(parameters, totals[1:].tolist(), strict=True) if number]
            for one in reached:
                one.grad = torch.zeros_like(one) if one.grad is None else one.grad
            self.group.sum(one.grad for one in reached)
        return totals[0].to(loss)
