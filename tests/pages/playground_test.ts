/** Clicks through the page `/playground` of a host in a browser. */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { after, before, describe, it } from "@std/testing/bdd";
import type { Browser, Page } from "playwright-core";
import { type Host, serve } from "../../routes/serve.ts";
import { decode } from "../../src/tensor/safetensors/decode.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import { parseKeys } from "../../src/protocol/keys.ts";
import { sha256 } from "../../src/protocol/digest.ts";
import { f32 } from "../client/fake_host.ts";
import { assertSame } from "../support/assert_same.ts";
import { browserSkipReason, LAYOUTS, openPage, overflow, startBrowser, waitFor } from "../support/browser.ts";
import { drawnMask, unpackMask } from "./drawn_mask.ts";

const LAYER = new URL("../fixtures/layers/layer.safetensors", import.meta.url);

/** Waits until the page shows a result for the current settings, with magnitude's error beside its own. */
async function settled(page: Page): Promise<void> {
  const condition = `!document.querySelector("#result").inert && document.querySelector("#download") &&
    document.querySelector("#summary").textContent.includes("Magnitude")`;
  await waitFor(page, `Boolean(${condition})`);
}

/** Runs `action`, and returns the API's answer to the request whose URL has all of `parts`, as soon as the page shows it. */
async function answerAfter(
  page: Page,
  action: () => Promise<unknown>,
  parts: readonly string[] = [],
): Promise<Uint8Array<ArrayBuffer>> {
  const answered = page.waitForResponse((response) =>
    ["/v1/layers", ...parts].every((part) => response.url().includes(part)) &&
    !response.url().includes("method=magnitude")
  );
  await action();
  const answer = await answered;
  await settled(page);
  return new Uint8Array(await answer.body());
}

/** Chooses a file with `tensors` as the file of the form. */
async function choose(page: Page, name: string, tensors: Parameters<typeof encode>[0]): Promise<void> {
  await page.setInputFiles("#file", { name, mimeType: "", buffer: Buffer.from(encode(tensors)) });
}

/** Clicks the link of the download, and returns the name and the bytes of the file. */
async function download(page: Page): Promise<{ name: string; bytes: Uint8Array<ArrayBuffer> }> {
  const started = page.waitForEvent("download");
  await page.click("#download");
  const file = await started;
  return { name: file.suggestedFilename(), bytes: await Deno.readFile(await file.path()) };
}

describe("/playground in a browser", { skip: browserSkipReason() ?? false }, () => {
  let host: Host, browser: Browser;
  before(async () => {
    host = await serve({ backend: "cpu", port: 0, log: () => {} });
    browser = await startBrowser();
  });
  after(async () => {
    await browser?.close();
    await host?.shutdown();
  });
  const open = (options = {}) => openPage(browser, `${host.url}/playground`, options);
  const prune = (query: string, body: Uint8Array<ArrayBuffer>) =>
    fetch(`${host.url}/v1/layers?${query}`, {
      method: "POST",
      body,
      headers: { "Content-Type": "application/vnd.safetensors" },
    });

  it("prunes the sample when it opens, shows report, mask and weights, and downloads the tensors of the answer", async () => {
    await using opened = await open();
    const { page } = opened;
    const answer = decode(await answerAfter(page, () => page.reload()));
    const report = JSON.parse(answer.header.metadata.report);
    assert.equal(
      await page.textContent("#layer"),
      "sample: weight 128 × 256 F32, hessian_upper 32896 F32 (257 KiB)",
    );
    assert.equal(await page.textContent("#result h2"), "Layer sample, pruned to 50 % by SparseGPT");
    assert.equal(await page.locator(".figures dd:not(.note)").first().textContent(), "50 %");
    assert.deepEqual(JSON.parse((await page.textContent("#report"))!), report);
    assertSame(await drawnMask(page, 128, 256), unpackMask(answer.tensors.get("mask")!.data, 128, 256));
    assert.equal(await page.locator(".histogram .after").count(), 81);
    assert.match(
      (await page.locator("figcaption").last().textContent())!,
      /^.* 16,384 weights that are now zero/,
    );

    const { name, bytes } = await download(page);
    assert.equal(name, "sample.pruned.safetensors");
    const downloaded = decode(bytes);
    assertSame(downloaded.tensors, answer.tensors);
    assert.deepEqual(JSON.parse(downloaded.header.metadata.report), report);
    assert.deepEqual(opened.origins().filter((origin) => origin !== host.url), []);
    assert.deepEqual(await opened.errors(), []);
  });

  it("says what a layer, its statistics and a mask are, and explains each setting in a line", async () => {
    await using opened = await open();
    const { page } = opened, lead = (await page.textContent(".lead"))!;
    for (const term of ["layer is", "statistics", "mask, which"]) assert.ok(lead.includes(term), term);
    for (
      const id of await page.$$eval("select, input:not([type=file])", (fields) => fields.map(({ id }) => id))
    ) {
      const note = await page.getAttribute(`#${id}`, "aria-describedby");
      assert.match((await page.textContent(`#${note}`))!, /^[A-Z0-9n].{20,80}\.$/, id);
    }
    assert.equal(await page.isVisible("#damping"), false);
    assert.equal(await page.locator("#key").count(), 0);
  });

  it("prunes again when a setting changes, and shows magnitude's error beside the result's", async () => {
    await using opened = await open();
    const { page } = opened;
    await settled(page);
    await answerAfter(page, () => page.selectOption("#pattern", "2:4"), ["pattern=2%3A4"]);
    assert.equal(await page.textContent("#result h2"), "Layer sample, pruned to 2:4 by SparseGPT");
    const sample = await (await fetch(`${host.url}/assets/sample.safetensors`)).bytes();
    const errorOf = async (method: string) => {
      const answer = await prune(`pattern=2:4&method=${method}`, sample);
      await answer.body?.cancel();
      return JSON.parse(answer.headers.get("Pare-Report")!).relative_error as number;
    };
    const shown = await page.$$eval(
      ".errors > div",
      (rows) => rows.map((row) => [...row.children].map((c) => c.textContent)),
    );
    assert.deepEqual(shown, [
      ["SparseGPT", String(Number((await errorOf("sparsegpt")).toPrecision(3)))],
      ["Magnitude", String(Number((await errorOf("magnitude")).toPrecision(3)))],
    ]);
    assert.match((await page.textContent("#result"))!, /Its error is 3\.1 times as large/);
  });

  it("aborts the request of earlier settings, and dims the old result until the new result arrives", async () => {
    await using opened = await open();
    const { page } = opened;
    await settled(page);
    const held = page.waitForRequest(/method=alps/), aborted = page.waitForEvent("requestfailed");
    await page.route(/method=alps/, () => {});
    await page.selectOption("#method", "alps");
    await held;
    const opacity = () =>
      page.evaluate<string>("getComputedStyle(document.querySelector('#result')).opacity");
    assert.deepEqual([await opacity(), await page.getAttribute("#result", "inert")], ["0.45", ""]);
    await answerAfter(page, () => page.selectOption("#method", "wanda"), ["method=wanda"]);
    assert.match((await aborted).url(), /method=alps/);
    assert.equal(await opacity(), "1");
    assert.equal(await page.textContent("#problem"), "");
  });

  it("clears the result when another file is chosen, so that nothing old can be downloaded", async () => {
    await using opened = await open();
    const { page } = opened;
    await settled(page);
    await page.route(/v1\/layers/, () => {});
    const requested = page.waitForRequest(/v1\/layers/);
    await page.setInputFiles("#file", LAYER.pathname);
    await requested;
    assert.equal(await page.locator("#download").count(), 0);
    assert.match((await page.textContent("#layer"))!, /^layer\.safetensors: /);
  });

  it("says of a whole model that `pare prune` prunes it", async () => {
    await using opened = await open();
    const { page } = opened;
    await settled(page);
    const weight = f32([2, 4], Array(8).fill(0));
    await choose(page, "model.safetensors", { "h.0.fc1.weight": weight, "h.0.fc2.weight": weight });
    await page.waitForSelector("#problem .problem");
    assert.match(
      (await page.textContent("#problem"))!,
      /^model\.safetensors: this is a whole model, with 2 tensors\. .* use `pare prune`/,
    );
    assert.equal(await page.locator("#download").count(), 0);
  });

  it("says of a layer without statistics which method prunes it, and prunes it by magnitude", async () => {
    await using opened = await open();
    const { page } = opened;
    await settled(page);
    await choose(page, "bare.safetensors", { weight: f32([2, 4], [1, -2, 3, -4, 5, -6, 7, -8]) });
    await page.waitForSelector("#problem .problem");
    assert.equal(
      await page.textContent("#problem"),
      "bare.safetensors: has no statistics, which SparseGPT needs. Choose Magnitude, or add the tensor inputs or hessian",
    );
    await page.selectOption("#method", "magnitude");
    await waitFor(page, `document.querySelector("#download")?.download === "bare.pruned.safetensors"`);
    assert.equal(await page.textContent("#problem"), "");
  });

  it("prunes and rounds a user's file, as the API does", async () => {
    await using opened = await open();
    const { page } = opened;
    await page.setInputFiles("#file", LAYER.pathname);
    await page.click("form details summary");
    await answerAfter(page, async () => {
      await page.selectOption("#method", "alps");
      await page.selectOption("#bits", "4");
      await page.fill("#damping", "0.02");
      await page.fill("#sparsity", "0.7");
    }, ["method=alps", "bits=4", "damping=0.02", "sparsity=0.7"]);
    assert.equal(await page.textContent("#sparsity-value"), "70 %");
    const { name, bytes } = await download(page), { tensors } = decode(bytes);
    assert.equal(name, "layer.pruned.safetensors");
    const query = "method=alps&sparsity=0.7&bits=4&damping=0.02";
    const direct = await prune(query, await Deno.readFile(LAYER));
    assertSame(tensors, decode(await direct.bytes()).tensors);
    assert.deepEqual([...tensors.keys()], ["weight", "mask", "codes", "scales", "zeros"]);
  });

  it("takes a file that is dropped anywhere on the page", async () => {
    await using opened = await open();
    const { page } = opened, base64 = (await Deno.readFile(LAYER)).toBase64();
    await page.evaluate(`(() => {
      const data = new DataTransfer();
      data.items.add(new File([Uint8Array.fromBase64("${base64}")], "dropped.safetensors"));
      document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
    })()`);
    await waitFor(page, "document.querySelector('#layer').textContent.startsWith('dropped')");
    assert.match((await page.textContent("#layer"))!, /^dropped\.safetensors: weight 64 × 96 F16/);
  });

  it("shows the problem text of the API, and the names of tensors as text", async () => {
    await using opened = await open();
    const { page } = opened, hostile = '<img src=x onerror="document.title=1">';
    const weight = f32([2, 8], Array(16).fill(0));
    await choose(page, "a.safetensors", { weight, [hostile]: f32([1], [0]) });
    await page.waitForSelector("#problem .problem");
    const problem = (await page.textContent("#problem"))!;
    assert.ok(
      problem.startsWith("a.safetensors: must have the tensor weight") && problem.includes(hostile),
      problem,
    );
    await choose(page, "b.safetensors", { weight, hessian: f32([4, 4], Array(16).fill(0)) });
    await waitFor(page, "document.querySelector('#problem').textContent.startsWith('shape_mismatch')");
    assert.match((await page.textContent("#problem"))!, /^shape_mismatch: .*hessian.* \(request [\w-]+\)$/);
    assert.equal(await page.title(), "Pare playground");
    assert.equal(await page.locator("main img").count(), 0);
  });

  it("can be used by keyboard alone, and stops a request", async () => {
    await using opened = await open();
    const { page } = opened;
    const press = async (selector: string) => {
      for (let presses = 0; presses < 30; presses++) {
        await page.keyboard.press("Tab");
        if (await page.evaluate(`document.activeElement.matches("${selector}")`)) {
          return await page.keyboard.press("Enter");
        }
      }
      assert.fail(`30 presses of Tab did not reach ${selector}`);
    };
    await settled(page);
    const { promise: held, resolve: release } = Promise.withResolvers<void>();
    await page.route("**/v1/layers*", async (route) => {
      await held;
      await route.abort();
    });
    await press("#prune");
    await page.waitForSelector("#progress-bar");
    assert.equal(await page.textContent("#prune"), "Stop");
    await page.keyboard.press("Enter");
    await waitFor(page, "document.querySelector('#progress').hidden");
    assert.equal(await page.textContent("#problem"), "");
    assert.equal(await page.locator("#download").count(), 0);
    assert.equal(await page.evaluate("document.activeElement.id"), "prune");
    release();
  });

  it("has no accessibility violations and fits the window, in light and dark, on a desktop and on a phone", async () => {
    for (const layout of LAYOUTS) {
      await using opened = await open(layout);
      const { page } = opened;
      await settled(page);
      await page.click("form details summary");
      await page.click("#result details summary");
      await opened.assertNoBarriers();
      assert.equal(await overflow(page), 0);
    }
  });
});

describe("/playground of a host with keys", { skip: browserSkipReason() ?? false }, () => {
  it("asks for a key, sends it to the host, and keeps it in the session of the tab only", async () => {
    await using stack = new AsyncDisposableStack();
    const keys = parseKeys((await sha256(new TextEncoder().encode("sesame-1"))).toHex());
    const host = await serve({ backend: "cpu", port: 0, hostname: "127.0.0.1", keys, log: () => {} });
    stack.defer(() => host.shutdown());
    const browser = await startBrowser();
    stack.defer(() => browser.close());
    const { page, [Symbol.asyncDispose]: close } = await openPage(browser, `${host.url}/playground`);
    stack.defer(close);
    await waitFor(page, "!document.querySelector('#prune').disabled");
    assert.equal(await page.textContent("#summary"), "Give an API key above to prune the layer.");
    await page.click("#prune");
    await page.waitForSelector("#problem .problem");
    assert.match((await page.textContent("#problem"))!, /^unauthorized: /);
    await answerAfter(page, async () => {
      await page.fill("#key", "sesame-1");
      await page.keyboard.press("Enter");
    });
    assert.equal(await page.textContent("#problem"), "");
    const stored = await page.evaluate("[localStorage.length, document.cookie, sessionStorage.length]");
    assert.deepEqual(stored, [0, "", 1]);
    await page.click("#key-forget");
    assert.equal(await page.evaluate("sessionStorage.length"), 0);
  });
});
