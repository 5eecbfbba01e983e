"""The device that the commands of this process compute on."""

from __future__ import annotations

import os
import re

from harness.errors import UsageError, unknown

_CHOICES = ("auto", "cpu", "cuda", "cuda:NUMBER")
_VISIBLE = "CUDA_VISIBLE_DEVICES"


def select_device(name: str, place: int | None = None) -> str:
    """Hide from this process the GPUs that it shall not use; return the name.

    It must be called before CUDA is initialised. ``auto`` takes a GPU where torch can use one.

    Args:
        name: of the device.
        place: of this process among several of this machine, which take a GPU each; None: it is alone.

    Raises:
        UsageError: no such device, or a GPU that torch cannot use.
    """
    if name not in _CHOICES[:3] and not re.fullmatch(r"cuda:\d+", name):
        raise unknown("device", name, _CHOICES)
    if name == "cpu":
        os.environ[_VISIBLE] = ""
    elif place is not None and ":" in name:
        raise UsageError(
            f"--device {name}: expected auto, cpu or cuda for several processes, which take a GPU each; "
            "CUDA_VISIBLE_DEVICES chooses among the GPUs"
        )
    elif place is not None:
        _show_gpu(str(place))
    if name.startswith("cuda"):
        _select_gpu(name)
    return name


def list_gpus() -> tuple[str, ...]:
    """Return the GPUs that torch can use here, each as ``CUDA_VISIBLE_DEVICES`` names it."""
    import torch  # noqa: PLC0415  a run in one process asks only when a stage runs

    visible = os.environ.get(_VISIBLE)
    names = map(str, range(torch.cuda.device_count())) if visible is None else visible.split(",")
    return tuple(names) if torch.cuda.is_available() else ()


def _show_gpu(number: str) -> None:
    """Hide every GPU but one; all, where there is no such GPU."""
    visible = [one for one in os.environ.get(_VISIBLE, "").split(",") if one]
    known = not visible or int(number) < len(visible)
    os.environ[_VISIBLE] = (visible[int(number)] if visible else number) if known else ""


def _select_gpu(name: str) -> None:
    number = name.partition(":")[2]
    if number:
        _show_gpu(number)
    import torch  # noqa: PLC0415  only this choice needs it

    if not torch.cuda.is_available():
        raise UsageError(
            f"--device {name}: expected a GPU that torch can use; got none; `harness doctor` says why, "
            "or use --device cpu"
        )
