"""Keep the tokens that the language uses most, and certify how its text is tokenised without the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from harness.config.steps.trim import ResolvedTrim
from harness.data import corpus
from harness.json_files import write_json
from harness.models import tokenizers
from harness.models.tokenizers.counted_text import CountedText, Text
from harness.stages.io.artifacts import locate_corpus, read_model, write_step
from harness.stages.io.facts import TrimFacts

if TYPE_CHECKING:
    from harness.pipeline.execute import Context

_CERTIFIED_LINES = 512


def run(context: Context) -> TrimFacts:
    """Write the model with fewer rows, its tokenizer, and ``certificate.json`` about held-out text.

    The single characters of the corpus stay, so that trimming makes no word unknown. The text is streamed:
    memory does not grow with it.
    """
    model, tokenizer = read_model(context)
    step = context.get_step(ResolvedTrim)
    folders = [context.inputs["corpus"]]
    if step.languages:
        further = context.inputs["corpora"]
        folders += [locate_corpus(further, language, step.languages) for language in step.languages]
    trimmed = trim_to_text(
        model,
        tokenizer,
        step,
        [partial(corpus.stream, folder, "train") for folder in folders],
        held_out=(line for document in corpus.stream(folders[0], "held_out") for line in document),
        progress=context.progress,
    )
    written = write_step(context, trimmed.model, trimmed.tokenizer)
    if trimmed.certificate is None:
        return TrimFacts(**vars(written))
    certificate = trimmed.certificate.as_dict()
    write_json(context.out / "certificate.json", certificate)
    return TrimFacts(certificate=certificate, **vars(written))


def trim_to_text(
    model: Any,
    tokenizer: Any,
    step: ResolvedTrim,
    texts: Sequence[Text],
    *,
    held_out: Iterable[str],
    progress: Callable[[int, int, str, dict[str, Any]], None],
) -> tokenizers.Trimmed:
    """Return a model and tokenizer with the tokens that texts use, as a step chooses them.

    Args:
        model: to trim; it is left as it was.
        tokenizer: the model's.
        step: how many tokens stay, or by what rule.
        texts: of each language.
        held_out: lines to certify the tokenizer on; the first 512 are read.
        progress: called with done, total, unit and further values.
    """
    counted = CountedText(tokenizer, texts, lambda done, total, unit: progress(done, total, unit, {}))
    if step.rule is None or step.share is None:
        keep = counted.choose_number(step.vocabulary)
    else:
        keep = counted.choose(step.rule, step.share, step.vocabulary)
    return tokenizers.trim_vocabulary(model, tokenizer, keep, list(islice(held_out, _CERTIFIED_LINES)))
