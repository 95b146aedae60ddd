/** Tests the pages of the edge, which is Pare's Cloudflare Worker, without a browser and without the Workers runtime. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { createEdge } from "../../src/edge/app.ts";
import type { EdgeBindings } from "../../src/edge/bindings.ts";
import type { PageFiles } from "../../src/pages/page_files.ts";

const FILES: PageFiles = { hash: "abc", texts: { "style.css": "body{}", "jobs.js": "1;" } };

async function request(path: string, env: EdgeBindings = {}, pageFiles: PageFiles | undefined = FILES) {
  return await createEdge({ pageFiles }).request(path, { headers: { Accept: "text/html" } }, env);
}

describe("the pages of an edge", () => {
  it("/ says that the server is an edge, why it has no device, and whether keys are needed", async () => {
    const open = await (await request("/", { EDGE_OPEN: "true" })).text();
    assert.match(open, /This server is an edge/);
    assert.match(
      open,
      /Not ready<\/h2><p class="problem">this edge has no GPU host, because EDGE_HOST is not set/,
    );
    assert.match(open, /<dt>API keys<\/dt><dd>Not needed<\/dd>/);
    const closed = await (await request("/", { PARE_KEYS: "0".repeat(64) })).text();
    assert.match(closed, /<dd>Needed: send the header Authorization: Bearer KEY<\/dd>/);
    assert.match(
      await (await request("/")).text(),
      /<dd>None is set, so requests for uploads, .* are refused\. Set PARE_KEYS/,
    );
  });

  it("/ shows the device of an edge that solves small layers itself", async () => {
    const page = await (await request("/", { EDGE_OPEN: "true", EDGE_SOLVE: "true" })).text();
    assert.match(page, /Ready<\/h2>/);
    assert.match(page, /<dd>WebAssembly SIMD, on the calling thread \(cpu\)<\/dd>/);
  });

  it("/ does not wait for a host that is silent", async () => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const EDGE_HOST = `http://127.0.0.1:${(listener.addr as Deno.NetAddr).port}`;
    const page = await (await request("/", { EDGE_OPEN: "true", EDGE_HOST })).text();
    assert.match(page, /Not ready<\/h2><p class="problem">the host has not answered within 3 s/);
  });

  it("/jobs and /playground may send requests to the edge and to its bucket only", async () => {
    for (const path of ["/jobs", "/playground"]) {
      const own = await request(path, { BLOBS_S3_URL: "http://localhost/bucket" });
      assert.match(own.headers.get("Content-Security-Policy")!, /connect-src 'self'; /);
      const r2 = await request(path, { BLOBS_S3_URL: "https://account.r2.example/bucket" });
      assert.match(
        r2.headers.get("Content-Security-Policy")!,
        /connect-src 'self' https:\/\/account\.r2\.example; /,
      );
      assert.match(await r2.text(), new RegExp(`<script type="module" src="/assets${path}.js\\?v=abc">`));
    }
  });

  it("/playground and /jobs have a field for a key unless the edge needs none", async () => {
    for (const path of ["/playground", "/jobs"]) {
      assert.doesNotMatch(await (await request(path, { EDGE_OPEN: "true" })).text(), /id="key"/);
      for (const env of [{}, { PARE_KEYS: "0".repeat(64) }]) {
        assert.match(await (await request(path, env)).text(), /<details open="">.* id="key"/s);
      }
    }
  });

  it("/jobs says how to start a job at this edge", async () => {
    const page = await (await request("/jobs", { EDGE_OPEN: "true" })).text();
    assert.match(page, /pare prune .*--server http:\/\/localhost</s);
  });

  it("/docs has the navigation of the edge, and its policy allows the styles of Scalar", async () => {
    const response = await request("/docs", { EDGE_OPEN: "true" }), html = await response.text();
    assert.match(html, /<a href="\/jobs">Jobs<\/a><a href="\/docs" aria-current="page">/);
    assert.match(html, /<script defer="" src="\/docs\/scalar.js">/);
    const policy = response.headers.get("Content-Security-Policy")!;
    assert.match(policy, /^default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';/);
  });

  it("files, problems and pages have security headers", async () => {
    for (const path of ["/", "/jobs", "/assets/style.css", "/assets/none", "/v1/jobs/none", "/none"]) {
      const { headers } = await request(path);
      assert.equal(headers.get("X-Content-Type-Options"), "nosniff", path);
      assert.match(
        headers.get("Content-Security-Policy")!,
        /^default-src 'none';.* frame-ancestors 'none'/,
        path,
      );
    }
  });

  it("/jobs is answered with the way to get it if the files were not built", async () => {
    const app = createEdge(), response = await app.request("/jobs", {}, {});
    const { code, detail } = await response.json();
    assert.deepEqual([response.status, code], [404, "not_found"]);
    assert.match(detail, /build\/pages was missing when it was deployed: run deno task build/);
  });
});
