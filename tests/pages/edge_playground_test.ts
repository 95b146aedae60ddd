/**
 * Clicks through `/playground` of an edge (Pare's Cloudflare Worker in front of GPU hosts) that runs in `wrangler dev --local`. The body limit
 * of the edge is below the size of the sample layer, so the SDK in the page uploads the layer and runs a job.
 */

import assert from "node:assert/strict";
import { after, before, describe, it } from "@std/testing/bdd";
import type { Browser } from "playwright-core";
import { type EdgeWithHost, startEdgeWithHost } from "../../scripts/processes/edge_with_host.ts";
import { browserSkipReason, openPage, startBrowser, waitFor } from "../support/browser.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";

const folder = temporaryFolder();

describe("/playground of an edge in a browser", { skip: browserSkipReason() ?? false }, () => {
  let pair: EdgeWithHost, browser: Browser;
  before(async () => {
    const vars = { EDGE_BODY_LIMIT: "100000" };
    pair = await startEdgeWithHost({ backend: "cpu", folder: `${folder}/edge`, vars });
    browser = await startBrowser();
  });
  after(async () => {
    await browser?.close();
    await pair?.[Symbol.asyncDispose]();
  });

  it("prunes a layer above the body limit by uploads and jobs, one for the method and one for magnitude", async () => {
    await using opened = await openPage(browser, `${pair.edge.url}/playground`);
    const { page } = opened;
    await waitFor(page, "document.querySelector('#summary').textContent.includes('Magnitude')");
    assert.equal(await page.locator(".figures dd:not(.note)").first().textContent(), "50 %");
    const { jobs } = await (await fetch(`${pair.edge.url}/v1/jobs`)).json();
    assert.deepEqual(jobs.map(({ state }: { state: string }) => state), ["done", "done"]);
    assert.deepEqual(opened.origins(), [pair.edge.url]);
    assert.deepEqual(await opened.errors(), []);
  });

  it("is one of the pages of the edge, which shows the device of its host", async () => {
    await using opened = await openPage(browser, pair.edge.url);
    assert.match(
      (await opened.page.textContent("main"))!,
      /This server is an edge.*Ready.*WebAssembly SIMD/s,
    );
    assert.deepEqual(await opened.page.locator("nav a").allTextContents(), [
      "Overview",
      "Playground",
      "Jobs",
      "Contract",
    ]);
  });
});
