// The tokenizer of an export, with the ids that Python's has: the library's own normalisers and splitters differ from
// Python's for some characters (docs/export.md), so those are replaced here.

import { CONTROL, MARKS, NONSPACING, PUNCTUATION, UNDECOMPOSED } from "./characters.js";

const WHITE = "\\p{White_Space}";
const WORD = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}";
const PUNCT = writeClass(PUNCTUATION);
const PATTERNS = {
  control: new RegExp(`[${writeClass(CONTROL)}]`, "gu"),
  marks: new RegExp(`[${writeClass(MARKS)}]`, "gu"),
  nonspacing: new RegExp(`[${writeClass(NONSPACING)}]`, "gu"),
  undecomposed: new RegExp(`([${writeClass(UNDECOMPOSED)}])`, "u"),
  chinese: /[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u{20000}-\u{2a6df}\u{2a700}-\u{2b81f}\u{2b920}-\u{2ceaf}\u{2f800}-\u{2fa1f}]/gu,
  white: new RegExp(WHITE, "gu"),
  byteLevel: new RegExp(`'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^${WHITE}\\p{L}\\p{N}]+|${WHITE}+(?!\\P{White_Space})|${WHITE}+`, "gu"),
};

const NORMALIZERS = {
  Precompiled: (spec) => readCharsmap(spec.precompiled_charsmap),
  BertNormalizer: (spec) => (text) => cleanForBert(text, spec),
  Lowercase: () => lowercase,
  StripAccents: () => (text) => text.replace(PATTERNS.marks, ""),
  NFC: () => (text) => compose(text, "NFC"),
  NFD: () => (text) => compose(text, "NFD"),
  NFKC: () => (text) => compose(text, "NFKC"),
  NFKD: () => (text) => compose(text, "NFKD"),
};

const SPLITTERS = {
  BertPreTokenizer: () => match(`[${PUNCT}]|[^${WHITE}${PUNCT}]+`),
  Whitespace: () => match(`[${WORD}]+|[^${WORD}${WHITE}]+`),
  WhitespaceSplit: () => match(`[^${WHITE}]+`),
  Digits: (spec) => match(`\\P{N}+|\\p{N}${spec.individual_digits ? "" : "+"}`),
  Punctuation: (spec) => match(`[^${PUNCT}]+|[${PUNCT}]${spec.behavior === "Contiguous" ? "+" : ""}`),
};

/** Return the library's tokenizer for `tokenizer.json` and `tokenizer_config.json`, with Python's ids. */
export function makeTokenizer(Tokenizer, json, settings) {
  if (json.model.continuing_subword_prefix && json.model.type === "BPE") {
    throw new Error("the tokenizer marks sub-words within words, which tokenizers.js cannot do; run the model with Python");
  }
  const tokenizer = new Tokenizer(json, settings);
  if (json.normalizer) tokenizer.normalizer = makeNormalizer(json.normalizer, tokenizer.normalizer);
  if (json.pre_tokenizer) tokenizer.pre_tokenizer = makeSplitter(json.pre_tokenizer, tokenizer.pre_tokenizer);
  return tokenizer;
}

function makeNormalizer(spec, library) {
  if (spec.type === "Sequence") {
    const steps = spec.normalizers.map((one, place) => makeNormalizer(one, library.normalizers[place]));
    return (text) => steps.reduce((changed, step) => step(changed), text);
  }
  return NORMALIZERS[spec.type]?.(spec) ?? ((text) => library(text));
}

function makeSplitter(spec, library) {
  if (spec.type === "Sequence") {
    const steps = spec.pretokenizers.map((one, place) => makeSplitter(one, library.tokenizers[place]));
    return (text, options) => steps.reduce((pieces, step) => pieces.flatMap((piece) => step(piece, options)), [text]);
  }
  if (spec.type === "ByteLevel") library.pattern = PATTERNS.byteLevel;
  return SPLITTERS[spec.type]?.(spec) ?? ((text, options) => library(text, options));
}

function match(pattern) {
  const expression = new RegExp(pattern, "gu");
  return (text) => text.match(expression) ?? [];
}

/** Return a class of a regular expression for ranges as `41-5a 61`. */
function writeClass(ranges) {
  return ranges.split(" ").map((range) => range.split("-").map((point) => `\\u{${point}}`).join("-")).join("");
}

/** Lower each character by itself: the end of a word makes no final sigma. */
function lowercase(text) {
  return Array.from(text, (character) => character.toLowerCase()).join("");
}

function compose(text, form) {
  return text.split(PATTERNS.undecomposed).map((part, place) => (place % 2 ? part : part.normalize(form))).join("");
}

function cleanForBert(text, { clean_text, handle_chinese_chars, strip_accents, lowercase: lower }) {
  if (clean_text) text = text.replace(PATTERNS.control, "").replace(PATTERNS.white, " ");
  if (handle_chinese_chars) text = text.replace(PATTERNS.chinese, " $& ");
  if (strip_accents ?? lower) text = compose(text, "NFD").replace(PATTERNS.nonspacing, "");
  return lower ? lowercase(text) : text;
}

/**
 * Return the normaliser that SentencePiece compiled: a double array of bytes, and the texts that its values are places in.
 * Of a grapheme of up to five bytes the first match replaces the whole, in longer ones each character is looked up.
 */
function readCharsmap(encoded) {
  const bytes = Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  const size = view.getUint32(0, true);
  const units = Uint32Array.from({ length: size / 4 }, (_, place) => view.getUint32(4 + 4 * place, true));
  const texts = bytes.subarray(4 + size);
  const [reader, writer] = [new TextDecoder(), new TextEncoder()];
  const graphemes = new Intl.Segmenter("und", { granularity: "grapheme" });
  const known = new Map();
  const follow = (unit) => (unit >>> 10) << ((unit & 512) >>> 6);

  function find(key) {
    let place = follow(units[0]);
    for (const byte of key) {
      if (byte === 0) return null;
      place ^= byte;
      const unit = units[place];
      if ((unit & 0x800000ff) >>> 0 !== byte) return null;
      place ^= follow(unit);
      if ((unit >>> 8) & 1) {
        const start = units[place] & 0x7fffffff;
        return reader.decode(texts.subarray(start, texts.indexOf(0, start)));
      }
    }
    return null;
  }

  function replace(piece, key) {
    if (!known.has(piece)) known.set(piece, find(key ?? writer.encode(piece)));
    return known.get(piece);
  }

  return (text) => {
    let changed = "";
    for (const { segment } of graphemes.segment(text)) {
      const key = writer.encode(segment);
      const whole = key.length < 6 ? replace(segment, key) : null;
      changed += whole ?? Array.from(segment, (character) => replace(character) ?? character).join("");
    }
    return changed;
  };
}
