// node node.mjs FOLDER FILE < sentences.json: print the labels of onnxruntime-web and tokenizers.js in Node, as JSON.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { Tokenizer } from "@huggingface/tokenizers";
import * as ort from "onnxruntime-web";
import { open } from "../page/model.js";

const [folder, file] = process.argv.slice(2);
const bytes = async (name) => new Uint8Array(await readFile(join(folder, name)));
const json = async (name) => JSON.parse(await readFile(join(folder, name), "utf8"));
ort.env.wasm.numThreads = 1;
const model = await open({ ort, Tokenizer, json, bytes, file });
const predicted = [];
for (const sentence of JSON.parse(await text(process.stdin))) predicted.push(await model.predict(sentence));
process.stdout.write(JSON.stringify(predicted));
