// Prints, for each folder named in the JSON on standard input, the ids of its texts.
import { AutoTokenizer, env } from "@huggingface/transformers";
import { readFileSync } from "node:fs";

env.allowRemoteModels = false;
const { root, folders, texts } = JSON.parse(readFileSync(0, "utf8"));
env.localModelPath = root;
const found = {};
for (const folder of folders) {
  const tokenizer = await AutoTokenizer.from_pretrained(folder);
  found[folder] = texts.map((text) => tokenizer.encode(text));
}
console.log(JSON.stringify(found));
