"""The facts that stages record in their manifests, as types: a stage writes them, the report reads them.

`harness.stages.table` names the type of each kind. A change of a type needs a new version of its kind.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue, RootModel

from harness.config.shape import Shape
from harness.measure.interval import Interval


class Facts(BaseModel):
    """Facts of one stage, or a part of them; frozen, and unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


def to_json(facts: BaseModel) -> dict[str, Any]:
    """Return a stage's facts as JSON types; a fact that the stage did not set is left out."""
    whole = isinstance(facts, RootModel)
    given = None if whole else facts.model_fields_set
    content: dict[str, Any] = facts.model_dump(mode="json", include=given, exclude_unset=whole)
    return content


class LeakageCounts(Facts):
    """Items of a task whose text is also in another part: of dev in train, of test in train or dev."""

    dev: int
    test: int


class RepeatCounts(Facts):
    """Items of a part whose text an earlier item has, and items whose text has another label elsewhere."""

    duplicates: int
    contradictions: int


class TaskFacts(Facts):
    """One labelled task: the number of examples of each part, its labels and where it comes from.

    `repeats` are by part; empty in manifests from before they were counted.
    """

    train: int
    dev: int
    test: int
    labels: list[str]
    leakage: LeakageCounts
    repeats: dict[str, RepeatCounts] = {}
    notes: list[str]
    provenance: dict[str, JsonValue]


class TasksFacts(RootModel[dict[str, TaskFacts]]):
    """The facts of each task, by name."""


class CorpusFacts(Facts):
    """The text of one language: the counts of `harness.data.corpus.Statistics`, and where it comes from.

    `unread_tasks`: why the texts of a part of a task, as ``topic/mt/dev``, could not be read and kept out.
    `task_texts`: by task, how many texts of its training part were read.
    """

    documents: int
    lines: int
    empty: int
    duplicates: int
    excluded: int
    characters: int
    train_documents: int
    train_lines: int
    held_out_documents: int
    held_out_lines: int
    unread_tasks: dict[str, str] = {}
    task_texts: dict[str, int] = {}
    provenance: dict[str, JsonValue]


class CorporaFacts(RootModel[dict[str, CorpusFacts]]):
    """The facts of each language that was read, by code."""


class SizeFacts(Facts):
    """The shape, the parameters by part, and the bytes of a model; None where a model has none."""

    shape: Shape | None = None
    parameters: dict[str, int] | None = None
    size_bytes: int | None = None


class ModelFacts(SizeFacts):
    """A model with all three."""

    shape: Shape
    parameters: dict[str, int]
    size_bytes: int


class TeacherFacts(Facts):
    """The name of a teacher that was not trained here, its revision on the hub, and its card's licence."""

    name: str
    revision: str | None
    licence: str | None = None


class FetchFacts(ModelFacts):
    """A teacher from the hub or from a folder.

    Attributes:
        new_head: whether it was published without a masked-language head.
        dropped_rows: rows of its embeddings that no token of its tokenizer has.
        tokenizer_notes: what in its tokenizer's files its user may not expect.
    """

    teacher: TeacherFacts
    new_head: bool = False
    dropped_rows: int = 0
    tokenizer_notes: list[str] = []


class LoggedLoss(Facts):
    """One point of a loss curve, with whatever else transformers logs there."""

    model_config = ConfigDict(extra="allow")

    loss: float
    step: int


class TrainingFacts(Facts):
    """The amount and speed of one training, and its loss curve; no speed of one that was resumed.

    `fitting_tokens` went through the model at once after a batch did not fit into the memory.
    """

    tokens: int
    steps: int
    tokens_per_s: float | None
    train_s: float
    resumed: bool
    losses: list[LoggedLoss]
    fitting_tokens: int | None = None


class TrainingHalf(Facts):
    """One of the trainings that a teacher went through: first the shallow model, then the deep one."""

    tokens: int
    steps: int
    train_s: float


class PretrainingFacts(TrainingFacts):
    """A teacher's whole training; the loss curve is that of the last half."""

    halves: list[TrainingHalf]


class PretrainFacts(ModelFacts):
    """A teacher that was trained here."""

    training: PretrainingFacts


class HeldOutFacts(Facts):
    """The masked-language loss on held-out text, in nats a masked token and a byte of text."""

    loss: float
    perplexity: float
    loss_per_byte: float
    accuracy: float
    masked: int


class StepFacts(ModelFacts):
    """The model after a step of the recipe."""

    held_out: HeldOutFacts


class TrainedStepFacts(StepFacts):
    """The model after a step that trains."""

    training: TrainingFacts


class LayerRemoval(Facts):
    """A layer that was left out, by its index before the step, and the loss on text without it."""

    layer: int
    loss: float


class ShortenFacts(StepFacts):
    """The model with fewer layers; by influence: those that stay, and the others in the order they went."""

    kept: list[int] = []
    removed: list[LayerRemoval] = []


class PruningRound(Facts):
    """The FFN width after one round, and the share of the summed importance that the kept neurons have."""

    ffn: int
    kept_score_fraction: float


class PruneFacts(StepFacts):
    """The model after pruning."""

    rounds: list[PruningRound]


class TrimFacts(StepFacts):
    """The model after trimming, with the fields of `harness.models.tokenizers.coverage.Certificate`."""

    certificate: dict[str, JsonValue] | None = None


class RetokenizeFacts(StepFacts):
    """The model with a learned vocabulary, and the tokens of held-out text before and after.

    `num_shared` of its tokens the old vocabulary has too.
    """

    num_shared: int
    tokens_per_word_before: float
    tokens_per_word_after: float
    unknown_fraction_before: float
    unknown_fraction_after: float


class MetricFacts(Facts):
    """A metric on the test part: the score of each seed, their mean, deviation and 95 % interval."""

    values: list[float]
    mean: float
    std: float | None
    low: float
    high: float


class ScoresFacts(Facts):
    """The scores of a model on a task, by metric; `by_seed` lists the seeds in the order of the values."""

    task: str
    n_test: int
    by_seed: list[int]
    signature: str
    metrics: dict[str, MetricFacts]


class AttemptFacts(Facts):
    """One fine-tuning of a seed; `problem` is why it counts as collapsed, None if it does not."""

    learning_rate: float
    dev_score: float | None
    problem: str | None


class SeedFacts(Facts):
    """One fine-tuning: the epoch that was kept, the dev score of each epoch, the trained parameters.

    `learning_rate` is that of the attempt that was kept, `attempts` are all that were made. `dev_after_text`
    is the dev score after text that a teacher labelled, before the task's own examples. `fitting_tokens` went
    through the model at once after a batch did not fit into the memory.
    """

    best_epoch: int
    dev: list[float]
    num_trained: int
    learning_rate: float
    attempts: list[AttemptFacts]
    dev_after_text: float | None = None
    fitting_tokens: int | None = None


class LabelledTextFacts(Facts):
    """The text that a model's teachers labelled, and how the model was trained on it with each seed.

    `tokens` are those of the lines and of the task's own examples, whose logits are learned too.
    """

    lines: int
    tokens: int
    epochs: int
    learning_rate: float


class MajorityFacts(Facts):
    """The training part's most frequent label, its share there, and its score on dev."""

    label: str
    train_fraction: float
    dev_score: float


class FinetunedScoresFacts(ScoresFacts):
    """The scores of a fine-tuned model, with each fine-tuning by its seed.

    `dropped` are the seeds of which every attempt diverged. `text` is what the model learned from first.
    """

    seeds: dict[str, SeedFacts]
    dropped: dict[str, list[AttemptFacts]]
    majority: MajorityFacts
    text: LabelledTextFacts | None = None


class LinearScoresFacts(ScoresFacts):
    """The scores of a linear model, with its dev score at each strength of regularisation."""

    dev: dict[str, float]


class ScoringFacts(Facts):
    """What every stage that scores a model records."""

    scores: ScoresFacts


class FinetuningFacts(ScoringFacts):
    """A model scored by fine-tuning."""

    scores: FinetunedScoresFacts


class LinearFacts(ScoringFacts):
    """A linear model, scored."""

    scores: LinearScoresFacts


class ComparisonFacts(Facts):
    """One model compared with another on a task, or on the average over tasks, which has no test."""

    model: str
    other: str
    task: str
    difference: Interval
    retention: Interval | None
    p_value: float | None
    p_wilcoxon: float | None
    p_holm: float | None
    verdict: str


class CompareFacts(Facts):
    """Every pair of models that was compared."""

    comparisons: list[ComparisonFacts]


class ReportFacts(Facts):
    """The machine and the versions that a report was written with (`harness.measure.environment`)."""

    environment: dict[str, JsonValue]
