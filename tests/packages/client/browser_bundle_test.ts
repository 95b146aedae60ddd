/** Tests the browser bundle of the SDK: its size, and its use in a page of another origin with a strict Content-Security-Policy. */

import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { before, describe, it } from "@std/testing/bdd";
import type { Page } from "playwright-core";
import { type Host, serve } from "../../../routes/serve.ts";
import { buildBrowserBundle } from "../../../scripts/packages/client/bundle_client.ts";
import { browserSkipReason, openPage, startBrowser, waitFor } from "../../support/browser.ts";
import { temporaryFolder } from "../../support/temporary_folder.ts";
import { examplesOf, PACKAGE_PAGE } from "./installed_client.ts";

/** The largest size of the bundle after gzip, in bytes. A page loads it on a slow connection in about a second. */
const MAX_GZIP_BYTES = 50_000;

/** The program of the page. It prunes one layer, asks for an impossible one, and stores what happened. */
const pageScript = (hostUrl: string) =>
  `import { floatsFromTensor, hessianUpper, Pare, PareError, tensorFromFloats } from "./pare-client.min.js";

const waves = (length) => Float32Array.from({ length }, (_, i) => Math.sin(i * i));
const pare = new Pare({ baseUrl: "${hostUrl}" });
const weight = tensorFromFloats(waves(8 * 16), [8, 16]), inputs = tensorFromFloats(waves(64 * 16), [64, 16]);
const results = { isSecure: isSecureContext };
try {
  results.backend = (await pare.describeHost()).backend;
  const pruned = await pare.pruneLayer({ weight, hessian_upper: hessianUpper([inputs]) }, { pattern: "2:4" });
  results.zeros = pruned.report.zeros;
  results.counted = floatsFromTensor(pruned.weight).filter((value) => value === 0).length;
  const digest = await pare.putHessian(hessianUpper([inputs]));
  results.stored = (await pare.pruneLayer({ weight }, { hessian: digest })).report.zeros;
  await pare.pruneLayer({ weight, inputs: weight }, { blocksize: 7, pattern: "2:4" });
} catch (error) {
  results.isPareError = error instanceof PareError;
  results.code = error.code;
  results.message = String(error);
}
globalThis.results = results;
`;

describe("the browser bundle", () => {
  const folder = temporaryFolder();
  let code: string;
  before(async () => {
    await buildBrowserBundle(`${folder}/pare-client.min.js`);
    code = await Deno.readTextFile(`${folder}/pare-client.min.js`);
  });

  it(`has at most ${MAX_GZIP_BYTES} bytes after gzip`, () => {
    const size = gzipSync(code, { level: 9 }).length;
    assert.ok(size <= MAX_GZIP_BYTES, `${size} bytes`);
    assert.ok(size > 5000, `${size} bytes are too few for the SDK`);
  });

  it("imports nothing, and evaluates no text as code", () => {
    assert.doesNotMatch(code, /\bimport\s*[("{*]|\bfrom\s*"|\bnode:|\bDeno\b|\bFunction\(|\beval\(/);
  });

  it("names the libraries that it contains in its first line", async () => {
    const { imports } = JSON.parse(
      await Deno.readTextFile(new URL("../../../deno.json", import.meta.url)),
    );
    const [banner] = code.split("\n");
    for (const name of ["zod", "p-retry", "@noble/hashes"]) {
      assert.ok(Object.keys(imports).some((key) => key.replace(/\/$/, "") === name), name);
      assert.ok(banner.includes(name), banner);
    }
  });

  for (
    const [kind, name, isSecure] of [["a secure", "127.0.0.1", true], ["an insecure", "sdk.test", false]]
  ) {
    it(`prunes layers from a page of another origin in ${kind} context`, {
      skip: browserSkipReason() ?? false,
    }, async () => {
      let hostUrl = "";
      await using pages = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, (request) => {
        const script = { headers: { "Content-Type": "text/javascript" } };
        switch (new URL(request.url).pathname) {
          case "/pare-client.min.js":
            return new Response(code, script);
          case "/page.js":
            return new Response(pageScript(hostUrl), script);
          default:
            return new Response('<!doctype html><script type="module" src="/page.js"></script>', {
              headers: {
                "Content-Type": "text/html",
                "Content-Security-Policy": `default-src 'none'; script-src 'self'; connect-src ${hostUrl}`,
              },
            });
        }
      });
      const origin = `http://${name}:${pages.addr.port}`;
      await using host = await serveDisposable(origin);
      hostUrl = host.url;
      // The browser finds the server of the page under a name that it does not trust as it trusts the loopback address.
      await using browser = await startBrowser("--host-resolver-rules=MAP sdk.test 127.0.0.1");
      await using opened = await openPage(browser, origin);
      const results = await resultsOf(opened.page);
      assert.equal(results.isSecure, isSecure);
      assert.equal(results.isPareError, true, String(results.message));
      assert.deepEqual(
        [results.backend, results.zeros, results.counted, results.stored, results.code],
        ["cpu", 64, 64, 64, "invalid_parameter"],
      );
      assert.deepEqual(await opened.errors(), []);
    });
  }

  it("names PARE_CORS_ORIGINS if the host does not permit the page, without another attempt", {
    skip: browserSkipReason() ?? false,
  }, async () => {
    await using host = await serveDisposable("http://elsewhere");
    const script = `import { Pare } from "/pare-client.min.js";
      let retries = 0;
      const pare = new Pare({ baseUrl: "${host.url}", onRetry: () => retries++ });
      const message = await pare.describeHost().catch(String);
      globalThis.results = { message, retries };`;
    await using pages = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, ({ url }) => {
      const isBundle = url.endsWith(".js"), type = isBundle ? "text/javascript" : "text/html";
      const page = `<!doctype html><script type="module">${script}</script>`;
      return new Response(isBundle ? code : page, { headers: { "Content-Type": type } });
    });
    const origin = `http://127.0.0.1:${pages.addr.port}`;
    await using browser = await startBrowser();
    await using opened = await openPage(browser, origin);
    const { message, retries } = await resultsOf(opened.page);
    assert.equal(retries, 0);
    assert.match(String(message), new RegExp(`PARE_CORS_ORIGINS of the server must contain ${origin}$`));
  });

  it("shows the host in the example of its page", { skip: browserSkipReason() ?? false }, async () => {
    let page = "";
    await using pages = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, (request) => {
      const isScript = request.url.endsWith(".js");
      const type = isScript ? "text/javascript" : "text/html; charset=utf-8";
      return new Response(isScript ? code : page, { headers: { "Content-Type": type } });
    });
    const origin = `http://127.0.0.1:${pages.addr.port}`;
    await using host = await serveDisposable(origin);
    page = `<!doctype html><body>${(await examplesOf(PACKAGE_PAGE, "html", host.url))[0]}`;
    await using browser = await startBrowser();
    await using opened = await openPage(browser, origin);
    await waitFor(opened.page, "/^cpu on \\S/.test(document.body.textContent)");
  });
});

/** Starts a host that pages of `origin` may use. */
async function serveDisposable(origin: string): Promise<Host & AsyncDisposable> {
  const host = await serve({
    backend: "cpu",
    port: 0,
    hostname: "127.0.0.1",
    corsOrigins: [origin],
    log: () => {},
  });
  return { ...host, [Symbol.asyncDispose]: () => host.shutdown() };
}

/** Waits until the program of the page has ended, and returns what it stored. */
async function resultsOf(page: Page): Promise<Record<string, unknown>> {
  await waitFor(page, "globalThis.results !== undefined");
  return await page.evaluate("globalThis.results");
}
