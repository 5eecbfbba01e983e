"""How files lie in an export's folder, for each runtime to find by name: a row of ``LAYOUTS`` each."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from harness.errors import HarnessError, first_line
from harness.export.quantize import weights_for

Paths = Mapping[str, Path]
QUANTIZED = "quantized"
REQUIRED = "required_operators.config"


def arrange(layout: str, folder: Path, paths: Paths, isa: list[str] | None) -> dict[str, str]:
    """Moves or adds files as a layout has them; gives each precision's file, relative to the folder.

    Args:
        layout: a row of ``LAYOUTS``.
        folder: the export's, with config and tokenizer in it.
        paths: the file of each precision, all in the folder itself.
        isa: the processor's instructions, by which 8-bit weights are signed or not.

    Raises:
        HarnessError: onnxruntime could not write a file in its own format.
    """
    return LAYOUTS[layout](folder, paths, isa)


def _plain(folder: Path, paths: Paths, _: list[str] | None) -> dict[str, str]:
    """Leaves all files side by side."""
    return {name: str(path.relative_to(folder)) for name, path in paths.items()}


def _transformers_js(folder: Path, paths: Paths, isa: list[str] | None) -> dict[str, str]:
    """Puts the models in ``onnx/``; its ``q8`` reads a copy of the 8-bit file that suits the machine."""
    below = folder / "onnx"
    below.mkdir()
    for path in paths.values():
        path.replace(below / path.name)
    found = {name: f"onnx/{path.name}" for name, path in paths.items()}
    suited = [name for name in (weights_for(isa), "int8", "uint8") if name in paths]
    if suited:
        found[QUANTIZED] = f"onnx/model_{QUANTIZED}.onnx"
        shutil.copyfile(folder / found[suited[0]], folder / found[QUANTIZED])
    return found


def _ort(folder: Path, paths: Paths, _: list[str] | None) -> dict[str, str]:
    """Writes every file in onnxruntime's own format too, and the operators that a reduced build must have."""
    from onnxruntime.tools.convert_onnx_models_to_ort import (  # noqa: PLC0415  only this layout needs it
        OptimizationStyle,
        convert_onnx_models_to_ort,
    )

    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            convert_onnx_models_to_ort(folder, None, [OptimizationStyle.Fixed])
    except Exception as error:
        raise HarnessError(
            f"--layout ort: wanted onnxruntime's format of '{folder}'; got {first_line(error)}; "
            "take --layout plain"
        ) from error
    return {name: str(path.with_suffix(".ort").relative_to(folder)) for name, path in paths.items()}


LAYOUTS: Mapping[str, Callable[[Path, Paths, list[str] | None], dict[str, str]]] = MappingProxyType(
    {"plain": _plain, "transformers.js": _transformers_js, "ort": _ort}
)
