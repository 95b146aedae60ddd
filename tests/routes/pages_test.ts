/** Tests the pages of a host without a browser: their headers, and the files that they load. `tests/pages` opens them in a browser. */

import assert from "node:assert/strict";
import { after, describe, it } from "@std/testing/bdd";
import { createApp } from "../../routes/app.ts";
import { selectBackend } from "../../src/host/backends.ts";
import { startHostServices } from "../../src/host/host_services.ts";
import type { PageFiles } from "../../src/pages/page_files.ts";
import { parseKeys } from "../../src/protocol/keys.ts";
import { decode } from "../../src/tensor/safetensors/decode.ts";
import { assertSame } from "../support/assert_same.ts";

const FILES: PageFiles = {
  hash: "abc",
  texts: { "style.css": "body{}", "copy.js": "0;", "playground.js": "1;", "icon.svg": "<svg/>" },
};

/** The headers that every answer must have. */
const SECURITY = {
  "X-Content-Type-Options": /^nosniff$/,
  "Referrer-Policy": /^no-referrer$/,
  "X-Frame-Options": /^DENY$/,
  "Content-Security-Policy": /^default-src 'none';.* frame-ancestors 'none'/,
};

const services = await startHostServices(() => selectBackend("cpu"));
after(() => services.device.close());

describe("the pages of a host", () => {
  const request = async (
    path: string,
    headers: Record<string, string> = {},
    files: PageFiles | undefined = FILES,
  ) => await createApp(services, files).request(path, { headers });

  for (
    const path of [
      "/",
      "/playground",
      "/docs",
      "/assets/style.css",
      "/assets/none.js",
      "/none",
      "/readyz",
      "/v1/layers",
    ]
  ) {
    it(`${path} is answered with security headers`, async () => {
      const response = await request(path, { Accept: "text/html" });
      for (const [name, pattern] of Object.entries(SECURITY)) {
        assert.match(response.headers.get(name) ?? "none", pattern, name);
      }
      await response.body?.cancel();
    });
  }

  for (const path of ["/", "/playground"]) {
    it(`${path} may run only scripts of its server, and has no script or style within`, async () => {
      const response = await request(path, { Accept: "text/html" }), html = await response.text();
      const policy = response.headers.get("Content-Security-Policy")!;
      assert.match(policy, /script-src 'self'; style-src 'self'; /);
      assert.doesNotMatch(policy, /unsafe/);
      assert.doesNotMatch(html, /<style|<script(?! type="module" src="\/assets\/)| style=| on\w+=|https:/);
      for (const [, url] of html.matchAll(/(?:src|href)="(\/assets\/[^"]+)"/g)) {
        const file = await request(url);
        assert.equal(file.status, 200, url);
        assert.equal(file.headers.get("Cache-Control"), "public, max-age=31536000, immutable");
        await file.body?.cancel();
      }
    });
  }

  it("the files have their media types, and are not sent again if the browser has them", async () => {
    const types = {
      "style.css": "text/css",
      "playground.js": "text/javascript",
      "icon.svg": "image/svg+xml",
    };
    for (const [name, type] of Object.entries(types)) {
      const first = await request(`/assets/${name}`);
      assert.equal(first.headers.get("Content-Type")!.split(";")[0], type);
      assert.equal(first.headers.get("Cache-Control"), "public, no-cache");
      assert.equal(await first.text(), FILES.texts[name]);
      const again = await request(`/assets/${name}`, { "If-None-Match": first.headers.get("ETag")! });
      assert.deepEqual([again.status, await again.text()], [304, ""]);
    }
  });

  it("the sample layer is the same file each time", async () => {
    const [first, second] = await Promise.all([
      request("/assets/sample.safetensors"),
      request("/assets/sample.safetensors"),
    ]);
    const bytes = await first.bytes(), { tensors } = decode(bytes);
    assertSame(bytes, await second.bytes());
    const shapes = [...tensors].map(([name, { dtype, shape }]) => [name, dtype, ...shape]);
    assert.deepEqual(shapes, [["weight", "F32", 128, 256], ["hessian_upper", "F32", 32896]]);
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
    assert.equal(hash, "b068f664d21a49c92e47a60bc44ba154a37ed71b06f3cc8e5358a0f9134e41e4");
  });

  it("/ shows the mask of the sample layer as a host prunes it", async () => {
    const body = await (await request("/assets/sample.safetensors")).bytes();
    const headers = { "Content-Type": "application/vnd.safetensors", "Content-Length": String(body.length) };
    const answer = await createApp(services).request("/v1/layers", { method: "POST", body, headers });
    const { data, shape: [, rowBytes] } = decode(await answer.bytes()).tensors.get("mask")!;
    const isKept = (row: number, col: number) => (data[row * rowBytes + (col >> 3)] >> (col & 7) & 1) === 1;
    const html = await (await request("/", { Accept: "text/html" })).text();
    const picture = html.slice(html.indexOf("<figure>"));
    const runs = [...picture.matchAll(/M(\d+) (\d+)h(\d+)/g)].map(([, ...numbers]) => numbers.map(Number));
    const drawn = new Set(
      runs.flatMap(([x, y, length]) => Array.from({ length }, (_, i) => `${y} ${x + i}`)),
    );
    let equal = 0;
    for (let row = 0; row < 64; row++) {
      for (let col = 0; col < 64; col++) equal += Number(isKept(row, col) === drawn.has(`${row} ${col}`));
    }
    // Devices round differently, which may exchange a few weights that matter equally.
    assert.ok(equal >= 64 * 64 - 8, `${64 * 64 - equal} weights differ`);
  });

  it("/ has the key in its commands if the host needs one", async () => {
    const app = createApp({ ...services, keys: { current: parseKeys("0".repeat(64)) } }, FILES);
    const html = await (await app.request("/", { headers: { Accept: "text/html" } })).text();
    for (
      const part of [
        ...["Authorization: Bearer KEY", "--api-key KEY", "apiKey: &quot;KEY&quot;"],
        "api_key=&quot;KEY&quot;",
      ]
    ) {
      assert.ok(html.includes(part), part);
    }
  });

  it("/playground is answered with the way to get it if the files were not built, and / is a page without them", async () => {
    const app = createApp(services), missing = await app.request("/playground");
    const { code, detail } = await missing.json();
    assert.deepEqual([missing.status, code], [404, "not_found"]);
    assert.match(detail, /build\/pages is missing: run deno task build/);
    const home = await app.request("/", { headers: { Accept: "text/html" } });
    assert.doesNotMatch(await home.text(), /\/assets\/(?!sample)/);
  });

  it("/jobs says that the jobs are at an edge, as a page for browsers", async () => {
    const page = await request("/jobs", { Accept: "text/html" });
    assert.deepEqual([page.status, page.headers.get("Content-Type")], [404, "text/html; charset=utf-8"]);
    assert.match(await page.text(), /This server is a host[^]*<a href="\/">/);
    const problem = await (await request("/jobs")).json();
    assert.equal(
      problem.detail,
      "there is no resource /jobs: this server is a host, and jobs are at an edge",
    );
  });

  it("/ is plain text for clients that do not ask for HTML", async () => {
    const response = await request("/");
    assert.match(response.headers.get("Content-Type")!, /^text\/plain/);
    assert.match(await response.text(), /^Pare [\d.]+, host\nReady: cpu on WebAssembly/);
  });
});
