"""The tasks as one table: kind, scores, labels, file format, titles and the head that learns each.

Readers, schemas, messages, exports, model cards, the web page and the tables of the docs all read this table.
A new task is a row of ``TASKS`` and, where the hub has data for it, a source in ``harness.languages``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from harness.errors import unknown

_OPEN = ("ADJ", "ADV", "INTJ", "NOUN", "PROPN", "VERB")
_CLOSED = ("ADP", "AUX", "CCONJ", "DET", "NUM", "PART", "PRON", "SCONJ")
_OTHER = ("PUNCT", "SYM", "X")
UPOS = tuple(sorted(_OPEN + _CLOSED + _OTHER))
"""The universal part-of-speech tags."""


@dataclass(frozen=True)
class Format:
    """A file format of labelled text; ``harness.data.formats.READERS`` has its reader under the same name.

    Attributes:
        name: the name of its reader.
        ending: of its files.
        row: what a line of it holds, for the docs.
    """

    name: str
    ending: str
    row: str


CONLLU = Format(
    "conllu", ".conllu", "CoNLL-U: ten columns separated by tabs, the word in column 2, UPOS in column 4"
)
IOB2 = Format("iob2", ".conll", "a word, a tab, an IOB2 tag")
TEXTS = Format("texts", ".tsv", "`text`, `label`")
PAIRS = Format("pairs", ".tsv", "`premise`, `hypothesis`, `label`")


@dataclass(frozen=True)
class TaskHead:
    """What a model must end in to be exported for a task, and what its graph returns.

    Attributes:
        suffix: the end of the model's class name; with ``AutoModel`` before it, the class that loads it.
        output: name of the graph's output.
        axes: names of the output's dynamic axes; the last axis is fixed.
        labelled: whether the config must name the classes.
        pipeline: the hub's pipeline tag.
    """

    suffix: str
    output: str
    axes: tuple[str, ...]
    labelled: bool
    pipeline: str


_HEADS_BY_KIND = {
    "token": TaskHead(
        "ForTokenClassification",
        "logits",
        ("batch", "sequence"),
        labelled=True,
        pipeline="token-classification",
    ),
    "sequence": TaskHead(
        "ForSequenceClassification", "logits", ("batch",), labelled=True, pipeline="text-classification"
    ),
}


@dataclass(frozen=True)
class Task:
    """A row of the table of tasks.

    Attributes:
        name: as in folders, tables and the command line.
        kind: one label a word (``token``) or one a text (``sequence``).
        metrics: names of its scores, the one that tables show first.
        format: of its files in a data folder.
        title: in the tables of a report.
        page_title: what the web page calls the task; None where the page cannot show it.
        labels: the closed label set where a standard fixes it, else None: the labels of the training part.
        paired: whether an example is two texts.
    """

    name: str
    kind: Literal["token", "sequence"]
    metrics: tuple[str, ...]
    format: Format
    title: str
    page_title: str | None = None
    labels: tuple[str, ...] | None = None
    paired: bool = False

    @property
    def head(self) -> TaskHead:
        """The head that learns the task."""
        return _HEADS_BY_KIND[self.kind]


_F1_FIRST = ("macro_f1", "accuracy")
_ACCURACY_FIRST = ("accuracy", "macro_f1")
_ROWS = (
    Task("pos", "token", ("accuracy", "macro_f1", "seqeval_f1"), CONLLU, "POS", "Parts of speech", UPOS),
    Task("ner", "token", ("span_f1",), IOB2, "NER", "Names"),
    Task("topic", "sequence", _F1_FIRST, TEXTS, "Topic", "Topic"),
    Task("sentiment", "sequence", _F1_FIRST, TEXTS, "Sentiment", "Sentiment"),
    Task("news", "sequence", _F1_FIRST, TEXTS, "News", "News"),
    Task("hate", "sequence", _ACCURACY_FIRST, TEXTS, "Hate", "Hate speech"),
    Task("nli", "sequence", _ACCURACY_FIRST, PAIRS, "NLI", paired=True),
)
TASKS: Mapping[str, Task] = MappingProxyType({row.name: row for row in _ROWS})

HEADS: Mapping[str, TaskHead] = MappingProxyType(
    {
        **{name: task.head for name, task in TASKS.items()},
        "mlm": TaskHead("ForMaskedLM", "logits", ("batch", "sequence"), labelled=False, pipeline="fill-mask"),
        "encoder": TaskHead(
            "Model", "last_hidden_state", ("batch", "sequence"), labelled=False, pipeline="feature-extraction"
        ),
    }
)
"""What a model can be exported for: the tasks, masked-language modelling, and bare hidden states."""


def find_task(name: str) -> Task:
    """Return a row of the table.

    Raises:
        UsageError: there is no such task; the message lists the tasks.
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    return TASKS[name]
