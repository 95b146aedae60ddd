/** Tests the pages at `/docs` without a browser: their headers and scripts. `tests/contract/docs_test.ts` opens them in a browser. */

import assert from "node:assert/strict";
import { after, describe, it } from "@std/testing/bdd";
import { gzipSync } from "node:zlib";
import { problemOf, startHost } from "./host.ts";
import { assertSame } from "../support/assert_same.ts";

const SCRIPT = "globalThis.Scalar = {};";

const host = await startHost({
  docsScript: () => Promise.resolve(new Uint8Array(gzipSync(SCRIPT))),
  pageFiles: { hash: "abc", texts: { "docs.css": "body{}", "docs.js": "1;", "icon.svg": "<svg/>" } },
});
after(() => host.close());

describe("/docs", () => {
  it("is a page that may load scripts only from the host, and has none within", async () => {
    const response = await host.request("/docs");
    assert.match(response.headers.get("Content-Type")!, /^text\/html/);
    const policy = response.headers.get("Content-Security-Policy")!;
    assert.match(policy, /default-src 'none'; script-src 'self';/);
    assert.match(policy, /connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'$/);
    const html = await response.text();
    assert.doesNotMatch(html, /https?:|<script>| on\w+=/);
    const paths = [...html.matchAll(/<script [^>]*src="([^"]+)">/g)].map(([, path]) => path);
    assert.deepEqual(paths, ["/docs/scalar.js", "/assets/docs.js?v=abc"]);
    for (const path of paths) {
      const script = await host.request(path);
      assert.deepEqual([script.status, script.headers.get("Content-Type")], [
        200,
        "text/javascript; charset=utf-8",
      ]);
      await script.body?.cancel();
    }
  });

  it("has a script that is sent compressed to clients that accept gzip", async () => {
    const compressed = await host.request("/docs/scalar.js", {
      headers: { "Accept-Encoding": "gzip, deflate, br" },
    });
    assert.equal(compressed.headers.get("Content-Encoding"), "gzip");
    assertSame(new Uint8Array(await compressed.arrayBuffer()), new Uint8Array(gzipSync(SCRIPT)));
    const plain = await host.request("/docs/scalar.js");
    assert.deepEqual([plain.headers.get("Content-Encoding"), await plain.text()], [null, SCRIPT]);
  });

  it("is answered with the way to get it if the script was not built", async () => {
    const without = await startHost();
    const response = await without.request("/docs");
    const { code, detail } = await problemOf(response);
    assert.deepEqual([response.status, code], [404, "not_found"]);
    assert.match(detail, /build\/scalar\.js\.gz is missing: run deno task build docs/);
    await without.close();
  });
});
