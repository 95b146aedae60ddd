/** Uses the installed npm package `pare-llm-client` in a Cloudflare Worker, in the Workers runtime on this machine. */

import assert from "node:assert/strict";
import { after, describe, it } from "@std/testing/bdd";
import { serve } from "../../../routes/serve.ts";
import { startWorker } from "../../edge/local_edge.ts";
import { installClient } from "./installed_client.ts";

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

const host = await serve({ backend: "cpu", port: 0, hostname: "127.0.0.1", log: () => {} });
const project = await installClient();
await project.write("worker.js", WORKER);
await project.write("wrangler.toml", CONFIGURATION);
const worker = await startWorker(`${project.folder}/wrangler.toml`, {
  HOST_URL: { type: "plain_text", value: host.url },
});
after(async () => {
  await worker.close();
  await host.shutdown();
});

describe("the installed SDK in a Worker", () => {
  it("prunes a layer", async () => {
    const report = await (await fetch(new URL("?pattern=2:4", worker.url))).json();
    assert.equal(report.zeros, 8 * 16 / 2, JSON.stringify(report));
    assert.equal(report.backend, "cpu");
  });

  it("throws the error of the host", async () => {
    const answer = await (await fetch(new URL("?pattern=4:2", worker.url))).json();
    assert.deepEqual([answer.isPareError, answer.code], [true, "invalid_parameter"], answer.message);
  });
});
