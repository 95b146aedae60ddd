/** Tests the permutations of columns on matrices with several tiles, and factors in activation order. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { readMatrix, TiledMatrix, writeMatrix } from "../../../src/device/tiled_matrix.ts";
import {
  activationOrder,
  permuteColumns,
  permuteSymmetric,
  uploadOrder,
} from "../../../src/layer/linalg/column_order.ts";
import { InvalidStatisticsError } from "../../../src/layer/linalg/errors.ts";
import { factor } from "../../../src/layer/linalg/factor.ts";
import { correlatedHessian } from "../../reference/hessian.ts";
import { assertSame } from "../../support/assert_same.ts";
import { eachBackend } from "../../support/backends.ts";
import { downloadU32 } from "../../support/device.ts";
import { uploadHessian } from "../../support/layers.ts";
import { normals } from "../../../scripts/fixtures/random.ts";

describe("activationOrder()", () => {
  it("orders columns by decreasing diagonal entry, and equal entries by index", () => {
    assert.deepEqual([...activationOrder(Float32Array.of(1, 3, 0, 3, 2, 0))], [1, 3, 4, 0, 2, 5]);
  });
});

eachBackend("a permutation of columns", (backend) => {
  it("permutes the columns of a matrix with several tiles, and its inverse restores them", async () => {
    const rows = 70, cols = 203, edge = 64, live = backend().counters.bytesLive;
    const values = normals(rows * cols, 1), key = normals(cols, 2);
    const make = () => new TiledMatrix(backend(), { label: "matrix", rows, cols, edge });
    const [source, moved, back] = [make(), make(), make()];
    writeMatrix(backend(), source, values);
    const order = uploadOrder(backend(), activationOrder(key));
    permuteColumns(backend(), source, order.forward, moved);
    permuteColumns(backend(), moved, order.inverse, back);
    const expected = values.map((_, i) => values[i - i % cols + order.columns[i % cols]]);
    assertSame(await readMatrix(backend(), moved), expected);
    assertSame(await readMatrix(backend(), back), values);
    for (const resource of [source, moved, back, order]) resource.destroy();
    assert.equal(backend().counters.bytesLive, live);
  });

  it("permutes rows and columns of statistics that are stored as upper tiles only", async () => {
    const n = 203, edge = 64, h = correlatedHessian(n, { seed: 3 });
    const matrix = uploadHessian(backend(), h, n, edge);
    const order = uploadOrder(backend(), activationOrder(h.filter((_, i) => i % (n + 1) === 0)));
    const moved = permuteSymmetric(backend(), matrix, order.forward);
    const values = await readMatrix(backend(), moved);
    for (let i = 0; i < n; i++) {
      for (let j = i; j < n; j++) {
        assert.equal(values[i * n + j], h[order.columns[i] * n + order.columns[j]], `element (${i}, ${j})`);
      }
    }
    for (const resource of [matrix, moved, order]) resource.destroy();
  });
});

eachBackend("factor() in activation order", (backend) => {
  it("returns the column order, with the dead inputs last", async () => {
    const n = 100, dead = [0, 50], live = backend().counters.bytesLive;
    const h = correlatedHessian(n, { seed: 4, dead });
    const factored = await factor(backend(), uploadHessian(backend(), h, n, 32), {
      damping: 0.01,
      blocksize: 32,
      order: "activation",
    });
    const { columns } = factored.order!;
    const diagonal = [...columns].map((column) => h[column * (n + 1)]);
    assert.deepEqual(diagonal, diagonal.toSorted((a, b) => b - a));
    assert.deepEqual([...columns.subarray(n - 2)], dead);
    const flags = await downloadU32(backend(), factored.dead!);
    assert.deepEqual([...flags], Array.from(columns, (column) => dead.includes(column) ? 1 : 0));
    assert.equal(factored.byteLength, backend().counters.bytesLive - live);
    factored.destroy();
    assert.equal(backend().counters.bytesLive, live);
  });

  it("names the input of a bad diagonal entry by its natural index, and frees everything", async () => {
    const n = 40, live = backend().counters.bytesLive, h = correlatedHessian(n, { seed: 5 });
    h[7 * (n + 1)] = -1;
    const options = { damping: 0.01, blocksize: 32, order: "activation" as const };
    await assert.rejects(
      factor(backend(), uploadHessian(backend(), h, n, 32), options),
      (error) => error instanceof InvalidStatisticsError && error.message.includes("7"),
    );
    assert.equal(backend().counters.bytesLive, live);
  });
});
