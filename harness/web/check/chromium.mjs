// node chromium.mjs CHROMIUM URL FOLDER SERVER < sentences.json: open the page, use it like a person, and print as
// JSON the observations: labels, requests, effects of keys, widths. Screenshots go to FOLDER. At the end, end the
// process SERVER, which serves the page, and open the page again.

import { join } from "node:path";
import { text } from "node:stream/consumers";
import puppeteer from "puppeteer-core";

const [executablePath, url, folder, server] = process.argv.slice(2);
const sentences = JSON.parse(await text(process.stdin));

/** Wait until no server answers at an address; return whether that happened. */
async function waitUntilGone(address) {
  for (let tries = 0; tries < 300; tries++) {
    try {
      await fetch(address);
      await new Promise((done) => setTimeout(done, 100));
    } catch {
      return true;
    }
  }
  return false;
}

const browser = await puppeteer.launch({ executablePath, headless: true, args: ["--no-sandbox", "--disable-gpu", "--force-color-profile=srgb"], protocolTimeout: 300000 });
const seen = { requests: [], problems: [] };
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(240000);
  page.on("request", (one) => seen.requests.push(one.url()));
  page.on("pageerror", (error) => seen.problems.push(String(error)));
  page.on("console", (one) => { if (one.type() === "error") seen.problems.push(one.text()); });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "light" }]);
  await page.setViewport({ width: 360, height: 640 });
  await page.goto(url);
  await page.waitForSelector("body[data-ready]");
  seen.said = await page.evaluate(async (all) => {
    const predicted = [];
    for (const one of all) predicted.push(await globalThis.predict(one));
    return predicted;
  }, sentences);

  seen.focused = await page.evaluate(() => document.activeElement.id);
  await page.keyboard.type(sentences[0]);
  await page.keyboard.press("Enter");
  await page.waitForFunction((one) => document.body.dataset.said === one, {}, sentences[0]);
  seen.shown = await page.$$eval("#result li", (all) => all.map((one) => [one.querySelector("b").textContent, one.querySelector("i").textContent]));
  seen.facts = await page.$$eval("#facts dd", (all) => all.map((one) => one.textContent));
  await page.keyboard.press("Tab");
  seen.next = await page.evaluate(() => document.activeElement.id);
  seen.outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  seen.widths = {};
  for (const width of [320, 360, 1280]) {
    await page.setViewport({ width, height: 640 });
    seen.widths[width] = await page.evaluate(() => document.documentElement.scrollWidth);
  }
  await page.evaluate(() => { document.activeElement.blur(); document.getElementById("time").textContent = "1.0 ms"; });
  for (const [name, width] of [["phone", 360], ["wide", 900]]) {
    await page.setViewport({ width, height: 640 });
    await page.screenshot({ path: join(folder, `${name}.png`) });
  }

  const findProblem = async (value) => {
    await page.$eval("#text", (area, typed) => { area.value = typed; }, value);
    await page.focus("#text");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.getElementById("problem").textContent !== "");
    return page.$eval("#problem", (one) => one.textContent);
  };
  seen.empty = await findProblem("  ");
  await page.$eval("#problem", (one) => { one.textContent = ""; });
  seen.long = await findProblem("a ".repeat(600));

  await page.waitForSelector("body[data-offline]");
  process.kill(Number(server));
  seen.refused = await waitUntilGone(url);
  await page.reload();
  await page.waitForSelector("body[data-ready]");
  seen.offline = await page.evaluate((one) => globalThis.predict(one), sentences[0]);
} finally {
  await browser.close();
}
process.stdout.write(JSON.stringify(seen));
