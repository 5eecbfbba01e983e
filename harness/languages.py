"""The table of languages: code, name, script, and the sources of corpus and tasks on the hub.

A source is pinned where its full commit hash and its folders at that commit were read in a public listing of
the hub. ``revision=None`` means that no commit could be verified: the reader then resolves ``branch`` to a
commit when it fetches, and returns that commit for the manifest. No row was fetched when this table was
written; a missing file or column is an error that lists the existing ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from harness.errors import unknown

SCRIPTS = {"Arab": "Arabic", "Deva": "Devanagari", "Hebr": "Hebrew", "Latn": "Latin"}
_DEV = "validation"


@dataclass(frozen=True)
class Source:
    """A data set on the hub.

    Attributes:
        hub: its id.
        files: a glob of its files in the repository; ``{config}`` and ``{split}`` are filled in.
        columns: of the text (or words, or both texts of a pair), and last of the labels, if any.
        licence: as the hub or the authors state it.
        revision: a full commit hash, or None: ``branch`` is resolved when fetched.
        branch: the branch or tag to resolve.
        config: the part for one language.
        dev: its name of the development part.
        labels: names of the labels 0, 1, …, where its files do not contain the names.
    """

    hub: str
    files: str
    columns: tuple[str, ...]
    licence: str
    revision: str | None = None
    branch: str = "main"
    config: str = ""
    dev: str = _DEV
    labels: tuple[str, ...] | None = None

    def pattern(self, split: str) -> str:
        """Return the glob of the files of ``train``, ``dev`` or ``test``."""
        return self.files.format(config=self.config, split=self.dev if split == "dev" else split)


@dataclass(frozen=True)
class Language:
    """A row of the table.

    Attributes:
        code: as in commands and folders (ISO 639-1, or 639-3 for languages without such a code).
        name: in English.
        script: ISO 15924.
        corpus: running text on the hub.
        tasks: labelled data on the hub by task; a missing task has no known source.
    """

    code: str
    name: str
    script: str
    corpus: Source
    tasks: Mapping[str, Source] = field(default_factory=dict)


GLOTCC = Source(
    "cis-lmu/GlotCC-V1",
    "v1.0/{config}/*.parquet",
    ("content",),
    "CC0-1.0 for the metadata; the text under the terms of Common Crawl",
    revision="9aefe79b1f20f2e61b1349e0af1c0bcbc485f11e",
)
SIB200 = Source(
    "Davlan/sib200",
    "data/{config}/{split}.tsv",
    ("text", "category"),
    "CC-BY-SA-4.0",
    revision="380836b2ab7dda501403d3272baff469d759a151",
    dev="dev",
)
WIKIANN = Source(
    "unimelb-nlp/wikiann",
    "{config}/{split}/*.parquet",
    ("tokens", "ner_tags"),
    "not stated on the hub; the text is Wikipedia's, CC-BY-SA-3.0",
    revision="f89f2fe2694613baf6bb62e7393290846127adbf",
    labels=("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"),
)
UNIVERSAL_DEPENDENCIES = Source(
    "commul/universal_dependencies",
    "*{config}/{split}*.parquet",
    ("tokens", "upos"),
    "one for each treebank; see its page at universaldependencies.org",
    branch="2.17",
    dev="dev",
)
AFRISENTI = Source(
    "masakhane/afrisenti",
    "{config}/{split}/*.parquet",
    ("tweet", "label"),
    "CC-BY-NC-SA-2.0",
    revision="3ebd0db92926eeb186a68dbeddd526bedda5cd76",
    labels=("positive", "neutral", "negative"),
)
SENTIMENT_EN = Source(
    "cornell-movie-review-data/rotten_tomatoes",
    "{split}.parquet",
    ("text", "label"),
    "not stated",
    revision="b6059de032aed3fea5bfadcbef8d375559c6bfd9",
    labels=("negative", "positive"),
)
SENTIMENT_FR = Source(
    "tblard/allocine",
    "allocine/{split}-*.parquet",
    ("review", "label"),
    "MIT",
    labels=("negative", "positive"),
)
SENTIMENT_MT = Source(
    "amitness/sentiment-mt",
    "data/{split}-*.parquet",
    ("text", "label"),
    "not stated",
    revision="12735133f6907d2580f37092ebc630e9ef52442d",
    labels=("negative", "positive"),
)
SENTIMENT_SK = Source(
    "DGurgurov/slovak_sa",
    "default/{split}/*.parquet",
    ("text", "label"),
    "MIT",
    revision="abb7acf88146e5e94a855aa80f45d3b296f85141",
)
SENTIMENT_SL = Source("DGurgurov/slovenian_sa", "{split}.csv", ("text", "label"), "MIT", dev="dev")

NEWS = Source(
    "masakhane/masakhanews",
    "{config}/{split}/*.parquet",
    ("headline_text", "label"),
    "AFL-3.0",
    branch="refs/convert/parquet",
)
XNLI = Source(
    "facebook/xnli",
    "{config}/xnli-{split}.parquet",
    ("premise", "hypothesis", "label"),
    "CC-BY-NC-4.0",
    revision="11d52e2cb57c73ff50d76bbfa3b853159db61d01",
    labels=("entailment", "neutral", "contradiction"),
)
HATE_TL = Source(
    "legacy-datasets/hate_speech_filipino",
    "default/{split}/*.parquet",
    ("text", "label"),
    "not stated",
    branch="refs/convert/parquet",
    labels=("0", "1"),
)

_GENERAL: dict[str, Source] = {"pos": UNIVERSAL_DEPENDENCIES, "ner": WIKIANN, "topic": SIB200}


def _row(
    code: str,
    name: str,
    iso: str,
    *,
    script: str = "Latn",
    treebank: str | None = None,
    sentiment: Source | None = None,
    web: str | None = None,
    more: Mapping[str, Source] = MappingProxyType({}),
) -> Language:
    """Return a row of the table.

    Args:
        code: of the language, also in WikiANN.
        name: in English.
        iso: its ISO 639-3 code in SIB-200 and, unless ``web`` differs, in GlotCC.
        script: ISO 15924.
        treebank: the treebank of Universal Dependencies with a training part, if one is known.
        sentiment: the source of sentiment data, if one is known.
        web: its ISO 639-3 code in GlotCC.
        more: tasks that few languages have.
    """
    configs = {"pos": treebank, "ner": code, "topic": f"{iso}_{script}"}
    tasks = {task: replace(_GENERAL[task], config=config) for task, config in configs.items() if config}
    if sentiment is not None:
        tasks["sentiment"] = sentiment
    tasks |= more
    corpus = replace(GLOTCC, config=f"{web or iso}-{script}")
    return Language(code, name, script, corpus, MappingProxyType(tasks))


def _news_and_nli(news: str | None, nli: str | None) -> dict[str, Source]:
    sources = {"news": replace(NEWS, config=news or ""), "nli": replace(XNLI, config=nli or "")}
    return {task: source for task, source in sources.items() if source.config}


_ROWS = (
    _row("ar", "Arabic", "arb", script="Arab", treebank="ar_padt"),
    _row("ceb", "Cebuano", "ceb"),
    _row("cs", "Czech", "ces", treebank="cs_pdtc"),
    _row("de", "German", "deu", treebank="de_gsd"),
    _row("en", "English", "eng", treebank="en_ewt", sentiment=SENTIMENT_EN, more=_news_and_nli("eng", "en")),
    _row("es", "Spanish", "spa", treebank="es_ancora", more=_news_and_nli(None, "es")),
    _row(
        "fr", "French", "fra", treebank="fr_sequoia", sentiment=SENTIMENT_FR, more=_news_and_nli("fra", "fr")
    ),
    _row("ha", "Hausa", "hau", sentiment=replace(AFRISENTI, config="hau"), more=_news_and_nli("hau", None)),
    _row("he", "Hebrew", "heb", script="Hebr", treebank="he_htb"),
    _row("hi", "Hindi", "hin", script="Deva", treebank="hi_hdtb", more=_news_and_nli(None, "hi")),
    _row("hr", "Croatian", "hrv", treebank="hr_set"),
    _row("id", "Indonesian", "ind", treebank="id_gsd"),
    _row("it", "Italian", "ita", treebank="it_isdt"),
    _row("mt", "Maltese", "mlt", treebank="mt_mudt", sentiment=SENTIMENT_MT),
    _row("nl", "Dutch", "nld", treebank="nl_alpino"),
    _row("pl", "Polish", "pol", treebank="pl_pdb"),
    _row("sk", "Slovak", "slk", treebank="sk_snk", sentiment=SENTIMENT_SK),
    _row("sl", "Slovenian", "slv", treebank="sl_ssj", sentiment=SENTIMENT_SL),
    _row("sw", "Swahili", "swh", sentiment=replace(AFRISENTI, config="swa"), more=_news_and_nli("swa", "sw")),
    _row("tl", "Tagalog", "tgl", treebank="tl_newscrawl", web="fil", more={"hate": HATE_TL}),
)
LANGUAGES: dict[str, Language] = {row.code: row for row in _ROWS}


def language(code: str) -> Language:
    """Return the row of a language.

    Raises:
        UsageError: no such language; the message lists the known ones.
    """
    if code not in LANGUAGES:
        raise unknown("language", code, LANGUAGES)
    return LANGUAGES[code]
