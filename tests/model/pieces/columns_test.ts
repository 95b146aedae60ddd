/** Tests the gradient of columns that are copied to several heads. `tests/model/training/` tests the gradients of whole blocks. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Backend } from "../../../src/device/backend.ts";
import { copyColumns } from "../../../src/model/pieces/columns.ts";
import { Tape } from "../../../src/model/pieces/tape.ts";
import { TapeWorkspace } from "../../../src/model/pieces/tape_workspace.ts";
import { eachBackend } from "../../support/backends.ts";
import { downloadF32, upload } from "../../support/device.ts";

const ROWS = 3, SOURCE_LD = 5, FIRST = 2, COLS = 2, HEAD = 4;

/** Copies two columns to every head. Returns the gradient of the source if that of a target is its index, and the bytes that it took. */
async function copyToHeads(backend: Backend, heads: number) {
  const workspace = new TapeWorkspace(backend), tape = new Tape(backend, workspace, () => undefined);
  const source = upload(backend, Float32Array.from({ length: ROWS * SOURCE_LD }, (_, i) => i));
  const target = workspace.buffer("target", ROWS * heads * HEAD), ld = heads * HEAD;
  const places = Array.from(
    { length: heads },
    (_, head) => ({ buffer: target, offset: head * HEAD + 1, ld }),
  );
  backend.clear(target);
  const from = { buffer: source, offset: FIRST, ld: SOURCE_LD };
  copyColumns({ backend, workspace, tape }, ROWS, COLS, from, places);
  const indices = Float32Array.from({ length: ROWS * ld }, (_, i) => i);
  backend.write(tape.gradient(target), 0, new Uint8Array(indices.buffer));
  const before = backend.counters.bytesLive;
  tape.backward();
  const bytes = backend.counters.bytesLive - before;
  const [copied, gradient] = [
    await downloadF32(backend, target),
    await downloadF32(backend, tape.gradient(source)),
  ];
  source.destroy();
  workspace.destroy();
  return { copied, gradient, bytes };
}

eachBackend("columns that are copied to all heads", (backend) => {
  it("have the sum of the gradients of all heads, in memory that does not grow with the number of heads", async () => {
    const heads = 6, ld = heads * HEAD;
    const { copied, gradient, bytes } = await copyToHeads(backend(), heads);
    for (let row = 0; row < ROWS; row++) {
      for (let head = 0; head < heads; head++) {
        const values = copied.subarray(row * ld + head * HEAD, row * ld + (head + 1) * HEAD);
        assert.deepEqual([...values], [0, row * SOURCE_LD + FIRST, row * SOURCE_LD + FIRST + 1, 0]);
      }
      const sumOf = (column: number) =>
        Array.from({ length: heads }, (_, head) => row * ld + head * HEAD + 1 + column)
          .reduce((sum, index) => sum + index);
      const actual = [...gradient.subarray(row * SOURCE_LD, (row + 1) * SOURCE_LD)];
      assert.deepEqual(actual, [0, 0, sumOf(0), sumOf(1), 0]);
    }
    assert.equal((await copyToHeads(backend(), 2)).bytes, bytes);
  });
});
