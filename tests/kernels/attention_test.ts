/**
 * Tests of attention in comparison with a definition in float64. They cover sizes around the boundaries of
 * workgroups and chunks, key heads that query heads share, ALiBi, sliding windows, limited scores, q, k and v in
 * one buffer, and scores at which exp overflows.
 */

import { deepStrictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { Backend } from "../../src/backend/backend.ts";
import { attention } from "../../src/kernels/forward/attention.ts";
import { type AttentionShape, referenceAttention } from "../reference/kernels/attention.ts";
import { assertClose } from "../support/assert_close.ts";
import { eachTiling } from "../support/backends.ts";
import { downloadF32, upload } from "../support/device.ts";
import { normals } from "../support/random.ts";

interface Operands {
  readonly q: Float32Array<ArrayBuffer>;
  readonly k: Float32Array<ArrayBuffer>;
  readonly v: Float32Array<ArrayBuffer>;
  readonly slopes: Float32Array<ArrayBuffer>;
}

const UNTOUCHED = 77;
const PADDING = 3;

function shapeOf(shape: Partial<AttentionShape>): AttentionShape {
  const { heads = 2, headDim = 16 } = shape;
  return {
    batch: 1,
    tokens: 7,
    heads,
    kvHeads: heads,
    headDim,
    scale: 1 / Math.sqrt(headDim),
    window: 0,
    ...shape,
  };
}

function operands(shape: AttentionShape, magnitude = 1): Operands {
  const { batch, tokens, past = 0, heads, kvHeads, headDim } = shape, keys = batch * (past + tokens);
  return {
    q: normals(batch * tokens * heads * headDim, 1).map((x) => magnitude * x),
    k: normals(keys * kvHeads * headDim, 2),
    v: normals(keys * kvHeads * headDim, 3),
    slopes: new Float32Array(shape.heads),
  };
}

/** Copies the matrix `values` with `offset` elements before each row and some padding after it. */
function spread(values: Float32Array, width: number, offset: number): Float32Array<ArrayBuffer> {
  const rows = values.length / width, ld = offset + width + PADDING;
  const padded = new Float32Array(rows * ld).fill(1e9);
  for (let r = 0; r < rows; r++) padded.set(values.subarray(r * width, (r + 1) * width), r * ld + offset);
  return padded;
}

async function assertAttends(backend: Backend, shape: AttentionShape, given: Operands): Promise<void> {
  const { batch, tokens, past = 0, heads, kvHeads, headDim, scale, window, softCap = 0 } = shape;
  const width = heads * headDim, kvWidth = kvHeads * headDim, ldo = width + PADDING;
  const buffers = {
    q: upload(backend, spread(given.q, width, 1)),
    k: upload(backend, spread(given.k, kvWidth, 2)),
    v: upload(backend, spread(given.v, kvWidth, 5)),
    slopes: upload(backend, given.slopes),
    out: upload(backend, new Float32Array(batch * tokens * ldo).fill(UNTOUCHED)),
  };
  backend.dispatch(attention, buffers, {
    batch,
    tokens,
    past,
    heads,
    kv_heads: kvHeads,
    head_dim: headDim,
    head_stride: headDim,
    q_offset: 1,
    ldq: 1 + width + PADDING,
    k_offset: 2,
    ldk: 2 + kvWidth + PADDING,
    v_offset: 5,
    ldv: 5 + kvWidth + PADDING,
    ldo,
    scale,
    window,
    soft_cap: softCap,
  });
  const padded = await downloadF32(backend, buffers.out);
  for (const buffer of Object.values(buffers)) buffer.destroy();
  const actual = new Float32Array(batch * tokens * width);
  for (let r = 0; r < batch * tokens; r++) {
    actual.set(padded.subarray(r * ldo, r * ldo + width), r * width);
    deepStrictEqual([...padded.subarray(r * ldo + width, (r + 1) * ldo)], Array(PADDING).fill(UNTOUCHED));
  }
  assertClose(actual, referenceAttention(shape, given.q, given.k, given.v, given.slopes), 2e-6);
}

eachTiling("attention", (backend) => {
  for (const tokens of [1, 7, 63, 64, 65, 130, 200]) {
    for (const headDim of [16, 31, 64]) {
      it(`attends over ${tokens} tokens with ${headDim} dimensions per head`, async () => {
        const shape = shapeOf({ tokens, headDim, batch: 2 });
        await assertAttends(backend(), shape, operands(shape));
      });
    }
  }

  for (const headDim of [1, 3, 80, 128, 255, 256]) {
    it(`attends with ${headDim} dimensions per head`, async () => {
      const shape = shapeOf({ tokens: 70, headDim });
      await assertAttends(backend(), shape, operands(shape));
    });
  }

  for (const [heads, kvHeads] of [[1, 1], [4, 2], [6, 2], [4, 1], [5, 5]]) {
    it(`shares ${kvHeads} key heads among ${heads} query heads`, async () => {
      const shape = shapeOf({ tokens: 67, heads, kvHeads, batch: 3 });
      await assertAttends(backend(), shape, operands(shape));
    });
  }

  for (const window of [1, 2, 17, 64, 65, 129, 1000]) {
    it(`attends only to the last ${window} tokens if the window has this length`, async () => {
      const shape = shapeOf({ tokens: 150, window });
      await assertAttends(backend(), shape, operands(shape));
    });
  }

  for (const past of [1, 17, 63, 64, 130]) {
    for (const tokens of [1, 65]) {
      it(`attends from ${tokens} tokens to ${past} earlier ones`, async () => {
        for (const more of [{ window: 0 }, { window: 20 }, { window: 0, heads: 4, kvHeads: 2, softCap: 3 }]) {
          const shape = shapeOf({ tokens, past, batch: 2, ...more });
          await assertAttends(backend(), shape, {
            ...operands(shape),
            slopes: Float32Array.of(0.5, 0.1, 0, 1),
          });
        }
      });
    }
  }

  it("biases the scores of each head by its ALiBi slope", async () => {
    const shape = shapeOf({ tokens: 130, heads: 3 });
    await assertAttends(backend(), shape, { ...operands(shape), slopes: Float32Array.of(0.5, 0.0625, 2) });
  });

  it("combines ALiBi slopes with a window and shared key heads", async () => {
    const shape = shapeOf({ tokens: 130, heads: 4, kvHeads: 2, window: 40 });
    await assertAttends(backend(), shape, { ...operands(shape), slopes: Float32Array.of(0.5, 0, 0.25, 1) });
  });

  for (const softCap of [0.5, 3, 50]) {
    it(`limits the scores to ${softCap} by tanh, before it adds the biases`, async () => {
      const shape = shapeOf({ tokens: 130, heads: 4, kvHeads: 2, window: 70, softCap });
      const given = operands(shape, 5);
      await assertAttends(backend(), shape, given);
      await assertAttends(backend(), shape, { ...given, slopes: Float32Array.of(0.5, 0, 0.25, 1) });
    });
  }

  it("accepts q, k and v side by side in each row of one buffer", async () => {
    const heads = 3, headDim = 20, tokens = 75, width = heads * headDim;
    const shape = shapeOf({ tokens, heads, headDim });
    const fused = normals(tokens * 3 * width, 4);
    const part = (i: number) =>
      Float32Array.from(
        { length: tokens * width },
        (_, e) => fused[Math.floor(e / width) * 3 * width + i * width + e % width],
      );
    const qkv = upload(backend(), fused), slopes = upload(backend(), new Float32Array(heads));
    const out = backend().createBuffer("out", tokens * width * 4);
    backend().dispatch(attention, { q: qkv, k: qkv, v: qkv, slopes, out }, {
      batch: 1,
      tokens,
      past: 0,
      heads,
      kv_heads: heads,
      head_dim: headDim,
      head_stride: headDim,
      q_offset: 0,
      ldq: 3 * width,
      k_offset: width,
      ldk: 3 * width,
      v_offset: 2 * width,
      ldv: 3 * width,
      ldo: width,
      scale: shape.scale,
      window: 0,
      soft_cap: 0,
    });
    const expected = referenceAttention(shape, part(0), part(1), part(2), new Float32Array(heads));
    assertClose(await downloadF32(backend(), out), expected, 2e-6);
    for (const buffer of [qkv, slopes, out]) buffer.destroy();
  });

  it("accepts q, k and v of each head side by side in one buffer", async () => {
    const heads = 3, headDim = 20, tokens = 75, width = heads * headDim;
    const shape = shapeOf({ tokens, heads, headDim });
    const fused = normals(tokens * 3 * width, 5);
    const part = (i: number) =>
      Float32Array.from({ length: tokens * width }, (_, e) => {
        const row = Math.floor(e / width), head = Math.floor((e % width) / headDim);
        return fused[row * 3 * width + (3 * head + i) * headDim + e % headDim];
      });
    const qkv = upload(backend(), fused), slopes = upload(backend(), Float32Array.of(0.5, 0.25, 0.125));
    const out = backend().createBuffer("out", tokens * width * 4);
    backend().dispatch(attention, { q: qkv, k: qkv, v: qkv, slopes, out }, {
      batch: 1,
      tokens,
      past: 0,
      heads,
      kv_heads: heads,
      head_dim: headDim,
      head_stride: 3 * headDim,
      q_offset: 0,
      ldq: 3 * width,
      k_offset: headDim,
      ldk: 3 * width,
      v_offset: 2 * headDim,
      ldv: 3 * width,
      ldo: width,
      scale: shape.scale,
      window: 0,
      soft_cap: 0,
    });
    const expected = referenceAttention(shape, part(0), part(1), part(2), [0.5, 0.25, 0.125]);
    assertClose(await downloadF32(backend(), out), expected, 2e-6);
    for (const buffer of [qkv, slopes, out]) buffer.destroy();
  });

  it("does not overflow for large positive or negative scores", async () => {
    // The operands are multiples of 8 and 1/8, so that f32 represents scores of thousands exactly and exp receives no rounding errors.
    const shape = shapeOf({ tokens: 130, headDim: 8, scale: 1 });
    const given = operands(shape);
    const coarse = (x: number, unit: number) => Math.round(x / unit) * unit;
    const q = given.q.map((x) => coarse(1000 * x, 8)), k = given.k.map((x) => coarse(x, 0.125));
    await assertAttends(backend(), shape, { ...given, q, k });
    await assertAttends(backend(), shape, { ...given, q, k: k.map(() => -4) });
  });
});
