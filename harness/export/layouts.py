"""How the files of an export are arranged, so that a runtime finds them: a row of ``LAYOUTS`` each."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from harness.errors import HarnessError, first_line
from harness.export.quantize import choose_weights

Paths = Mapping[str, Path]
QUANTIZED = "quantized"
REQUIRED = "required_operators.config"


def arrange(layout: str, folder: Path, paths: Paths, isa: list[str] | None) -> dict[str, str]:
    """Move or add files as a layout requires; return the file of each precision, relative to the folder.

    Args:
        layout: a row of ``LAYOUTS``.
        folder: of the export, with config and tokenizer in it.
        paths: the file of each precision, all in the folder itself.
        isa: the processor's instructions, which decide whether 8-bit weights are signed.

    Raises:
        HarnessError: onnxruntime could not write a file in its own format.
    """
    return LAYOUTS[layout](folder, paths, isa)


def _leave_plain(folder: Path, paths: Paths, _: list[str] | None) -> dict[str, str]:
    """Leave all files side by side."""
    return {name: str(path.relative_to(folder)) for name, path in paths.items()}


def _arrange_for_transformers_js(folder: Path, paths: Paths, isa: list[str] | None) -> dict[str, str]:
    """Put the models in ``onnx/``; its ``q8`` reads a copy of the 8-bit file that suits the machine."""
    below = folder / "onnx"
    below.mkdir()
    for path in paths.values():
        path.replace(below / path.name)
    files = {name: f"onnx/{path.name}" for name, path in paths.items()}
    suited = [name for name in (choose_weights(isa), "int8", "uint8") if name in paths]
    if suited:
        files[QUANTIZED] = f"onnx/model_{QUANTIZED}.onnx"
        shutil.copyfile(folder / files[suited[0]], folder / files[QUANTIZED])
    return files


def _add_ort_format(folder: Path, paths: Paths, _: list[str] | None) -> dict[str, str]:
    """Write every file in onnxruntime's own format too, and the operators that a reduced build must have."""
    from onnxruntime.tools.convert_onnx_models_to_ort import (  # noqa: PLC0415  only this layout needs it
        OptimizationStyle,
        convert_onnx_models_to_ort,
    )

    try:
        with contextlib.redirect_stdout(io.StringIO()):
            convert_onnx_models_to_ort(folder, None, [OptimizationStyle.Fixed])
    except Exception as error:
        raise HarnessError(
            f"--layout ort: expected onnxruntime's format of '{folder}'; got {first_line(error)}; "
            "take --layout plain"
        ) from error
    return {name: str(path.with_suffix(".ort").relative_to(folder)) for name, path in paths.items()}


LAYOUTS: Mapping[str, Callable[[Path, Paths, list[str] | None], dict[str, str]]] = MappingProxyType(
    {"plain": _leave_plain, "transformers.js": _arrange_for_transformers_js, "ort": _add_ort_format}
)
