"""Compute the gradients of a batch in parts: those of several processes, and halves where memory is short."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback

from harness.config.losses import LOSSES
from harness.errors import is_out_of_memory
from harness.pipeline.checkpoints import CannotResumeError
from harness.pipeline.process_group import ALONE, AgreedError, ProcessGroup
from harness.train.language_model.batches import hash_seed
from harness.train.parts import BatchPart, compute_part_shares, count_units, split_rows, take_rows


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
            AgreedError: their machines differ in the precision that ``auto`` chooses.
        """
        problem = next(filter(None, self.group.gather("")), None)
        if problem is not None:
            raise CannotResumeError(problem)
        if len(set(self.group.gather(bool(args.bf16)))) > 1:
            raise AgreedError(
                "training: expected one precision in all processes; got bf16 in some and fp32 in others; "
                "state the precision in the scale",
                1,
            )
        self.group.copy_from_main(model.state_dict().values())


T = TypeVar("T")
VectorSums = Callable[[dict[str, Tensor]], dict[str, Tensor]]


class _Part(NamedTuple):
    """The rows of a batch that this process takes; the whole batch, and means over it."""

    rows: dict[str, Tensor]
    whole: dict[str, Tensor]
    means: Mapping[str, Tensor]


class FittingTrainer(Trainer):  # type: ignore[misc]
    """A trainer that computes a batch in parts; an optimiser step keeps its batch.

    Every process of a group receives the whole batch and takes some of its rows. A part that does not fit
    into the memory is halved, and so are the parts that are as large after it. Each loss of a part is weighed
    by the part's share of the positions that the loss is a mean over, and the gradients are added up: the
    step is the one that was planned (nearly, where one process's batch did not fit and a loss subtracts a
    mean over it).

    Attributes:
        group: the processes that train.
        fitting_tokens: the padded tokens that go through the model at once since a batch did not fit; None:
            every batch fitted.
        part: what is computed; None: the whole batch.
        sum_vectors: returns, by loss, the sum of a part's vectors whose mean over the batch the loss
            subtracts; None: no loss does.
    """

    def __init__(self, *given: Any, group: ProcessGroup = ALONE, **settings: Any) -> None:
        super().__init__(*given, **settings)
        self.group = group
        self.fitting_tokens: int | None = None
        self.part: BatchPart | None = None
        self.sum_vectors: VectorSums | None = None
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
        self._parts.append(_Part(rows, inputs, self._compute_means(inputs, rows)))

        def add_gradients(again: bool) -> list[Tensor]:
            if again:
                model.zero_grad(set_to_none=True)
            todo = self._parts if again else self._parts[-1:]
            return [self._add_gradients(model, part, rest) for part in todo]

        losses = self._compute_until_fits(rows, add_gradients)
        return losses[-1] if self.group.size == 1 else self._add_up_processes(model, losses[-1])

    def _compute_means(self, inputs: dict[str, Tensor], rows: dict[str, Tensor]) -> Mapping[str, Tensor]:
        """Return the means over the whole batch that losses subtract, where several processes share it."""
        if self.sum_vectors is None or self.group.size == 1:
            return {}
        sum_vectors, empty = self.sum_vectors, len(rows["input_ids"]) == 0
        given = next(split_rows(inputs, 1)) if empty else rows

        def add_up(_: bool) -> dict[str, Tensor]:
            most, sums = self.fitting_tokens or given["input_ids"].numel(), []
            for piece in split_rows(given, most):
                with self.accelerator.autocast():
                    sums.append(sum_vectors(self._prepare_inputs(piece)))
            return {name: torch.stack([one[name] for one in sums]).sum(0) * (not empty) for name in sums[0]}

        totals = self._compute_until_fits(given, add_up)
        self.group.sum(totals.values())
        whole = count_units(inputs)
        counts = {name: whole[LOSSES[name].mean_over] for name in totals}
        return {name: total / counts[name] for name, total in totals.items() if counts[name] > 1}

    def _compute_until_fits(self, batch: Mapping[str, Tensor], compute: Callable[[bool], T]) -> T:
        """Halve what goes through the model at once until something can be computed.

        Args:
            batch: what goes through the model.
            compute: called with whether it was called before.

        Raises:
            RuntimeError: not even one row fits.
        """
        again = False
        while True:
            try:
                return compute(again)
            except RuntimeError as error:
                if not is_out_of_memory(error) or not self._halve(batch):
                    raise
            again = True
            gc.collect()
            torch.cuda.empty_cache()

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
            most, whole = self.fitting_tokens or part.rows["input_ids"].numel(), count_units(part.whole)
            with self._fork_random_state():
                for piece in split_rows(part.rows, most):
                    self.part = BatchPart(compute_part_shares(piece, whole), part.means)
                    losses.append(super().training_step(model, piece))
        self.part = None
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
