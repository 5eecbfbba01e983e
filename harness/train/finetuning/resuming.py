"""Checkpoints of fine-tunings with several seeds: a stopped stage goes on after the last finished one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_model, save_model
from torch import nn

from harness.pipeline.checkpoints import CannotResumeError, is_sealed, seal_checkpoint
from harness.pipeline.folders import remove
from harness.pipeline.process_group import ALONE, ProcessGroup
from harness.train.finetuning.finetune import FinetunedModel
from harness.train.finetuning.rate_selection import Attempt, Selection

_STATE, _WEIGHTS = "attempts.json", "model.safetensors"


@dataclass
class SelectionCheckpoints:
    """The attempts of each seed so far, with the weights of the best; at most one checkpoint a seed is kept.

    Attributes:
        folder: of the stage's checkpoints.
        interval_s: least seconds between two checkpoints.
        group: the processes that train together; the main process alone writes.
        last_s: when the last checkpoint was written, or this object made.
    """

    folder: Path
    interval_s: float
    group: ProcessGroup = ALONE
    last_s: float = field(default_factory=time.monotonic)

    def read(self, seed: int, load: Callable[[], nn.Module]) -> Selection | None:
        """Return the attempts of a seed; None where there is no checkpoint.

        Args:
            seed: of the fine-tunings.
            load: makes a fine-tuned model, whose weights are then replaced.

        Raises:
            CannotResumeError: the checkpoint cannot be read.
        """
        folder = self.group.share(lambda: self._find(seed))
        if folder is None:
            return None
        try:
            state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
            attempts = tuple(Attempt(**attempt) for attempt in state["attempts"])
            kept, model = attempts[state["kept"]], None
            if state["finetuned"] is not None:
                network = load()
                load_model(network, folder / _WEIGHTS)
                model = FinetunedModel(network.eval(), **state["finetuned"])
        except (OSError, ValueError, LookupError, TypeError, RuntimeError) as error:
            raise CannotResumeError(f"the fine-tunings of seed {seed} cannot be read ({error})") from error
        return Selection(model, kept, attempts)

    def write(self, seed: int, selection: Selection) -> None:
        """Write the attempts of a seed, if the last checkpoint is old enough."""
        self.group.share(lambda: self._write(seed, selection))

    def _write(self, seed: int, selection: Selection) -> None:
        if time.monotonic() - self.last_s < self.interval_s:
            return
        folder = self._place(seed) / str(len(selection.attempts))
        folder.mkdir(parents=True)
        finetuned: dict[str, Any] | None = None
        if selection.model is not None:
            save_model(selection.model.model, str(folder / _WEIGHTS))
            finetuned = {name: value for name, value in vars(selection.model).items() if name != "model"}
        state = {
            "attempts": [asdict(attempt) for attempt in selection.attempts],
            "kept": selection.attempts.index(selection.kept),
            "finetuned": finetuned,
        }
        (folder / _STATE).write_text(json.dumps(state), encoding="utf-8")
        seal_checkpoint(folder)
        for older in self._place(seed).iterdir():
            if older != folder:
                remove(older)
        self.last_s = time.monotonic()

    def _find(self, seed: int) -> Path | None:
        """Return the newest checkpoint of a seed, of which a kill may have left two."""
        whole = [path for path in self._place(seed).glob("*") if is_sealed(path)]
        return max(whole, key=lambda path: int(path.name), default=None)

    def _place(self, seed: int) -> Path:
        return self.folder / f"seed-{seed}"
