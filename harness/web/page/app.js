// The page: opens the model in its folder, and shows the labels that it predicts. It loads nothing from other hosts.

import * as ort from "./libraries/ort.wasm.min.mjs";
import { Tokenizer } from "./libraries/tokenizers.min.mjs";
import { TextError, describe, open } from "./model.js";

const at = (id) => document.getElementById(id);
const fetchFile = async (path) => {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${answer.statusText}`);
  return answer;
};

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

let panels = []; // the model, and the one that it is compared with
let asked = 0;

/** Open the model of a folder, run it once, since the first run compiles, and return it with its places in the page. */
async function openPanel(folder, { file, precision, size_bytes: size }, prefix) {
  at(`${prefix}file`).textContent = `${file}, ${precision}`;
  at(`${prefix}size`).textContent = `${(size / 1e6).toFixed(2)} MB`;
  const json = async (name) => (await fetchFile(`${folder}/${name}`)).json();
  const bytes = async (name) => new Uint8Array(await (await fetchFile(`${folder}/${name}`)).arrayBuffer());
  const model = await open({ ort, Tokenizer, json, bytes, file });
  await model.predict(".");
  return { model, result: at(`${prefix}result`), time: at(`${prefix}time`) };
}

async function start() {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = new URL("./libraries/", import.meta.url).href;
  ort.env.logLevel = "error";
  const site = await (await fetch("site.json")).json();
  at("title").textContent = site.title;
  document.title = site.title;
  if (site.language) at("text").lang = site.language;
  const opened = [await openPanel("model", site, "")];
  if (site.compared) {
    at("compared").hidden = false;
    opened.push(await openPanel("compared", site.compared, "compared-"));
  }
  panels = opened;
  if (site.example) {
    at("example").hidden = false;
    at("example").addEventListener("click", () => { at("text").value = site.example; run(); });
  }
  at("run").disabled = false;
  document.body.dataset.ready = "yes";
  if (at("text").value) await run();
}

async function run() {
  if (!panels.length) return;
  const turn = ++asked;
  const text = at("text").value;
  try {
    const shown = [];
    for (const { model } of panels) {
      const begun = performance.now();
      const predicted = await model.predict(text);
      shown.push({ labelled: describe(predicted), time: `${(performance.now() - begun).toFixed(1)} ms` });
      if (turn !== asked) return;
    }
    at("problem").textContent = "";
    show(shown);
    document.body.dataset.said = text;
  } catch (error) {
    if (turn !== asked) return;
    show(panels.map(() => ({ labelled: [], time: "–" })));
    showProblem(error);
  }
}

/** Show what each model said and how long it took, and what all the labels mean. */
function show(shown) {
  shown.forEach(({ labelled, time }, place) => {
    panels[place].time.textContent = time;
    panels[place].result.replaceChildren(...labelled.map(showWord));
  });
  const labels = new Set(shown.flatMap(({ labelled }) => labelled.map(({ label }) => label)));
  at("legend").replaceChildren(...[...labels].filter(explain).map((label) => {
    const item = document.createElement("li");
    item.textContent = `${label}: ${explain(label)}`;
    return item;
  }));
}

function showWord({ word, label }) {
  const item = document.createElement("li");
  const shown = document.createElement("b");
  const tag = document.createElement("i");
  [shown.textContent, tag.textContent, shown.dir] = [word, label, "auto"];
  tag.title = explain(label) ?? "";
  item.append(shown, tag);
  return item;
}

function showProblem(error) {
  at("problem").textContent = error instanceof TextError ? error.message : `The model could not be run: ${error.message}`;
}

at("form").addEventListener("submit", (event) => { event.preventDefault(); run(); });
at("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); run(); }
});

globalThis.predict = (text) => panels[0].model.predict(text); // for the checks
navigator.serviceWorker?.register("offline.js").then(() => navigator.serviceWorker.ready)
  .then(() => { document.body.dataset.offline = "yes"; }).catch(() => {});
start().catch(showProblem);
