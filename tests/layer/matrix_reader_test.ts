/** Tests MatrixReader, which reads a matrix back in strips and has the device encode the next strip in advance. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { TiledMatrix, writeMatrix } from "../../src/device/tiled_matrix.ts";
import { weightReader } from "../../src/layer/write_layer.ts";
import { floatsToBytes } from "../../src/tensor/dtype.ts";
import { assertSame } from "../support/assert_same.ts";
import { eachBackend } from "../support/backends.ts";
import { normals } from "../../scripts/fixtures/random.ts";

eachBackend("MatrixReader", (backend) => {
  it("yields the same bytes whether the first strip was queued before or not, and frees its buffers", async () => {
    const rows = 40, cols = 36, values = normals(rows * cols, 1);
    const before = backend().counters.bytesLive;
    const q = new TiledMatrix(backend(), { label: "q", rows, cols, edge: 16 });
    writeMatrix(backend(), q, values);
    for (const isPrepared of [false, true]) {
      const reader = weightReader(backend(), q, "F16"), parts: Uint8Array<ArrayBuffer>[] = [];
      if (isPrepared) reader.prepare();
      for await (const chunk of reader.chunks()) parts.push(chunk);
      assertSame(await new Blob(parts).bytes(), floatsToBytes(values, "F16"));
    }
    q.destroy();
    assert.equal(backend().counters.bytesLive, before);
  });

  it("frees the buffers of a prepared strip that is never read", () => {
    const before = backend().counters.bytesLive;
    const q = new TiledMatrix(backend(), { label: "q", rows: 8, cols: 8 });
    const reader = weightReader(backend(), q, "BF16");
    reader.prepare();
    reader[Symbol.dispose]();
    q.destroy();
    assert.equal(backend().counters.bytesLive, before);
  });

  it("encodes a small matrix with one dispatch, and one strip ahead of the reads of a large one", async () => {
    const dispatches: number[] = [];
    for (const rows of [1024, 3072]) {
      const q = new TiledMatrix(backend(), { label: "q", rows, cols: 1024 });
      const start = backend().counters.dispatches;
      const reader = weightReader(backend(), q, "F16"), chunks = reader.chunks();
      await chunks.next();
      dispatches.push(backend().counters.dispatches - start);
      await chunks.return();
      q.destroy();
    }
    assert.deepEqual(dispatches, [1, backend().kind === "cpu" ? 2 : 1]);
  });
});
