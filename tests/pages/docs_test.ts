/** Opens the page `/docs` of a host in a browser: the frame of the page around Scalar, and the page without the script of Scalar. */

import assert from "node:assert/strict";
import { after, before, describe, it } from "@std/testing/bdd";
import type { Browser } from "playwright-core";
import { type Host, serve } from "../../routes/serve.ts";
import { browserSkipReason } from "../support/browser.ts";
import { LAYOUTS, openPage, overflow, startBrowser } from "./open_page.ts";

/** Returns the reason why the host has no page `/docs`. */
function docsSkipReason(): string | undefined {
  try {
    Deno.statSync(new URL("../../build/scalar.js.gz", import.meta.url));
  } catch {
    return "build/scalar.js.gz does not exist: run deno task build docs";
  }
}

const reason = browserSkipReason() ?? docsSkipReason();
if (reason) console.log(`skipped: /docs in a browser, because ${reason}`);

describe("/docs in a browser", { skip: reason !== undefined }, () => {
  let host: Host, browser: Browser;
  before(async () => {
    host = await serve({ backend: "cpu", port: 0, log: () => {} });
    browser = await startBrowser();
  });
  after(async () => {
    await browser?.close();
    await host?.shutdown();
  });

  it("has the header and the colours of the other pages, in light and dark, on a desktop and on a phone", async () => {
    for (const layout of LAYOUTS) {
      await using opened = await openPage(browser, `${host.url}/docs`, layout);
      const { page } = opened;
      await page.waitForSelector("h2:has-text('Layers')");
      assert.equal(await page.textContent(".top a[aria-current]"), "Contract");
      const [paper, ...others] = await page.evaluate<string[]>(
        `["body", ".scalar-app", ".top"].map((name) => getComputedStyle(document.querySelector(name)).backgroundColor)`,
      );
      assert.equal(paper, layout.colorScheme === "dark" ? "rgb(18, 21, 23)" : "rgb(251, 250, 248)");
      for (const other of others) assert.ok([paper, "rgba(0, 0, 0, 0)"].includes(other), other);
      assert.equal(await overflow(page), 0);
      // The elements within #contract are Scalar's own.
      await opened.assertNoBarriers("#contract");
    }
  });

  it("says where the contract is if the script of Scalar cannot be loaded", async () => {
    await using opened = await openPage(browser, `${host.url}/`);
    const { page } = opened;
    await page.route("**/docs/scalar.js", (route) => route.abort());
    await page.goto(`${host.url}/docs`);
    await page.waitForSelector("#no-contract:visible");
    assert.match(
      (await page.textContent("#no-contract"))!,
      /could not be loaded\. openapi\.json has the same contract/,
    );
    await opened.assertNoBarriers();
  });
});
