// node tokens.mjs [CHROMIUM URL] < {"tokenizers": {name: {json, settings}}, "lines": [...]}: print the ids of each line by
// the page's tokenizer, in Node or, with the page that a server has at URL, in Chromium.

import { text } from "node:stream/consumers";
import { Tokenizer } from "@huggingface/tokenizers";
import puppeteer from "puppeteer-core";
import { makeTokenizer } from "../page/tokenize.js";

const [executablePath, url] = process.argv.slice(2);
const { tokenizers, lines } = JSON.parse(await text(process.stdin));

function encodeHere() {
  return Object.fromEntries(Object.entries(tokenizers).map(([name, { json, settings }]) => {
    const tokenizer = makeTokenizer(Tokenizer, json, settings);
    return [name, lines.map((line) => tokenizer.encode(line).ids)];
  }));
}

async function encodeInChromium() {
  const browser = await puppeteer.launch({ executablePath, headless: true, args: ["--no-sandbox", "--disable-gpu"], protocolTimeout: 300000 });
  try {
    const page = await browser.newPage();
    await page.goto(url);
    const ids = {};
    for (const [name, { json, settings }] of Object.entries(tokenizers)) {
      ids[name] = await page.evaluate(async (spec, options, all) => {
        const [library, own] = await Promise.all([import("./libraries/tokenizers.min.mjs"), import("./tokenize.js")]);
        const tokenizer = own.makeTokenizer(library.Tokenizer, spec, options);
        return all.map((line) => tokenizer.encode(line).ids);
      }, json, settings, lines);
    }
    return ids;
  } finally {
    await browser.close();
  }
}

process.stdout.write(JSON.stringify(executablePath ? await encodeInChromium() : encodeHere()));
