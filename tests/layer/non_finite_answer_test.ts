/** Tests that a layer whose pruned weights are not finite in the dtype of the answer is refused. */

import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { Backend } from "../../src/device/backend.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { bytesToFloats, type FloatDtype } from "../../src/tensor/dtype.ts";
import { createWebGpuBackend } from "../../src/device/webgpu/backend.ts";
import { correlatedHessian } from "../reference/hessian.ts";
import { answerOf, startHost } from "../routes/host.ts";
import { eachBackend } from "../support/backends.ts";
import { normals } from "../../scripts/fixtures/random.ts";
import { file, floats } from "./bodies.ts";

/** A number of columns that is not a multiple of 4, so that the tiles have padding, and rows for two tiles. */
const ROWS = 40, COLS = 30;
const OPENERS: Record<Backend["kind"], () => Promise<Backend>> = {
  cpu: () => createCpuBackend(),
  webgpu: () => createWebGpuBackend(),
};

eachBackend("the answer of a layer", (backend) => {
  /** Prunes `weight` and returns the status and the problem. */
  async function prune(weight: Float32Array, query: string, hessian = correlatedHessian(COLS, { seed: 3 })) {
    const host = await startHost({ open: OPENERS[backend().kind], limits: { tileEdge: 32 } });
    try {
      const body = file({
        weight: floats("F32", [ROWS, COLS], weight),
        hessian: floats("F32", [COLS, COLS], hessian),
      });
      const response = await host.send("POST", `/v1/layers?blocksize=16&${query}`, body);
      const problem = response.status === 200 ? undefined : await response.json();
      const answer = problem ? undefined : await answerOf(response);
      const weights = answer && bytesToFloats(answer.weight.data, answer.weight.dtype as FloatDtype);
      strictEqual(host.liveBytes(), 0, "device bytes");
      return { status: response.status, problem, weights };
    } finally {
      await host.close();
    }
  }

  it("is refused if the dtype cannot hold a weight, naming the tensor and the first index", async () => {
    for (const [dtype, largest, overflowing] of [["F16", 65500, 65520], ["BF16", 3.38e38, 3.4e38]] as const) {
      const weight = normals(ROWS * COLS, 5);
      weight[35 * COLS + 7] = largest;
      strictEqual((await prune(weight, `method=magnitude&dtype=${dtype}`)).status, 200);
      weight[35 * COLS + 7] = weight[33 * COLS + 29] = overflowing;
      const { status, problem } = await prune(weight, `method=magnitude&dtype=${dtype}`);
      deepStrictEqual([status, problem.code, problem.tensor, problem.index], [422, "non_finite", "weight", [
        33,
        29,
      ]]);
      match(problem.detail, new RegExp(`which ${dtype} cannot represent`));
    }
  });

  it("is refused if the updates of the solve overflow, and otherwise has finite weights", async () => {
    const weight = normals(ROWS * COLS, 5).map((value) => Math.sign(value) * 3.4e38);
    const refused: string[] = [];
    for (
      const query of ["method=sparsegpt", "method=obc", "method=adaprune&refit=8", "method=sparsegpt&bits=8"]
    ) {
      const { status, problem, weights } = await prune(weight, `${query}&sparsity=0.7`);
      if (status === 200) ok(weights!.every(Number.isFinite), `${query}: a weight is not finite`);
      else {
        deepStrictEqual([status, problem.code, problem.tensor], [422, "non_finite", "weight"]);
        match(problem.detail, /updates of the solve overflowed/);
        refused.push(query);
      }
    }
    ok(
      refused.includes("method=sparsegpt") && refused.includes("method=sparsegpt&bits=8"),
      refused.join(", "),
    );
  });

  it("is refused if the damping makes the diagonal of the statistics overflow", async () => {
    const hessian = new Float32Array(COLS * COLS);
    for (let j = 0; j < COLS; j++) hessian[j * (COLS + 1)] = 3.4e38;
    const { status, problem } = await prune(
      normals(ROWS * COLS, 5),
      "method=sparsegpt&damping=0.01",
      hessian,
    );
    deepStrictEqual([status, problem.code, problem.tensor], [422, "non_finite", "hessian"]);
    deepStrictEqual(problem.index, [0, 0]);
    match(problem.detail, /after the damping of .* is added/);
  });
});
