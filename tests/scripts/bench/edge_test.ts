/**
 * Tests the edge bench with a small layer in wrangler's local runtime, and tests its table. The bench
 * measures how much time Pare's Cloudflare Worker (the edge) adds to a request.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { benchEdge } from "../../../scripts/bench/edge/bench_edge.ts";
import { changeLastWeight, edgeLayer } from "../../../scripts/bench/edge/edge_layer.ts";
import { edgeTable } from "../../../scripts/bench/edge/table.ts";
import { startEdgeWithHost } from "../../../scripts/processes/edge_with_host.ts";
import { withTemporaryFolder } from "../../support/temporary_folder.ts";

describe("the edge bench", () => {
  it("times a layer that is solved by the host, through the edge, and by a job", async () => {
    await withTemporaryFolder(async (folder) => {
      await using pair = await startEdgeWithHost({ backend: "cpu", folder });
      const result = await benchEdge(pair, 24, 40, 1);
      assert.equal(result.bodyBytes, edgeLayer(24, 40).length);
      const { upload, job, fetch, total } = result.job;
      for (const seconds of [result.solve, result.direct, result.through, upload, job, fetch]) {
        assert.ok(seconds > 0);
      }
      assert.ok(
        Math.abs(upload + job + fetch - total) < 1e-9,
        "with one round, the steps add up to the total",
      );
      assert.match(edgeTable({ layers: [result] }), /^\| 24 × 40 +\| 0\.0 /m);
    });
  });

  it("changes only the last weight of the layer for the next round", () => {
    const body = edgeLayer(2, 3), first = body.slice();
    changeLastWeight(body, 1);
    const changed = [...body.keys()].filter((at) => body[at] !== first[at]);
    assert.deepEqual(changed, [body.length - 2]);
  });
});

describe("the edge bench's table", () => {
  it("shows the seconds, the MB/s of the body, and the percentage that the edge adds", () => {
    const job = { upload: 4, job: 2, fetch: 1, total: 7 };
    const layer = { rows: 2, cols: 3, bodyBytes: 8e6, rounds: 3, solve: 0.5, direct: 1, through: 1.25, job };
    const cells = edgeTable({ layers: [layer] }).split("\n")[2].split("|").map((cell) => cell.trim()).slice(
      1,
      -1,
    );
    assert.deepEqual(
      cells,
      "2 × 3,8.0,0.500,1.000,8,1.250,6,25 %,4.000,2,2.000,1.000,7.000".split(","),
    );
  });
});
