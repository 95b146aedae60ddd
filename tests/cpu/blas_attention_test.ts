/**
 * Tests attention whose products are computed by the BLAS library that `--blas auto` finds on this machine. It
 * handles keys in blocks of 512, so the cases have windows of fewer and of more tokens.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Backend } from "../../src/backend/backend.ts";
import { createCpuBackend } from "../../src/cpu/backend.ts";
import { findBlas } from "../../src/cpu/blas/find_blas.ts";
import { attention } from "../../src/kernels/forward/attention.ts";
import { type AttentionShape, referenceAttention } from "../reference/kernels/attention.ts";
import { assertClose } from "../support/assert_close.ts";
import { downloadF32, upload } from "../support/device.ts";
import { normals } from "../support/random.ts";

const COMMON = { batch: 2, heads: 2, kvHeads: 2, headDim: 20, scale: 0.2, window: 0 };

const CASES: Readonly<Record<string, AttentionShape>> = {
  "one token": { ...COMMON, tokens: 1 },
  "fewer keys than a block": { ...COMMON, tokens: 77, headDim: 31 },
  "keys of two blocks": { ...COMMON, tokens: 577, batch: 1 },
  "shared key heads and limited scores": { ...COMMON, tokens: 130, heads: 4, softCap: 3 },
  "a sliding window": { ...COMMON, tokens: 150, window: 17 },
  "earlier keys of two blocks": { ...COMMON, tokens: 3, past: 600 },
  "a sliding window of several blocks": { ...COMMON, tokens: 1100, batch: 1, window: 530 },
};

const SLOPES = Float32Array.of(0, 0.1, 0.5, 0.02);

async function attend(backend: Backend, shape: AttentionShape, given: readonly Float32Array<ArrayBuffer>[]) {
  const { kvHeads, headDim, softCap = 0, past = 0, ...sizes } = shape;
  const width = sizes.heads * headDim, kvWidth = kvHeads * headDim;
  const [q, k, v, slopes, out] = given.map((values) => upload(backend, values));
  backend.dispatch(attention, { q, k, v, slopes, out }, {
    ...{ ...sizes, past, kv_heads: kvHeads, head_dim: headDim, head_stride: headDim, soft_cap: softCap },
    ...{ q_offset: 0, ldq: width, k_offset: 0, ldk: kvWidth, v_offset: 0, ldv: kvWidth, ldo: width },
  });
  const result = await downloadF32(backend, out);
  for (const buffer of [q, k, v, slopes, out]) buffer.destroy();
  return result;
}

const library = findBlas("auto");
const skip = library ? false : "no BLAS library is installed in a usual place";

describe(`attention by ${library?.name ?? `a BLAS library is skipped: ${skip}`}`, { skip }, () => {
  let one: Backend, three: Backend;
  before(async () => {
    one = await createCpuBackend({ threads: 1, blas: library });
    three = await createCpuBackend({ threads: 3, blas: library });
  });
  after(async () => {
    await one.dispose();
    await three.dispose();
  });

  for (const [name, shape] of Object.entries(CASES)) {
    it(`agrees with float64 and gives the same bits with 1 and 3 threads: ${name}`, async () => {
      const { batch, tokens, past = 0, heads, kvHeads, headDim } = shape, keys = batch * (past + tokens);
      const q = normals(batch * tokens * heads * headDim, 1);
      const k = normals(keys * kvHeads * headDim, 2), v = normals(keys * kvHeads * headDim, 3);
      const given = [q, k, v, SLOPES.slice(0, heads), new Float32Array(q.length)];
      const result = await attend(one, shape, given);
      assertClose(result, referenceAttention(shape, q, k, v, SLOPES), 2e-6);
      assert.deepEqual(await attend(three, shape, given), result);
    });
  }
});
