/** Tests that readers at different places of a checkpoint, such as the bodies for several hosts, do not repeat each other's work. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { memorySource } from "../../../src/model/checkpoint/tensor_source.ts";
import { DequantizedSource } from "../../../src/model/formats/checkpoint/dequantized_source.ts";
import type { StoredWeight } from "../../../src/model/formats/format.ts";

const ROWS = 8, COLS = 2, ROW_BYTES = 4 * COLS;

it("DequantizedSource computes each section once for two readers that take turns", async () => {
  const opened: string[] = [];
  const weightOf = (name: string): StoredWeight => ({
    ...{ name, dtype: "F32", shape: [ROWS, COLS], sections: 1, tensors: ["codes", "scales"] },
    open() {
      opened.push(name);
      return Promise.resolve((row, values) => void values.fill(row));
    },
  });
  const weights = new Map(["first", "second"].map((name) => [name, weightOf(name)]));
  const source = new DequantizedSource(memorySource(new Map()), "folder", weights);
  for (let row = 0; row < ROWS; row++) {
    for (const name of weights.keys()) {
      const bytes = await source.read(name, row * ROW_BYTES, ROW_BYTES);
      assert.deepEqual(new Float32Array(bytes.buffer), new Float32Array(COLS).fill(row));
    }
  }
  assert.deepEqual(opened, ["first", "second"]);
});
