/** Runs the edge bench with a small layer in wrangler's local runtime. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { benchEdge } from "../../../scripts/bench/edge_bench.ts";
import { startEdgeWithHost } from "../../../scripts/processes/edge_with_host.ts";
import { withTemporaryFolder } from "../../support/temporary_folder.ts";

it("benchEdge() times a layer that is solved by the host, through the edge, and by a job", async () => {
  await withTemporaryFolder(async (folder) => {
    await using pair = await startEdgeWithHost({ backend: "cpu", folder });
    const { solve, direct, through, job } = await benchEdge(pair, 24, 40, 1);
    const { upload, job: running, fetch, total } = job;
    for (const seconds of [solve, direct, through, upload, running, fetch]) assert.ok(seconds > 0);
    assert.ok(Math.abs(upload + running + fetch - total) < 1e-9, "the steps add up to the total");
  });
});
