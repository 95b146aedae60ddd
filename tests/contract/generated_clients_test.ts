/**
 * Compiles clients whose types openapi-typescript has made of the OpenAPI documents. The client of a host is the example on the page of the
 * contract, and it is run too.
 */

import assert from "node:assert/strict";
import { after, describe, it } from "@std/testing/bdd";
import { temporaryFolder } from "../support/temporary_folder.ts";
import { fileURLToPath } from "node:url";
import { serve } from "../../routes/serve.ts";
import { CONTRACT_PAGE } from "../../scripts/contract/page.ts";
import { decode } from "../../src/tensor/safetensors/decode.ts";
import { exampleOf, runCommand } from "../support/page_examples.ts";
import { OPENAPI_FETCH, OPENAPI_TYPESCRIPT, runPackage } from "./npm_tools.ts";

const REPOSITORY = new URL("../../", import.meta.url);

/** A client of an edge that uses the operations of jobs. The wrong calls must not compile. */
const EDGE_CLIENT = `
import createClient from "openapi-fetch";
import type { components, paths } from "./edge.ts";

const client = createClient<paths>({ baseUrl: "http://127.0.0.1:8787" });
const weight = "sha256:" + "0".repeat(64);
const started = await client.POST("/v1/jobs", {
  params: { header: { "idempotency-key": "k" } },
  body: { name: "example", layers: [{ name: "a", weight, parameters: { pattern: "2:4" } }] },
});
if (started.error) throw new Error(started.error.code);
const job: components["schemas"]["Job"] = started.data;
for (const { name, host, report, error } of job.layers) {
  console.log(name, host ?? "no host", report?.zeros ?? error?.detail);
}
const list = await client.GET("/v1/jobs", { params: { query: { state: "cancelled", limit: 5 } } });
console.log(list.data?.jobs.map(({ layers }) => layers.done), list.data?.cursor ?? "last page");
// @ts-expect-error: there is no such state.
await client.GET("/v1/jobs", { params: { query: { state: "lost" } } });
// @ts-expect-error: a layer needs a weight.
await client.POST("/v1/jobs", { body: { layers: [{ name: "a" }] } });
const upload = await client.POST("/v1/uploads", { body: { size: 1, sha256: weight } });
if (upload.data && "blob" in upload.data) console.log(upload.data.blob);
`;

const folder = temporaryFolder(), imports = { "openapi-fetch": OPENAPI_FETCH };
await Deno.writeTextFile(
  `${folder}/deno.json`,
  JSON.stringify({ imports, compilerOptions: { strict: true } }),
);
const host = await serve({ backend: "cpu", port: 0, log: () => {} });
after(() => host.shutdown());

describe("clients with types of the OpenAPI documents", () => {
  it("prune a layer at a host, as on the page of the contract", async () => {
    await runPackage(OPENAPI_TYPESCRIPT, [`${host.url}/openapi.json`, "-o", `${folder}/pare.ts`]);
    const example = (await exampleOf(CONTRACT_PAGE, "ts", 1)).replaceAll("http://127.0.0.1:8000", host.url);
    await Deno.writeTextFile(`${folder}/client.ts`, example);
    const layer = "tests/fixtures/layers/layer.safetensors";
    await Deno.mkdir(`${folder}/tests/fixtures/layers`, { recursive: true });
    await Deno.copyFile(new URL(layer, REPOSITORY), `${folder}/${layer}`);
    const printed = await runCommand(
      Deno.execPath(),
      ["run", "-A", "--check", "--quiet", "client.ts"],
      folder,
    );
    assert.equal(printed, "3072 weights are 0\n");
    const { tensors } = decode(await Deno.readFile(`${folder}/pruned.safetensors`));
    assert.deepEqual(tensors.get("weight")!.shape, [64, 96]);
  });

  it("start and list jobs at an edge, and do not compile with wrong values", async () => {
    const document = fileURLToPath(new URL("routes/openapi.edge.json", REPOSITORY));
    await runPackage(OPENAPI_TYPESCRIPT, [document, "-o", `${folder}/edge.ts`]);
    await Deno.writeTextFile(`${folder}/edge_client.ts`, EDGE_CLIENT);
    await runCommand(Deno.execPath(), ["check", "--quiet", "edge_client.ts"], folder);
  });
});
