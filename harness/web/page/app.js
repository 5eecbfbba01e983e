// The page: opens the model in its folder, and shows the labels that it predicts. It loads nothing from other hosts.

import * as ort from "./libraries/ort.wasm.min.mjs";
import { Tokenizer } from "./libraries/tokenizers.min.mjs";
import { TextError, describe, open } from "./model.js";

const at = (id) => document.getElementById(id);
const fetchFile = async (name) => {
  const answer = await fetch(`model/${name}`);
  if (!answer.ok) throw new Error(`${name}: ${answer.status} ${answer.statusText}`);
  return answer;
};
const json = async (name) => (await fetchFile(name)).json();
const bytes = async (name) => new Uint8Array(await (await fetchFile(name)).arrayBuffer());

const UPOS = {
  ADJ: "adjective", ADP: "preposition or postposition", ADV: "adverb", AUX: "auxiliary", CCONJ: "coordinating conjunction",
  DET: "determiner", INTJ: "interjection", NOUN: "noun", NUM: "number", PART: "particle", PRON: "pronoun", PROPN: "name",
  PUNCT: "punctuation", SCONJ: "subordinating conjunction", SYM: "symbol", VERB: "verb", X: "other",
};
const NAMES = { PER: "person", LOC: "place", ORG: "organisation", DATE: "date", MISC: "name of another kind" };

/** What a label means; nothing for one that says it itself. */
function explain(label) {
  if (label === "O") return "no name";
  const [, place, kind] = /^([BI])-(.+)$/.exec(label) ?? [];
  if (place) return `${place === "B" ? "first" : "further"} word of a name: ${NAMES[kind] ?? kind}`;
  return UPOS[label];
}

let model;
let asked = 0;

async function start() {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = new URL("./libraries/", import.meta.url).href;
  ort.env.logLevel = "error";
  const site = await (await fetch("site.json")).json();
  at("title").textContent = site.title;
  document.title = site.title;
  if (site.language) at("text").lang = site.language;
  at("file").textContent = `${site.file}, ${site.precision}`;
  at("size").textContent = `${(site.size_bytes / 1e6).toFixed(2)} MB`;
  model = await open({ ort, Tokenizer, json, bytes, file: site.file });
  await model.predict("."); // the first run compiles: it would be shown as slow
  if (site.example) {
    at("example").hidden = false;
    at("example").addEventListener("click", () => { at("text").value = site.example; run(); });
  }
  at("run").disabled = false;
  document.body.dataset.ready = "yes";
  if (at("text").value) await run();
}

async function run() {
  if (!model) return;
  const turn = ++asked;
  try {
    const text = at("text").value;
    const begun = performance.now();
    const predicted = await model.predict(text);
    const time_ms = performance.now() - begun;
    if (turn !== asked) return;
    at("problem").textContent = "";
    at("time").textContent = `${time_ms.toFixed(1)} ms`;
    show(describe(predicted));
    document.body.dataset.said = text;
  } catch (error) {
    if (turn !== asked) return;
    show([]);
    at("time").textContent = "–";
    showProblem(error);
  }
}

function show(labelled) {
  at("result").replaceChildren(...labelled.map(({ word, label }) => {
    const item = document.createElement("li");
    const shown = document.createElement("b");
    const tag = document.createElement("i");
    [shown.textContent, tag.textContent, shown.dir] = [word, label, "auto"];
    tag.title = explain(label) ?? "";
    item.append(shown, tag);
    return item;
  }));
  const labels = [...new Set(labelled.map(({ label }) => label))].filter(explain);
  at("legend").replaceChildren(...labels.map((label) => {
    const item = document.createElement("li");
    item.textContent = `${label}: ${explain(label)}`;
    return item;
  }));
}

function showProblem(error) {
  at("problem").textContent = error instanceof TextError ? error.message : `The model could not be run: ${error.message}`;
}

at("form").addEventListener("submit", (event) => { event.preventDefault(); run(); });
at("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); run(); }
});

globalThis.predict = (text) => model.predict(text); // for the checks
navigator.serviceWorker?.register("offline.js").then(() => navigator.serviceWorker.ready)
  .then(() => { document.body.dataset.offline = "yes"; }).catch(() => {});
start().catch(showProblem);
