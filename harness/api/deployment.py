"""Export a model to ONNX files, and label texts with them. `predict` needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.precisions import COPIES, PRECISIONS, find_precision

if TYPE_CHECKING:
    from harness.export.record import ExportRecord

GRAPHS = ("legacy", "legacy-sdpa", "dynamo", "dynamo-sdpa", "legacy-optimized")
"""The graphs that an export tries, the preferred first."""
ALLOWED_DROP = 0.005
"""How much of its score a smaller copy may lose, as a fraction."""


@dataclass(frozen=True)
class LabelledWord:
    """A word of a text with its label.

    Attributes:
        word: as it is written.
        label: None for a word that the tokenizer drops.
        probability: its probability of the label.
        start: its place in the text, and ``end`` the place after it.
        end: see ``start``.
    """

    word: str
    label: str | None
    probability: float | None
    start: int
    end: int


@dataclass(frozen=True)
class LabelledSpan:
    """Consecutive words that labels in IOB2 join, as a name of several words; see `LabelledWord`."""

    text: str
    label: str
    probability: float
    start: int
    end: int


@dataclass(frozen=True)
class Prediction:
    """What a model says of a text.

    Attributes:
        text: the text.
        label: of the text, by a classifier; None of a tagger.
        probability: its probability of that label.
        words: with their labels, by a tagger.
        spans: that the labels form, by a tagger whose labels are in IOB2.
    """

    text: str
    label: str | None = None
    probability: float | None = None
    words: tuple[LabelledWord, ...] = ()
    spans: tuple[LabelledSpan, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def predict(folder: str | Path, texts: Iterable[str], *, file: str | None = None) -> list[Prediction]:
    """Label texts with an exported model.

    A text that is longer than the model takes is read in overlapping windows.

    Args:
        folder: that `export`, or a finished run, made.
        texts: to label; the two texts of a pair have a tab between them.
        file: which of the folder's ONNX files; None: the default of the export.

    Raises:
        HarnessError: the folder holds no whole model, or a text is empty.
    """
    from harness.export.predict import Predictor  # noqa: PLC0415  loads onnxruntime

    try:
        predictor = Predictor(Path(folder), file)
    except SystemExit as error:
        raise HarnessError(str(error)) from None
    return [_predict(predictor, text) for text in texts]


def _predict(predictor: Any, text: str) -> Prediction:
    try:
        output = predictor.label(text)
    except ValueError as error:
        raise HarnessError(f"predict: {error}") from None
    return Prediction(
        text=text,
        label=output.get("label"),
        probability=output.get("probability"),
        words=tuple(LabelledWord(**word) for word in output.get("words", ())),
        spans=tuple(LabelledSpan(**span) for span in output.get("spans", ())),
    )


def export(
    model: str | Path,
    task: str,
    out: str | Path,
    *,
    graphs: Sequence[str] = GRAPHS,
    precisions: Sequence[str] = ("int8",),
    layout: str = "plain",
    language: str | None = None,
    data: str | Path | None = None,
    strict_data: bool = False,
    allowed_drop: float = ALLOWED_DROP,
    length: int = 128,
    seconds: float = 3.0,
    licence: str | None = None,
    report_step: Callable[[str], None] = lambda _: None,
) -> ExportRecord:
    """Export a saved model to a folder of ONNX files that were checked against torch.

    Args:
        model: folder, or hub id with ``@revision``, of any BERT-like encoder.
        task: of its head, as ``ner``; ``mlm`` and ``encoder`` need no fine-tuning.
        out: the folder to make.
        graphs: to try, the preferred first.
        precisions: in addition to fp32; ``("all",)`` for all that can be written.
        layout: plain, transformers.js or ort.
        language: whose task scores the copies, and whose text calibrates them.
        data: the data folder; None: the built-in languages.
        strict_data: whether labelled data that has to be read otherwise than written is refused.
        allowed_drop: how much of its score a copy may lose, as a fraction.
        length: tokens of the longest input that is tried.
        seconds: how long graphs, and each file, are timed.
        licence: of the model, for its card.
        report_step: called with a line before each step.

    Raises:
        HarnessError: the model cannot be exported, or something does not exist; one line.
    """
    from harness.deploy.export_model import export_model  # noqa: PLC0415  loads torch

    return export_model(
        locate_source(model),
        task,
        Path(out),
        graphs=graphs,
        precisions=choose_precisions(precisions, language),
        layout=layout,
        language=language,
        data=None if data is None else Path(data),
        strict_data=strict_data,
        allowed_drop=allowed_drop,
        length=length,
        seconds=seconds,
        licence=licence,
        report_step=report_step,
    )


def choose_precisions(names: Sequence[str], language: str | None) -> tuple[str, ...]:
    """Return the precisions; *all* leaves static int8 out where there is no language's text for calibration.

    Raises:
        UsageError: there is no such precision.
    """
    if list(names) == ["all"]:
        return tuple(name for name in COPIES if language or not PRECISIONS[name].needs_text)
    for name in names:
        find_precision(name, [*COPIES, "all", "none"])
    return tuple(names)


def locate_source(source: str | Path) -> Path:
    """Return the folder of a model; a model of the hub is fetched. `export` refuses what is neither."""
    path, name = Path(source), str(source)
    if name.count("/") != 1 or name.endswith("/") or path.is_absolute() or path.exists():
        return path
    from harness.models.loading.hub import locate_pinned  # noqa: PLC0415  only hub ids need it

    return locate_pinned(name)[1]
