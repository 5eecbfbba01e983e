// An exported model: text in, labels out. Shared by the page and the checks in Node.

import { makeTokenizer } from "./tokenize.js";

export const EMPTY = "Type a sentence.";

const INPUTS = { input_ids: "ids", attention_mask: "attention_mask", token_type_ids: "token_type_ids" };

// Families whose first position follows the padding token's id.
const AFTER_PADDING = ["roberta", "xlm-roberta", "camembert", "xlm-roberta-xl"];

export class TextError extends Error {}

/**
 * Open a model.
 * @param {{ort: object, Tokenizer: Function, json: (name: string) => Promise<object>,
 *          bytes: (name: string) => Promise<Uint8Array>, file: string}} parts the libraries, the readers of its
 *   files, and the name of the ONNX file.
 */
export async function open({ ort, Tokenizer, json, bytes, file }) {
  const [config, tokenizer, settings, graph] = await Promise.all([
    json("config.json"), json("tokenizer.json"), json("tokenizer_config.json"), bytes(file),
  ]);
  const session = await ort.InferenceSession.create(graph, { executionProviders: ["wasm"] });
  return new Model(ort, session, makeTokenizer(Tokenizer, tokenizer, settings), config);
}

export class Model {
  constructor(ort, session, tokenizer, config) {
    Object.assign(this, { ort, session, tokenizer, config });
    const kept = AFTER_PADDING.includes(config.model_type) ? (config.pad_token_id ?? 0) + 1 : 0;
    this.maxTokens = config.max_position_embeddings - kept;
  }

  /**
   * Return {ids, tokens, labels} of a tagger; of a classifier {ids, label, probability}, or {ids, probabilities}
   * where several labels may hold; of a regression {ids, values}. Both lists are of [name, number].
   */
  async predict(text) {
    if (!text.trim()) throw new TextError(EMPTY);
    const encoded = this.tokenizer.encode(text, { return_token_type_ids: true });
    const length = encoded.ids.length;
    if (length > this.maxTokens) {
      throw new TextError(`This text has ${length} tokens; the model takes ${this.maxTokens}. Shorten it.`);
    }
    encoded.token_type_ids ??= new Array(length).fill(0);
    const given = {};
    for (const name of this.session.inputNames) {
      given[name] = new this.ort.Tensor("int64", BigInt64Array.from(encoded[INPUTS[name]], BigInt), [1, length]);
    }
    const { logits } = await this.session.run(given);
    return logits.dims.length === 2 ? this.#classify(logits, encoded) : this.#tag(logits, encoded, text);
  }

  #classify(logits, { ids }) {
    const named = (numbers) => numbers.map((number, place) => [this.config.id2label[place], number]);
    const problem = this.config.problem_type;
    if (problem === "regression") return { ids, values: named(Array.from(logits.data)) };
    if (problem === "multi_label_classification") return { ids, probabilities: named(Array.from(logits.data, sigmoid)) };
    const shares = softmax(Array.from(logits.data));
    const best = shares.indexOf(Math.max(...shares));
    return { ids, label: this.config.id2label[best], probability: shares[best] };
  }

  #tag(logits, { ids, tokens }, text) {
    const classes = logits.dims[2];
    const bare = this.tokenizer.encode(text, { add_special_tokens: false }).ids.length;
    const first = ids.length > bare ? 1 : 0; // special tokens: one before the text, the others after it
    const kept = Array.from({ length: bare }, (_, place) => first + place);
    return {
      ids: kept.map((place) => ids[place]),
      tokens: kept.map((place) => tokens[place]),
      labels: kept.map((place) => this.config.id2label[argmax(logits.data, place * classes, classes)]),
    };
  }
}

/** Return what the page shows of a prediction: words or outputs, each with its label or number. */
export function describe(predicted) {
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  if (predicted.label !== undefined) return [{ word: predicted.label, label: percent(predicted.probability) }];
  if (predicted.probabilities) return predicted.probabilities.map(([word, share]) => ({ word, label: percent(share) }));
  if (predicted.values?.length === 1) return [{ word: predicted.values[0][1].toFixed(3), label: "" }];
  if (predicted.values) return predicted.values.map(([word, value]) => ({ word, label: value.toFixed(3) }));
  return joinWords(predicted);
}

/** Join sub-words to words, each with the label of its first sub-word, as in training. */
export function joinWords({ tokens, labels }) {
  const joined = [];
  tokens.forEach((token, place) => {
    const bare = token.replace(/^(##|▁)/u, "");
    const continues = token.startsWith("##") || (isUnigram(tokens) && !token.startsWith("▁") && /^[\p{L}\p{N}\p{M}]/u.test(token));
    if (continues && joined.length) joined.at(-1).word += bare;
    else if (bare) joined.push({ word: bare, label: labels[place] });
  });
  return joined;
}

const isUnigram = (tokens) => tokens.some((token) => token.startsWith("▁"));

function argmax(data, start, count) {
  let best = 0;
  for (let place = 1; place < count; place++) if (data[start + place] > data[start + best]) best = place;
  return best;
}

const sigmoid = (logit) => 1 / (1 + Math.exp(-logit));

function softmax(logits) {
  const top = Math.max(...logits);
  const shares = logits.map((one) => Math.exp(one - top));
  const sum = shares.reduce((a, b) => a + b);
  return shares.map((one) => one / sum);
}
