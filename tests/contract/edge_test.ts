/** Runs the example of a job on the page of the contract against an edge with a host, and reads the document and the pages of the edge. */

import assert from "node:assert/strict";
import { after, before, describe, it } from "@std/testing/bdd";
import { CONTRACT_PAGE } from "../../scripts/contract/page.ts";
import { type EdgeWithHost, startEdgeWithHost } from "../../scripts/processes/edge_with_host.ts";
import { decode } from "../../src/tensor/safetensors/decode.ts";
import { exampleOf, missingCommand, runCommand } from "../support/page_examples.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";

describe("an edge with a host", () => {
  const folder = temporaryFolder();
  let pair: EdgeWithHost;
  before(async () => void (pair = await startEdgeWithHost({ backend: "cpu", folder: `${folder}/edge` })));
  after(() => pair[Symbol.asyncDispose]());

  it("prunes a layer by a job, as in the Python example on the page of the contract", {
    skip: missingCommand("python3"),
  }, async () => {
    const first = (await exampleOf(CONTRACT_PAGE, "python", 1)).replaceAll(
      "http://127.0.0.1:8000",
      pair.host.url,
    );
    const second = (await exampleOf(CONTRACT_PAGE, "python", 0)).replaceAll(
      "http://127.0.0.1:8787",
      pair.edge.url,
    );
    await Deno.writeTextFile(`${folder}/layer.py`, first);
    await Deno.writeTextFile(`${folder}/job.py`, second);
    await runCommand("python3", ["layer.py"], folder);
    assert.equal(await runCommand("python3", ["job.py"], folder), "layer 0: 64 weights are 0\n");
    const { tensors } = decode(await Deno.readFile(`${folder}/pruned.safetensors`));
    assert.deepEqual(tensors.get("weight")!.shape, [8, 16]);
    const { jobs } = await (await fetch(`${pair.edge.url}/v1/jobs`)).json();
    assert.deepEqual(jobs.map(({ name, state }: { name: string; state: string }) => [name, state]), [[
      "example",
      "done",
    ]]);
  });

  it("serves the committed document, and the pages of its host", async () => {
    const served = await (await fetch(`${pair.edge.url}/openapi.json`)).json();
    const committed = new URL("../../routes/openapi.edge.json", import.meta.url);
    assert.deepEqual(served, JSON.parse(await Deno.readTextFile(committed)));
    for (const path of ["/docs", "/docs/scalar.js"]) {
      const response = await fetch(pair.edge.url + path);
      assert.equal(response.status, 200, path);
      await response.body?.cancel();
    }
  });
});
