/** Opens the pages at `/docs` of a host in a browser: they show the contract, and need nothing from another server. */

import assert from "node:assert/strict";
import { after, before, describe, it } from "@std/testing/bdd";
import { type Host, serve } from "../../routes/serve.ts";
import { Browser, browserSkipReason } from "../support/browser.ts";

/** Records what the policy of the page has blocked, and the errors of its scripts. */
const RECORD_FAILURES = `globalThis.failures = [];
document.addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
  failures.push(violatedDirective + " " + blockedURI));
addEventListener("error", ({ message }) => failures.push(message));`;

/** The longest time until the pages show the contract, in milliseconds. */
const WAIT_MILLISECONDS = 30_000;

describe("/docs in a browser", { skip: browserSkipReason() ?? false }, () => {
  let host: Host, browser: Browser;
  before(async () => {
    host = await serve({ backend: "cpu", port: 0, log: () => {} });
    browser = await Browser.start();
    await browser.send("Page.addScriptToEvaluateOnNewDocument", { source: RECORD_FAILURES });
  });
  after(async () => {
    await browser[Symbol.asyncDispose]();
    await host.shutdown();
  });

  for (const [device, width] of [["a desktop", 1300], ["a phone", 390]] as const) {
    it(`shows every group of operations on ${device}, and loads nothing from another server`, async () => {
      await browser.setLayout({ width, height: 900 });
      await browser.open(`${host.url}/docs`);
      const deadline = Date.now() + WAIT_MILLISECONDS;
      const text = () => browser.evaluate<string>("document.body.textContent");
      while (!(await text()).includes("Prune one layer")) {
        assert.ok(
          Date.now() < deadline,
          `after ${WAIT_MILLISECONDS / 1000} s the page has only: ${await text()}`,
        );
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      for (const heading of ["Pare host", "Layers", "Statistics", "Server"]) {
        assert.ok((await text()).includes(heading), heading);
      }
      const loaded = await browser.evaluate<string[]>(
        "performance.getEntriesByType('resource').map(({ name }) => name)",
      );
      assert.ok(loaded.length >= 3 && loaded.every((url) => url.startsWith(host.url)), loaded.join());
      // Scalar asks whether it may evaluate text as code, and does without.
      assert.deepEqual([...new Set(await browser.evaluate<string[]>("failures"))], ["script-src eval"]);
    });
  }
});
