/** Tests the table of the Python bench, which measures how much time a client adds to a request. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { pythonTable } from "../../../scripts/bench/python/table.ts";

describe("the Python bench's table", () => {
  it("shows one row per client in milliseconds", () => {
    const layer = { rows: 2, cols: 3, statistics: "stored", bodyBytes: 1.25e6, rounds: 3 } as const;
    const clients = [
      { client: "a", wall: 0.02, host: 0.015, overhead: 0.004, overhead90: 0.0061 },
      { client: "b", wall: 0.03, host: 0.015, overhead: 0.014, overhead90: 0.02 },
    ];
    const [, , ...rows] = pythonTable({ layers: [{ ...layer, clients }] }).split("\n");
    assert.deepEqual(rows, [
      "| 2 × 3 | stored | 1.3 | a | 20.0 | 15.0 | 4.0 | 6.1 |",
      "| 2 × 3 | stored | 1.3 | b | 30.0 | 15.0 | 14.0 | 20.0 |",
    ]);
  });
});
