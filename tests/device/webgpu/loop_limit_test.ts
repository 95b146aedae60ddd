/**
 * Tests the check that rejects dispatches whose loops a software adapter, which emulates a GPU on the CPU,
 * could end early.
 */

import { doesNotThrow, throws } from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { gemmNN, MAX_SOFTWARE_K } from "../../../src/device/kernels/gemm.ts";
import { pruneBlockNM } from "../../../src/device/kernels/prune_block.ts";
import { assertUnderLoopLimit } from "../../../src/device/webgpu/params_encoder.ts";
import { upload } from "../../support/device.ts";
import { webgpuSuite } from "./suite.ts";

/**
 * The parameters of a matrix product without rows. This product is checked like any other product, but it
 * computes nothing.
 */
const EMPTY_PRODUCT = {
  m: 0,
  n: 128,
  a_offset: 0,
  lda: 1,
  b_offset: 0,
  ldb: 128,
  c_offset: 0,
  ldc: 128,
  alpha: 1,
  beta: 0,
  upper: 0,
};

const REFUSAL = {
  name: "RangeError",
  message:
    "dispatch of gemm_nn: one invocation would need 65535 loop iterations, but a software adapter may end " +
    "its loops after 65535",
};
/**
 * The smallest k that is rejected. A dispatch counts k + 93 iterations: 93 come from the loops that store C
 * and from a loop that is skipped.
 */
const TOO_LARGE_K = 65_535 - 93;

describe("assertUnderLoopLimit()", () => {
  const shader = gemmNN.softwareShader!;

  it("rejects 65,535 iterations and names the kernel", () => {
    throws(() => assertUnderLoopLimit(gemmNN, shader, { ...EMPTY_PRODUCT, k: TOO_LARGE_K }), REFUSAL);
  });

  it("accepts 65,534 iterations", () => {
    doesNotThrow(() => assertUnderLoopLimit(gemmNN, shader, { ...EMPTY_PRODUCT, k: TOO_LARGE_K - 1 }));
    doesNotThrow(() => assertUnderLoopLimit(gemmNN, shader, { ...EMPTY_PRODUCT, k: MAX_SOFTWARE_K }));
  });

  it("accepts any size for a shader that declares no loops", () => {
    doesNotThrow(() => assertUnderLoopLimit(gemmNN, gemmNN.shader, { ...EMPTY_PRODUCT, k: 1_000_000 }));
  });

  it("rejects groups of 256 columns, because a single invocation would compare all pairs of columns", () => {
    throws(
      () => assertUnderLoopLimit(pruneBlockNM, pruneBlockNM.softwareShader!, { size: 256, group: 256 }),
      RangeError,
    );
  });
});

webgpuSuite("a WebGPU backend and the loop limit", (backend) => {
  it("rejects a dispatch over the limit if its adapter is a software adapter", () => {
    const [a, b, c] = ["a", "b", "c"].map((label) => upload(backend(), new Float32Array(128), label));
    const dispatch = () => backend().dispatch(gemmNN, { a, b, c }, { ...EMPTY_PRODUCT, k: TOO_LARGE_K });
    if (backend().adapter.software) throws(dispatch, REFUSAL);
    else doesNotThrow(dispatch);
    for (const buffer of [a, b, c]) buffer.destroy();
  });
});
