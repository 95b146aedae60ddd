/** The edge bench at a small size, in the real runtime: three ways, one answer, and its table. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { benchEdge } from "../../scripts/bench/edge/bench_edge.ts";
import { edgeLayer, vary } from "../../scripts/bench/edge/layer.ts";
import { edgeTable } from "../../scripts/bench/edge/table.ts";
import { startEdgeWithHost } from "../../scripts/edge_with_host.ts";
import { withTemporaryFolder } from "../support/temporary_folder.ts";

describe("the edge bench", () => {
  it("times a layer to the host, through the edge, and as a job", async () => {
    await withTemporaryFolder(async (folder) => {
      await using pair = await startEdgeWithHost({ backend: "cpu", folder });
      const result = await benchEdge(pair, 24, 40, 1);
      assert.equal(result.bodyBytes, edgeLayer(24, 40).length);
      const { upload, job, fetch, total } = result.job;
      for (const seconds of [result.solve, result.direct, result.through, upload, job, fetch]) {
        assert.ok(seconds > 0);
      }
      assert.ok(Math.abs(upload + job + fetch - total) < 1e-9, "of one round, the steps are the whole");
      assert.match(edgeTable([result]), /^\| 24 × 40 +\| 0\.0 /m);
    });
  });

  it("sends another layer each round", () => {
    const body = edgeLayer(2, 3), first = body.slice();
    vary(body, 1);
    const changed = [...body.keys()].filter((at) => body[at] !== first[at]);
    assert.deepEqual(changed, [body.length - 2]);
  });
});

describe("the edge bench's table", () => {
  it("tells seconds, the body's rate and what the edge adds", () => {
    const job = { upload: 4, job: 2, fetch: 1, total: 7 };
    const layer = { rows: 2, cols: 3, bodyBytes: 8e6, rounds: 3, solve: 0.5, direct: 1, through: 1.25, job };
    const cells = edgeTable([layer]).split("\n")[2].split("|").map((cell) => cell.trim()).slice(1, -1);
    assert.deepEqual(
      cells,
      "2 × 3,8.0,0.500,1.000,8,1.250,6,25 %,4.000,2,2.000,1.000,7.000".split(","),
    );
  });
});
