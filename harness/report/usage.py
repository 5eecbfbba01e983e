"""The lines of code in a report that use the student and its ONNX files."""

from __future__ import annotations

from dataclasses import dataclass

from harness.report.results import Results
from harness.report.summary import find_final_student
from harness.tasks import TASKS

STUDENT, MODELS = "student", "onnx"
"""The folders next to the report."""

_TRANSFORMERS = """\
from transformers import pipeline

fill = pipeline("fill-mask", model="student")
print(fill(f"A sentence with a {fill.tokenizer.mask_token}."))
"""
_ONNXRUNTIME = """\
import json

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

folder = "onnx/TASK"
tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
session = onnxruntime.InferenceSession(f"{folder}/model.onnx")
with open(f"{folder}/config.json", encoding="utf-8") as file:
    labels = json.load(file)["id2label"]
row = tokenizer.encode(TEXTS)
inputs = {"input_ids": row.ids, "attention_mask": row.attention_mask, "token_type_ids": row.type_ids}
feed = {one.name: np.array([inputs[one.name]], np.int64) for one in session.get_inputs()}
best = np.atleast_1d(session.run(None, feed)[0][0].argmax(-1))
print([labels[str(one)] for one in best])
"""
_TRANSFORMERS_JS = """\
import { env, pipeline } from "@huggingface/transformers";

env.allowRemoteModels = false;
env.localModelPath = "onnx/";
const model = await pipeline("PIPELINE", "TASK", { subfolder: "", dtype: "fp32" });
console.log(await model("A sentence."));
"""


@dataclass(frozen=True)
class Snippet:
    """Lines of code.

    Attributes:
        title: the library.
        language: of the code.
        code: to run in the folder of the report.
    """

    title: str
    language: str
    code: str


def write_snippets(results: Results) -> list[Snippet]:
    """Return how to use the student and, of the first exported task, its ONNX file; nothing for a study."""
    if results.study is not None or find_final_student(results) is None:
        return []
    snippets = [Snippet(f"transformers, {STUDENT}/", "python", _TRANSFORMERS)]
    tasks = [name for name in results.declared.exported_tasks if name in TASKS and results.declared.exported]
    if not tasks:
        return snippets
    task = TASKS[tasks[0]]
    texts = '"A premise.", "A hypothesis."' if task.paired else '"A sentence."'
    python = _ONNXRUNTIME.replace("TASK", task.name).replace("TEXTS", texts)
    snippets.append(Snippet(f"onnxruntime, {MODELS}/{task.name}/", "python", python))
    if not task.paired:
        script = _TRANSFORMERS_JS.replace("TASK", task.name).replace("PIPELINE", task.head.pipeline)
        snippets.append(Snippet(f"transformers.js, {MODELS}/{task.name}/", "js", script))
    return snippets
