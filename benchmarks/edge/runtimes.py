"""Run a shape's files by onnxruntime, torch, OpenVINO and CTranslate2; each file is checked first."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer, models
from transformers import BertModel, PreTrainedTokenizerFast

from benchmarks.edge.shapes import INPUTS, POSITIONS, Shape, build_model, draw_batch
from harness.errors import HarnessError
from harness.export.decomposed_layernorm import decompose_layernorm
from harness.export.graphs import WAYS, write_graph
from harness.export.precisions import write_precision
from harness.measure.onnx_evaluation import bind_batch, open_session
from harness.measure.parity import compare_logits, probe_batches
from harness.tasks import HEADS

ALLOWED = {"fp32": 1e-4, "fp16": 0.05, "int8": 0.2, "q4": 1.0}
"""Largest distance of an output from torch's; the weights have a deviation of 0.02."""
OURS = "onnxruntime"


class Setting(NamedTuple):
    """Rows, tokens a row, threads."""

    batch_size: int
    length: int
    threads: int


Call = Callable[[], object]


@dataclass(frozen=True)
class Variant:
    """A model file in one runtime.

    Attributes:
        model: name of the shape.
        runtime: name of the runtime.
        precision: fp32, fp16, int8, q4.
        form: how the graph was written.
        path: its file; None where there is none.
        max_abs_delta: largest difference of an output from torch; None where it could not be compared.
        prepare: return a call for a setting.
    """

    model: str
    runtime: str
    precision: str
    form: str
    path: Path | None
    max_abs_delta: float | None
    prepare: Callable[[Setting], Call]


@cache
def _thread(runtime: str) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix=runtime)


def move_to_own_thread(runtime: str, call: Call) -> Call:
    """Return the same call, run in the thread of its runtime.

    Each thread has its own setup of the processor's matrix tiles (AMX): after OpenVINO's int8 products
    onnxruntime's are illegal instructions in the same thread. Changing threads takes some microseconds.
    """
    return lambda: _thread(runtime).submit(call).result()


def _check_variant(name: str, model: Any, path: Path, precision: str, *, form: str, length: int) -> Variant:
    """Return a checked variant: its outputs are compared with torch's.

    Raises:
        HarnessError: an output differs by more than this precision may.
    """
    vocabulary = model.config.vocab_size
    batches = probe_batches(INPUTS, vocabulary=vocabulary, pad_id=0, max_length=length)
    delta = compare_logits(model, open_session(path), batches).max_abs_delta
    if not delta <= ALLOWED[precision]:
        raise HarnessError(
            f"edge: expected {name} in {precision} to agree with torch; got {delta:.1e} off; fix the export"
        )

    def prepare(setting: Setting) -> Call:
        rows = draw_batch(vocabulary, setting.length, setting.batch_size)
        return bind_batch(open_session(path, threads=setting.threads), rows)

    return Variant(name, OURS, precision, form, path, delta, prepare)


def export_teacher(name: str, shape: Shape, folder: Path, length: int) -> list[Variant]:
    """Export the teacher's shape in fp32 in two forms."""
    model, made = build_model(shape), []
    for way in ("legacy", "legacy-sdpa"):
        path = folder / f"{way}.onnx"
        write_graph(model, path, WAYS[way], head=HEADS["pos"], inputs=INPUTS, max_length=POSITIONS)
        made.append(_check_variant(name, model, path, "fp32", form=way, length=length))
    return made


def export_student(name: str, shape: Shape, folder: Path, length: int) -> list[Variant]:
    """Export a student in fp32 in two forms, in int8 of each form, in 16 and in 4 bits; torch runs it too."""
    model, made = build_model(shape), []
    for way in ("legacy", "legacy-sdpa"):
        source, spelled = folder / f"{way}.onnx", folder / f"{way}-norms.onnx"
        write_graph(model, source, WAYS[way], head=HEADS["pos"], inputs=INPUTS, max_length=POSITIONS)
        decompose_layernorm(source, spelled)
        made.append(_check_variant(name, model, source, "fp32", form=way, length=length))
        for form, path in ((way, source), (f"{way}, norms spelled out", spelled)):
            small = path.with_name(f"{path.stem}-int8.onnx")
            write_precision("int8", path, small)
            made.append(_check_variant(name, model, small, "int8", form=form, length=length))
    for precision in ("fp16", "q4"):
        write_precision(precision, folder / "legacy.onnx", folder / f"{precision}.onnx")
        path = folder / f"{precision}.onnx"
        made.append(_check_variant(name, model, path, precision, form="legacy", length=length))
    return [*made, _torch(name, model)]


def _torch(name: str, model: Any) -> Variant:
    def prepare(setting: Setting) -> Call:
        rows = draw_batch(model.config.vocab_size, setting.length, setting.batch_size)
        given = {key: torch.from_numpy(value) for key, value in rows.items()}

        def call() -> object:
            torch.set_num_threads(setting.threads)
            with torch.inference_mode():
                return model(**given).logits

        return call

    return Variant(name, f"torch {torch.__version__.split('+')[0]}", "fp32", "eager", None, 0.0, prepare)


def prepare_openvino(name: str, folder: Path, vocabulary: int) -> list[Variant]:
    """Return OpenVINO's variants of the student's fp32 and int8 files."""
    import openvino as peer  # noqa: PLC0415  not everywhere

    core, made = peer.Core(), []
    computed = core.get_property("CPU", "INFERENCE_PRECISION_HINT").to_string()  # of a file in fp32
    expected = open_session(folder / "legacy.onnx").run(None, draw_batch(vocabulary, 33))[0]
    for precision, file in (("fp32", "legacy.onnx"), ("int8", "legacy-int8.onnx")):

        def prepare(setting: Setting, file: str = file) -> Call:
            settings = {
                "INFERENCE_NUM_THREADS": setting.threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
            }  # fmt: skip
            request = core.compile_model(str(folder / file), "CPU", settings).create_infer_request()
            rows = draw_batch(vocabulary, setting.length, setting.batch_size)
            return lambda: next(iter(request.infer(rows).values()))

        runtime = f"openvino {peer.__version__.split('-')[0]}"
        got = np.asarray(move_to_own_thread(runtime, prepare(Setting(1, 33, 1)))())
        delta = float(np.abs(got - expected).max())
        form = "legacy" if precision == "int8" else f"legacy, computed in {computed}"
        made.append(Variant(name, runtime, precision, form, folder / file, delta, prepare))
    return made


def prepare_ctranslate2(name: str, shape: Shape, folder: Path) -> list[Variant]:
    """Return CTranslate2's variant of the student's encoder in int8; task heads are not supported."""
    import ctranslate2 as peer  # noqa: PLC0415  not everywhere

    saved, converted = folder / "saved", folder / "ctranslate2"
    model = build_model(shape, BertModel)
    model.config.position_embedding_type = "absolute"  # the converter asks for it; transformers 5 left it out
    model.save_pretrained(saved)
    words = {f"w{number}": number for number in range(shape.vocabulary)}
    made = Tokenizer(models.WordLevel(words, unk_token="w1"))
    PreTrainedTokenizerFast(tokenizer_object=made, unk_token="w1", pad_token="w0").save_pretrained(saved)
    peer.converters.TransformersConverter(str(saved)).convert(str(converted), quantization="int8")

    def prepare(setting: Setting) -> Call:
        encoder = peer.Encoder(
            str(converted), device="cpu", intra_threads=setting.threads, inter_threads=1, compute_type="int8"
        )
        ids = draw_batch(shape.vocabulary, setting.length, setting.batch_size)["input_ids"].tolist()
        return lambda: np.asarray(encoder.forward_batch(ids).last_hidden_state)

    runtime, path = f"ctranslate2 {peer.__version__}", converted / "model.bin"
    return [Variant(name, runtime, "int8", "encoder only", path, None, prepare)]
