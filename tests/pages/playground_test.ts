/** Clicks through the page `/playground` of a host in a browser. */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { after, before, describe, it } from "@std/testing/bdd";
import type { Browser, Page } from "playwright-core";
import { type Host, serve } from "../../routes/serve.ts";
import { decode } from "../../src/safetensors/decode.ts";
import { encode } from "../../src/safetensors/encode.ts";
import { parseKeys } from "../../src/protocol/keys.ts";
import { formatDigest, sha256 } from "../../src/protocol/digest.ts";
import { browserSkipReason } from "../support/browser.ts";
import { LAYOUTS, openPage, overflow, startBrowser, waitFor } from "./open_page.ts";

const LAYER = new URL("../fixtures/layers/layer.safetensors", import.meta.url);

/** Prunes the layer of the page, and returns the answer of the API. */
async function prune(page: Page): Promise<Uint8Array<ArrayBuffer>> {
  const answered = page.waitForResponse(/\/v1\/layers/);
  await page.click("#prune");
  const answer = await answered;
  await page.waitForSelector("#download");
  return new Uint8Array(await answer.body());
}

/** Clicks the link of the download, and returns the name and the bytes of the file. */
async function download(page: Page): Promise<{ name: string; bytes: Uint8Array<ArrayBuffer> }> {
  const started = page.waitForEvent("download");
  await page.click("#download");
  const file = await started;
  return { name: file.suggestedFilename(), bytes: await Deno.readFile(await file.path()) };
}

/** Returns whether each weight of the picture of the mask is drawn as kept, read from the middle of its square. */
function drawnMask(page: Page, rows: number, cols: number): Promise<boolean[]> {
  return page.evaluate(
    `(() => {
      const canvas = document.querySelector(".mask"), square = canvas.width / ${cols};
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return Array.from({ length: ${rows * cols} }, (_, i) => {
        const x = Math.floor((i % ${cols} + 0.5) * square), y = Math.floor((Math.floor(i / ${cols}) + 0.5) * square);
        return data[4 * (y * canvas.width + x) + 3] > 127;
      });
    })()`,
  );
}

/** Returns whether each weight is kept, from the bits of a mask. */
function unpackMask(mask: Uint8Array, rows: number, cols: number): boolean[] {
  const rowBytes = Math.ceil(cols / 8);
  return Array.from({ length: rows * cols }, (_, i) => {
    const row = Math.floor(i / cols), col = i % cols;
    return (mask[row * rowBytes + (col >> 3)] >> (col & 7) & 1) === 1;
  });
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

  it("prunes the sample, shows report, mask and weights, and downloads the tensors of the answer", async () => {
    await using opened = await open();
    const { page } = opened;
    await page.evaluate(`globalThis.steps = [];
      new MutationObserver(() => steps.push(document.querySelector("#progress-text").textContent))
        .observe(document.querySelector("#progress"), { childList: true, subtree: true })`);
    await page.click("#sample");
    await waitFor(page, "!document.querySelector('#prune').disabled");
    assert.equal(
      await page.textContent("#layer"),
      "sample: weight 128 × 256 F32, hessian_upper 32896 F32 (257 KiB)",
    );
    await page.selectOption("#pattern", "2:4");
    const answer = decode(await prune(page)), report = JSON.parse(answer.header.metadata.report);
    const steps = await page.evaluate<string[]>("steps");
    assert.ok(steps.includes("The server prunes the layer."), steps.join());

    assert.deepEqual(await page.locator(".figures dd:not(.note)").first().textContent(), "50 %");
    assert.deepEqual(JSON.parse((await page.textContent("#report"))!), report);
    assert.deepEqual(await drawnMask(page, 128, 256), unpackMask(answer.tensors.get("mask")!.data, 128, 256));
    assert.equal(await page.locator(".histogram .after").count(), 81);
    assert.match(
      (await page.locator("figcaption").last().textContent())!,
      /^.* 16,384 weights that are now zero/,
    );

    const { name, bytes } = await download(page);
    assert.equal(name, "sample.pruned.safetensors");
    const downloaded = decode(bytes);
    assert.deepEqual(downloaded.tensors, answer.tensors);
    assert.deepEqual(JSON.parse(downloaded.header.metadata.report), report);
    assert.deepEqual(opened.origins().filter((origin) => origin !== host.url), []);
    assert.deepEqual(await opened.errors(), []);
  });

  it("prunes and rounds a user's file, as the API does", async () => {
    await using opened = await open();
    const { page } = opened;
    await page.setInputFiles("#file", LAYER.pathname);
    await waitFor(page, "!document.querySelector('#prune').disabled");
    await page.selectOption("#method", "alps");
    await page.selectOption("#bits", "4");
    await page.fill("#sparsity", "0.7");
    assert.equal(await page.textContent("#sparsity-value"), "70 %");
    await prune(page);
    const { name, bytes } = await download(page), { tensors } = decode(bytes);
    assert.equal(name, "layer.pruned.safetensors");
    const direct = await fetch(`${host.url}/v1/layers?method=alps&sparsity=0.7&bits=4`, {
      method: "POST",
      body: await Deno.readFile(LAYER),
      headers: { "Content-Type": "application/vnd.safetensors" },
    });
    assert.deepEqual(tensors, decode(await direct.bytes()).tensors);
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
    await waitFor(page, "!document.querySelector('#prune').disabled");
    assert.match((await page.textContent("#layer"))!, /^dropped\.safetensors: weight 64 × 96 F16/);
  });

  it("shows the problem text of the API, and the names of tensors as text", async () => {
    await using opened = await open();
    const { page } = opened, hostile = '<img src=x onerror="document.title=1">';
    const four = (dtype: "F32", shape: number[]) => ({
      dtype,
      shape,
      data: new Uint8Array(4 * shape.reduce((a, b) => a * b)),
    });
    const send = async (name: string, tensors: Parameters<typeof encode>[0]) => {
      await page.setInputFiles("#file", { name, mimeType: "", buffer: Buffer.from(encode(tensors)) });
    };
    await send("a.safetensors", { weight: four("F32", [2, 8]), [hostile]: four("F32", [1]) });
    await page.waitForSelector("#problem .problem");
    const problem = (await page.textContent("#problem"))!;
    assert.ok(
      problem.startsWith("a.safetensors: must have the tensor weight") && problem.includes(hostile),
      problem,
    );
    await send("b.safetensors", { weight: four("F32", [2, 8]), hessian: four("F32", [4, 4]) });
    await waitFor(page, "!document.querySelector('#prune').disabled");
    await page.click("#prune");
    await page.waitForSelector("#problem .problem");
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
    await press("#sample");
    await waitFor(page, "!document.querySelector('#prune').disabled");
    const { promise: held, resolve: release } = Promise.withResolvers<void>();
    await page.route("**/v1/layers*", async (route) => {
      await held;
      await route.abort();
    });
    await press("#prune");
    await page.waitForSelector("#progress-bar");
    await press("#stop");
    await waitFor(page, "document.querySelector('#progress').hidden");
    assert.equal(await page.textContent("#problem"), "");
    release();
  });

  it("has no accessibility violations and fits the window, in light and dark, on a desktop and on a phone", async () => {
    for (const layout of LAYOUTS) {
      await using opened = await open(layout);
      const { page } = opened;
      await page.click("#sample");
      await waitFor(page, "!document.querySelector('#prune').disabled");
      await opened.assertNoBarriers();
      await prune(page);
      await page.click("details:last-of-type > summary");
      await opened.assertNoBarriers();
      assert.equal(await overflow(page), 0);
    }
  });
});

describe("/playground of a host with keys", { skip: browserSkipReason() ?? false }, () => {
  it("asks for a key, sends it to the host, and keeps it in the session of the tab only", async () => {
    const digest = formatDigest(await sha256(new TextEncoder().encode("sesame-1"))).slice(
      "sha256:".length,
    );
    await using stack = new AsyncDisposableStack();
    const keys = parseKeys(digest);
    const host = await serve({ backend: "cpu", port: 0, hostname: "127.0.0.1", keys, log: () => {} });
    stack.defer(() => host.shutdown());
    const browser = await startBrowser();
    stack.defer(() => browser.close());
    const { page, [Symbol.asyncDispose]: close } = await openPage(browser, `${host.url}/playground`);
    stack.defer(close);
    await page.click("#sample");
    await waitFor(page, "!document.querySelector('#prune').disabled");
    await page.click("#prune");
    await page.waitForSelector("#problem .problem");
    assert.match((await page.textContent("#problem"))!, /^unauthorized: /);
    await page.fill("#key", "sesame-1");
    await page.keyboard.press("Enter");
    assert.equal(await page.textContent("#problem"), "");
    await prune(page);
    const stored = await page.evaluate("[localStorage.length, document.cookie, sessionStorage.length]");
    assert.deepEqual(stored, [0, "", 1]);
    await page.click("#key-forget");
    assert.equal(await page.evaluate("sessionStorage.length"), 0);
  });
});
