/** Uses the installed npm package `pare-llm-client` in a Cloudflare Worker, in the Workers runtime on this machine. */

import assert from "node:assert/strict";
import { after, before, describe, it } from "@std/testing/bdd";
import { unstable_startWorker } from "wrangler";
import { type Host, serve } from "../../../routes/serve.ts";
import { type ClientProject, installClient } from "./installed_client.ts";

/** A Worker that prunes a layer at the host that its variable HOST_URL names. It answers with the report. */
const WORKER = `import { hessianUpper, Pare, PareError, tensorFromFloats } from "pare-llm-client";

const waves = (length) => Float32Array.from({ length }, (_, i) => Math.sin(i * i));

export default {
  async fetch(request, env) {
    const pare = new Pare({ baseUrl: env.HOST_URL });
    const weight = tensorFromFloats(waves(8 * 16), [8, 16]), inputs = tensorFromFloats(waves(64 * 16), [64, 16]);
    try {
      const query = { pattern: new URL(request.url).searchParams.get("pattern") };
      return Response.json((await pare.pruneLayer({ weight, hessian_upper: hessianUpper([inputs]) }, query)).report);
    } catch (error) {
      return Response.json({ isPareError: error instanceof PareError, code: error.code, message: String(error) });
    }
  },
};
`;

const CONFIGURATION = `name = "sdk-test"
main = "worker.js"
compatibility_date = "2025-09-01"
send_metrics = false
`;

describe("the installed SDK in a Worker", () => {
  let host: Host, project: ClientProject, worker: Awaited<ReturnType<typeof unstable_startWorker>>, url: URL;
  before(async () => {
    host = await serve({ backend: "cpu", port: 0, hostname: "127.0.0.1", log: () => {} });
    project = await installClient();
    await project.write("worker.js", WORKER);
    await project.write("wrangler.toml", CONFIGURATION);
    Deno.env.set("CI", "1");
    Deno.env.set("CLOUDFLARE_CF_FETCH_ENABLED", "false");
    worker = await unstable_startWorker({
      config: `${project.folder}/wrangler.toml`,
      bindings: { HOST_URL: { type: "plain_text", value: host.url } },
      dev: {
        server: { hostname: "127.0.0.1", port: 0 },
        logLevel: "none",
        watch: false,
        persist: false,
        inspector: false,
      },
    });
    url = await worker.url;
  });
  after(async () => {
    await worker.dispose();
    await project[Symbol.asyncDispose]();
    await host.shutdown();
  });

  it("prunes a layer", async () => {
    const report = await (await fetch(new URL("?pattern=2:4", url))).json();
    assert.equal(report.zeros, 8 * 16 / 2, JSON.stringify(report));
    assert.equal(report.backend, "cpu");
  });

  it("throws the error of the host", async () => {
    const answer = await (await fetch(new URL("?pattern=4:2", url))).json();
    assert.deepEqual([answer.isPareError, answer.code], [true, "invalid_parameter"], answer.message);
  });
});
