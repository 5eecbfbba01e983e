// node transformers.mjs FOLDER DTYPE < sentences.json: print the labels of transformers.js for a folder, as JSON.

import { basename, dirname } from "node:path";
import { text } from "node:stream/consumers";
import { AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer, env } from "@huggingface/transformers";

const [folder, dtype] = process.argv.slice(2);
Object.assign(env, { allowRemoteModels: false, allowLocalModels: true, localModelPath: dirname(folder) });
const name = basename(folder);
const tokenizer = await AutoTokenizer.from_pretrained(name);
const sentences = JSON.parse(await text(process.stdin));
const kind = process.argv[4] === "sequence" ? AutoModelForSequenceClassification : AutoModelForTokenClassification;
const model = await kind.from_pretrained(name, { dtype, device: "cpu" });
const predicted = [];
for (const sentence of sentences) {
  const inputs = tokenizer(sentence);
  const { logits } = await model(inputs);
  const classes = logits.dims.at(-1);
  const labels = [];
  for (let start = 0; start < logits.data.length; start += classes) {
    const row = logits.data.slice(start, start + classes);
    labels.push(model.config.id2label[row.indexOf(Math.max(...row))]);
  }
  predicted.push({ ids: Array.from(inputs.input_ids.data, Number), labels });
}
process.stdout.write(JSON.stringify(predicted));
