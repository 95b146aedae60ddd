/** Opens `/docs` of a host in a browser: the contract, the frame of the page around Scalar, and the page without the script of Scalar. */

import assert from "node:assert/strict";
import { after, before, describe, it } from "@std/testing/bdd";
import type { Browser } from "playwright-core";
import { type Host, serve } from "../../routes/serve.ts";
import { browserSkipReason, LAYOUTS, openPage, overflow, startBrowser, waitFor } from "../support/browser.ts";

describe("/docs in a browser", { skip: browserSkipReason() ?? false }, () => {
  let host: Host, browser: Browser;
  before(async () => {
    host = await serve({ backend: "cpu", port: 0, log: () => {} });
    browser = await startBrowser();
  });
  after(async () => {
    await browser?.close();
    await host?.shutdown();
  });

  for (const layout of LAYOUTS) {
    const title = `${layout.viewport.width} pixels wide and ${layout.colorScheme}`;
    it(`shows every group of operations, and loads nothing from another server, ${title}`, async () => {
      await using opened = await openPage(browser, `${host.url}/docs`, layout);
      const { page } = opened;
      await waitFor(page, "document.body.textContent.includes('Prune one layer')");
      const text = (await page.textContent("body"))!;
      for (const heading of ["Pare host", "Layers", "Statistics", "Server"]) {
        assert.ok(text.includes(heading), heading);
      }
      assert.deepEqual(opened.origins(), [host.url]);
      // Scalar asks whether it may evaluate text as code, and does without.
      assert.deepEqual([...new Set(await opened.errors())], ["script-src eval"]);

      assert.equal(await page.textContent(".top a[aria-current]"), "Contract");
      const [paper, ...others] = await page.evaluate<string[]>(
        `["body", ".scalar-app", ".top"].map((name) => getComputedStyle(document.querySelector(name)).backgroundColor)`,
      );
      assert.equal(paper, layout.colorScheme === "dark" ? "rgb(18, 21, 23)" : "rgb(251, 250, 248)");
      for (const other of others) assert.ok([paper, "rgba(0, 0, 0, 0)"].includes(other), other);
      assert.equal(await overflow(page), 0);
      // The elements within #contract are Scalar's own.
      await opened.assertNoBarriers("#contract");
    });
  }

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
