/** Opens the page `/` of a host in a browser, with and without a usable device. */

import assert from "node:assert/strict";
import { after, before, describe, it } from "@std/testing/bdd";
import type { Browser } from "playwright-core";
import { type Host, serve } from "../../routes/serve.ts";
import { browserSkipReason, LAYOUTS, openPage, overflow, startBrowser } from "../support/browser.ts";
import { missingCommand, runCommand } from "../support/page_examples.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";

const folder = temporaryFolder();

describe("/ of a host in a browser", { skip: browserSkipReason() ?? false }, () => {
  let browser: Browser, host: Host, without: Host;
  before(async () => {
    browser = await startBrowser();
    host = await serve({ backend: "cpu", port: 0, log: () => {} });
    const open = () => Promise.reject(new Error('no adapter <b class="x">'));
    without = await serve({ open, port: 0, log: () => {} });
  });
  after(async () => {
    await browser?.close();
    await host?.shutdown();
    await without?.shutdown();
  });

  it("says what the server is, that it is ready, and on which device", async () => {
    await using opened = await openPage(browser, host.url);
    const { page } = opened, text = (await page.textContent("main"))!;
    for (
      const part of ["This server is a host", "Ready", "WebAssembly SIMD", "0 waiting, 0 of 3 on the device"]
    ) {
      assert.ok(text.includes(part), part);
    }
    assert.deepEqual(await page.locator("nav a").allTextContents(), ["Overview", "Playground", "Contract"]);
    assert.deepEqual(opened.origins(), [host.url]);
    assert.deepEqual(await opened.errors(), []);
  });

  it("has a curl line that prunes the sample layer", { skip: missingCommand("curl") }, async () => {
    await using opened = await openPage(browser, host.url);
    const command = (await opened.page.textContent("pre"))!;
    assert.ok(command.split("\n").every((line) => line.length <= 72), command);
    const printed = await runCommand("sh", ["-ec", command], folder);
    assert.match(printed, /^pare-report: .*"rows":128,"cols":256,"pattern":"2:4","sparsity":0.5/im);
  });

  it("has a program in TypeScript that prunes the sample layer", async () => {
    await using opened = await openPage(browser, host.url);
    const file = `${folder}/program.ts`, root = new URL("../../", import.meta.url);
    const program = (await opened.page.textContent("pre[aria-label='A program in TypeScript']"))!;
    await Deno.writeTextFile(
      file,
      program.replace("pare-llm-client", new URL("src/client/mod.ts", root).href),
    );
    const args = ["run", "-A", "--quiet", "--check", "--config", new URL("deno.json", root).pathname, file];
    assert.match(await runCommand(Deno.execPath(), args, folder), /^16384 0\.04\d+\n$/);
  });

  it("copies a command by its button, and says so", async () => {
    await using opened = await openPage(browser, host.url, { permissions: ["clipboard-read"] });
    const { page } = opened, second = page.locator(".snippet").nth(1);
    await second.getByRole("button").click();
    await second.getByText("Copied.").waitFor();
    const copied = await page.evaluate<string>("navigator.clipboard.readText()");
    assert.equal(copied, await second.locator("pre").textContent());
    assert.match(copied, /^pare prune .* \\\n.* --server http:\/\/127/s);
  });

  it("gives the reason why the device cannot be used, as text", async () => {
    await using opened = await openPage(browser, without.url);
    const { page } = opened;
    assert.equal(await page.textContent("#state"), "Not ready");
    assert.equal(await page.textContent("main .problem"), 'no adapter <b class="x">');
  });

  it("has no accessibility violations and fits the window, in light and dark, on a desktop and on a phone", async () => {
    for (const url of [host.url, without.url]) {
      for (const layout of LAYOUTS) {
        await using opened = await openPage(browser, url, layout);
        await opened.assertNoBarriers();
        assert.equal(await overflow(opened.page), 0);
      }
    }
  });
});
