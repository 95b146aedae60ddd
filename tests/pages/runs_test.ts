/**
 * Drives the page `/runs` of a host in a browser, from the name of a model to the downloaded file. The host is a process of its own, and a
 * stand-in for the Hugging Face hub has the model.
 */

import assert from "node:assert/strict";
import { after, before, describe, it } from "@std/testing/bdd";
import type { Browser, Page } from "playwright-core";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import { type ChildHost, startHost } from "../../scripts/processes/child_host.ts";
import { type FakeHub, serveHub } from "../model/hub/fake_hub.ts";
import { digestOf } from "../routes/host.ts";
import {
  browserSkipReason,
  LAYOUTS,
  type OpenedPage,
  openPage,
  overflow,
  startBrowser,
  waitFor,
} from "../support/browser.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";

const KEY = "key-of-the-runs";

describe("/runs in a browser", { skip: browserSkipReason() ?? false }, () => {
  const folder = temporaryFolder(), llama = OPT_SOTU.replace("opt-sotu", "llama-sotu");
  let hub: FakeHub, host: ChildHost, browser: Browser, opened: OpenedPage, page: Page, text: string;
  before(async () => {
    const files = Object.fromEntries(
      [...Deno.readDirSync(llama)].map(({ name }) => [name, Deno.readFileSync(`${llama}/${name}`)]),
    );
    hub = serveHub({ repo: "some/llama", revisions: { main: "5".repeat(40) }, files });
    text = (await writeSotuTexts(`${folder}/text`)).calibration;
    host = await startHost(["--backend", "cpu", "--runs", `${folder}/runs`], {
      HF_ENDPOINT: hub.url,
      HF_TOKEN: "",
      PARE_KEYS: `${await digestOf(KEY)}:runs`,
    });
    browser = await startBrowser();
    opened = await openPage(browser, `${host.url}/runs`);
    page = opened.page;
  });
  after(async () => {
    await browser?.close();
    await host?.[Symbol.asyncDispose]();
    await hub?.[Symbol.asyncDispose]();
  });

  const waitForText = (id: string, pattern: RegExp, milliseconds?: number) =>
    waitFor(page, `${pattern}.test(document.querySelector("#${id}").textContent)`, milliseconds);

  it("says what is wrong with the key and with the name", async () => {
    await page.fill("#model", "some/other");
    await page.setInputFiles("#text", text);
    await page.press("#model", "Enter");
    await waitForText("form-problem", /^unauthorized: send Authorization/);
    await page.fill("#key", KEY);
    await page.press("#key", "Enter");
    await page.press("#model", "Enter");
    await waitForText("form-problem", /^unsupported: hf:some\/other: .*There is no such model or revision/);
    assert.equal(await page.isVisible("#run"), false);
    await opened.assertNoBarriers();
  });

  it("leads by the keyboard from the name of a model to its file", async () => {
    await page.fill("#model", "");
    await page.focus("#model");
    await page.keyboard.type("some/llama");
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate("document.activeElement.value"), "gguf:q4_0");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await waitForText("run-title", /^some\/llama --for=gguf:q4_0$/);
    assert.equal(await page.evaluate("document.activeElement.id"), "run");
    await waitForText("plan", /^Time by the plan.*Memory.*MiB.*Disk.*Layers28$/, 60_000);
    await waitForText("run-detail", /^rounding \d+ of 28/, 60_000);
    await opened.assertNoBarriers();
    await waitForText("run-state", /^done$/, 120_000);
    const picture = await page.getAttribute("#result svg", "aria-label");
    assert.match(
      picture!,
      /^Size: 3\.76 MiB before, 1\.31 MiB after\. Perplexity: 5\d(\.\d)? before, 5\d(\.\d)? after$/,
    );
    assert.match((await page.textContent("#result dl"))!, /KL divergence0\.0\d+Time of the run[\d.]+ s$/);
    const [link] = await page.locator("#files a").all();
    assert.equal(await link.textContent(), "model.gguf");
    const [download] = await Promise.all([page.waitForEvent("download"), link.press("Enter")]);
    await download.saveAs(`${folder}/model.gguf`);
    const id = new URL(page.url()).hash.slice(1);
    assert.deepEqual(
      await Deno.readFile(`${folder}/model.gguf`),
      await Deno.readFile(`${folder}/runs/${id}/result/model.gguf`),
    );
  });

  it("fits into every layout, and shows the run of its address again", async () => {
    const url = page.url(), path = Deno.env.get("PARE_SCREENSHOTS");
    for (const layout of LAYOUTS) {
      await using again = await openPage(browser, url, layout);
      await again.page.fill("#key", KEY);
      await again.page.press("#key", "Enter");
      await again.page.waitForSelector("#files a");
      assert.equal(await overflow(again.page), 0);
      await again.assertNoBarriers();
      assert.deepEqual(again.origins(), [host.url]);
      if (path === undefined) continue;
      const name = `${path}/runs-${layout.viewport.width}-${layout.colorScheme}.png`;
      await again.page.screenshot({ path: name, fullPage: true });
    }
  });

  it("deletes a run, and reports no error of its scripts", async () => {
    await page.click("#stop:has-text('Delete')");
    await waitFor(page, "location.hash === '' && document.querySelector('#run').hidden");
    assert.deepEqual([...Deno.readDirSync(`${folder}/runs`)].map(({ name }) => name), ["lock"]);
    assert.deepEqual(await opened.errors(), []);
  });
});
