/** Tests factors in activation order. `joint_pass_order_test.ts` solves layers with them. */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { InvalidStatisticsError } from "../../../src/layer/linalg/errors.ts";
import { factor } from "../../../src/layer/linalg/factor.ts";
import { correlatedHessian } from "../../reference/hessian.ts";
import { eachBackend } from "../../support/backends.ts";
import { downloadU32 } from "../../support/device.ts";
import { uploadHessian } from "../../support/layers.ts";

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
