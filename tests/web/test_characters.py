"""Python, Node and Chromium give the same ids for every character of the scripts that are served."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from harness.deploy.site import WEB
from harness.export.javascript import list_javascript_differences
from harness.models.tokenizers.drawn_text import draw_texts, list_characters

SCRIPTS = (
    *("Latin", "Cyrillic", "Greek", "Arabic", "Hebrew", "Devanagari", "Bengali", "Tamil", "Malayalam"),
    *("Sinhala", "Thai", "Ethiopic", "Common", "Inherited"),
)
FORMS = (
    normalizers.NFC(),
    normalizers.NFKC(),
    normalizers.NFD(),
    normalizers.NFKD(),
    normalizers.Lowercase(),
)
ODD = {
    "tagger": "The step [MASK] is\u0085one \u200d\ufeff ΣΑΣ ①② İI ﬁ à e\u0301 ½ 猫は !? ؝",
    "classifier": "a\u200db \u061c c\u0085d  e\tf ̈́ ａ～ｂ ﷺ <mask> ‍ ไม่ क्षि",
}


def give_tokens(spec: dict[str, Any], characters: list[str]) -> dict[str, Any]:
    """Give every character a token of its own, so that two characters never share the unknown token."""
    forms = {*characters}.union(*(form.normalize_str(one) for form in FORMS for one in characters))
    pieces = spec["model"]["vocab"]
    if isinstance(pieces, list):
        taken = {name for name, _ in pieces}
        pieces += [[one, -30.0] for one in sorted(forms - taken)]
    else:
        for one in sorted(forms):
            pieces.setdefault(one, len(pieces))
            pieces.setdefault("##" + one, len(pieces))
    return spec


def change(spec: dict[str, Any], normalizer: Any, pre_tokenizer: Any) -> dict[str, Any]:
    backend = Tokenizer.from_str(json.dumps(spec))
    backend.normalizer, backend.pre_tokenizer = normalizer, pre_tokenizer
    return json.loads(backend.to_str())


def train_bytes(lines: list[str]) -> dict[str, Any]:
    backend = Tokenizer(models.BPE())
    backend.normalizer, backend.pre_tokenizer = normalizers.NFC(), pre_tokenizers.ByteLevel()
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(lines, trainer)
    backend.post_processor = processors.ByteLevel()
    return json.loads(backend.to_str())


@pytest.fixture(scope="module")
def characters(node):
    """Every character of the scripts that Python's Unicode knows as well."""
    known = {*list_characters()}
    return [one for one in map(chr, node("scripts.mjs", *SCRIPTS, given=[])) if one in known]


@pytest.fixture(scope="module")
def made(exported, characters, sentences):
    """Tokenizers of the two exports, of their kinds with other steps, and of bytes."""
    specs = {
        kind: json.loads((exported(kind) / "tokenizer.json").read_text(encoding="utf-8"))
        for kind in ("tagger", "classifier")
    }
    full = {kind: give_tokens(spec, characters) for kind, spec in specs.items()}
    lower = normalizers.BertNormalizer(lowercase=True)
    parts = [
        pre_tokenizers.Whitespace(),
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.Punctuation(),
    ]
    split = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    strip = normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents()])
    small = normalizers.Sequence([normalizers.Lowercase(), normalizers.NFKC()])
    return {
        **full,
        "tagger, lower case": change(full["tagger"], lower, pre_tokenizers.BertPreTokenizer()),
        "tagger, split": change(full["tagger"], strip, pre_tokenizers.Sequence(parts)),
        "classifier, lower case": change(full["classifier"], small, split),
        "bytes": train_bytes(sentences),
    }


@pytest.fixture(scope="module")
def given(made, lines, exported):
    """The tokenizers and lines for the programs in JavaScript."""
    settings = {
        kind: json.loads((exported(kind) / "tokenizer_config.json").read_text(encoding="utf-8"))
        for kind in ("tagger", "classifier")
    }
    tokenizers = {
        name: {
            "json": spec,
            "settings": settings["classifier" if name.startswith("classifier") else "tagger"],
        }
        for name, spec in made.items()
    }
    return {"tokenizers": tokenizers, "lines": lines}


@pytest.fixture(scope="module")
def lines(characters, sentences):
    """Each character within, after and between letters, 200 mixed sentences, and text over all of Unicode."""
    pieces = [word for sentence in sentences for word in sentence.split()] + characters
    each = [f"ab{one}cd e {one} {one}{one}f" for one in characters]
    return [*each, *draw_texts(200, 3, pieces), *draw_texts(300, 4), *ODD.values(), *sentences]


@pytest.fixture(scope="module")
def expected(made, lines):
    """The ids in Python."""
    ids = {}
    for name, spec in made.items():
        backend = Tokenizer.from_str(json.dumps(spec | {"padding": None, "truncation": None}))
        ids[name] = [one.ids for one in backend.encode_batch_fast(lines)]
    return ids


def compare(got, expected, lines):
    for name, rows in expected.items():
        differing = [line for line, one, two in zip(lines, rows, got[name], strict=True) if one != two]
        assert not differing, f"{name}: {len(differing)} of {len(lines)}, first {differing[:5]!r}"


@pytest.mark.slow
def test_node_has_the_ids_of_python(node, given, lines, expected):
    compare(node("tokens.mjs", given=given), expected, lines)


@pytest.mark.slow
def test_chromium_has_the_ids_of_python(open_page, exported, given, lines, expected):
    """A part of the tokenizers: Chromium runs the library and the page's modules as Node does."""
    chosen = ("tagger", "classifier", "tagger, lower case")
    given = given | {"tokenizers": {name: given["tokenizers"][name] for name in chosen}}
    compare(
        open_page(exported("tagger"), "tokens.mjs", given), {name: expected[name] for name in chosen}, lines
    )


def read_ranges(name: str) -> set[int]:
    """Return the code points that a constant of the page's table lists."""
    text = (WEB / "page" / "characters.js").read_text(encoding="utf-8")
    listed = re.search(rf"export const {name} =([^;]*);", text)[1]
    pairs = (piece.split("-") for part in re.findall('"([^"]*)"', listed) for piece in part.split())
    return {point for pair in pairs for point in range(int(pair[0], 16), int(pair[-1], 16) + 1)}


def test_tables_of_the_page_are_those_of_tokenizers():
    points = [ord(one) for one in list_characters()]
    bert = {"clean_text": False, "handle_chinese_chars": False, "lowercase": False, "strip_accents": False}
    removed = {
        "CONTROL": normalizers.BertNormalizer(**bert | {"clean_text": True}),
        "NONSPACING": normalizers.BertNormalizer(**bert | {"strip_accents": True}),
        "MARKS": normalizers.StripAccents(),
    }
    for name, normalizer in removed.items():
        gone = {point for point in points if normalizer.normalize_str(f"a{chr(point)}a") == "aa"}
        assert read_ranges(name) & {*points} == gone, name
    splitter = pre_tokenizers.BertPreTokenizer()
    apart = {point for point in points if len(splitter.pre_tokenize_str(f"a{chr(point)}a")) == 3}
    assert read_ranges("PUNCTUATION") & {*points} == apart


def test_export_says_what_javascript_reads_otherwise(exported):
    record = json.loads((exported("classifier") / "export.json").read_text(encoding="utf-8"))
    spec = json.loads((exported("classifier") / "tokenizer.json").read_text(encoding="utf-8"))
    assert record["notes"] == list_javascript_differences(spec)
    assert "U+0085, U+061C and U+200D" in record["notes"][0]
    card = (exported("classifier") / "README.md").read_text(encoding="utf-8")
    assert all(f"- {note}.\n" in card for note in record["notes"])
    marked = {"model": {"type": "BPE", "continuing_subword_prefix": "##"}}
    assert "cannot split words" in list_javascript_differences(marked)[0]
