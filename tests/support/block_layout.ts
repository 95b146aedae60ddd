/**
 * Support for the tests of the kernels that prune one block of columns (`src/device/kernels/prune_block.ts`). It places a block
 * of weights W at odd offsets of larger buffers on a device, and provides the kernel parameters for these offsets. After the
 * kernel has run, it checks the pruned weights Q, the change Δ = W − Q, and all other buffers.
 */

import { ok } from "node:assert/strict";
import type { Backend, DeviceBuffer } from "../../src/device/backend.ts";
import type { ReferenceBlock, ReferenceColumns } from "../reference/column_loop.ts";
import { assertClose } from "./assert_close.ts";
import { assertSame } from "./assert_same.ts";
import { downloadF32, downloadU32, upload } from "./device.ts";
import { normals, uniform } from "../../scripts/fixtures/random.ts";

/**
 * The tolerance between the f32 and the f64 result, relative to the largest element. Up to 256 columns depend
 * on each other, so rounding errors accumulate.
 */
export const TOLERANCE = 1e-5;
/** The value of all elements outside the block. */
const SENTINEL = 77;

/** A block and its position in the weight matrix. */
export interface BlockCase extends ReferenceBlock {
  /** The matrix column at which the block begins. */
  readonly first: number;
  /** The number of u32 words in a row of the mask. */
  readonly words: number;
}

/**
 * Creates a block with random weights. U, the triangular factor that distributes the error of a column, is
 * random and well-conditioned, or the identity with `options.identity`.
 */
export function makeBlockCase(
  rows: number,
  size: number,
  options: { first?: number; identity?: boolean } = {},
): BlockCase {
  const { first = 37, identity = false } = options;
  const noise = normals(size * size, size);
  const u = new Float32Array(size * size);
  for (let i = 0; i < size; i++) {
    u[i * (size + 1)] = identity ? 1 : 0.5 + Math.min(2, Math.abs(noise[i * (size + 1)]));
    if (identity) continue;
    for (let j = i + 1; j < size; j++) u[i * size + j] = 0.4 * noise[i * size + j] / Math.sqrt(size);
  }
  const words = Math.ceil((first + size) / 32) + 1;
  const work = normals(rows * size, rows + size), original = normals(rows * size, rows + size + 1);
  return { rows, size, work, original, u, first, words };
}

/** The buffers on the device, and the position of the block in each of them. */
export class BlockLayout {
  readonly block: BlockCase;
  readonly ldwork: number;
  readonly ldu: number;
  readonly ldw: number;
  readonly wOffset = 6;
  readonly uOffset = 9;
  readonly tile: Float32Array<ArrayBuffer>;
  /** The contents of the mask and of the sums before the kernel runs. */
  readonly maskBefore: Uint32Array<ArrayBuffer>;
  readonly sumsBefore: Float32Array<ArrayBuffer>;
  readonly buffers: Record<"work" | "u" | "w" | "q" | "mask" | "sums", DeviceBuffer>;

  constructor(backend: Backend, block: BlockCase) {
    const { rows, size, work, original, u, words } = block;
    this.block = block;
    this.ldwork = size + 2;
    this.ldu = size + 5;
    this.ldw = size + this.wOffset + 3;
    // Copies (height, size) elements into a buffer of `length` elements that is filled with SENTINEL.
    const spread = (
      source: ArrayLike<number>,
      length: number,
      offset: number,
      ld: number,
      height: number,
    ) => {
      const padded = new Float32Array(length).fill(SENTINEL);
      for (let r = 0; r < height; r++) {
        for (let c = 0; c < size; c++) padded[offset + r * ld + c] = source[r * size + c];
      }
      return padded;
    };
    this.tile = spread(original, rows * this.ldw, this.wOffset, this.ldw, rows);
    const next = uniform(rows);
    this.maskBefore = Uint32Array.from({ length: rows * words }, () => next() * 2 ** 32);
    this.sumsBefore = Float32Array.from({ length: 2 * rows }, (_, i) => i);
    this.buffers = {
      work: upload(backend, spread(work, rows * this.ldwork, 0, this.ldwork, rows)),
      u: upload(backend, spread(u, this.uOffset + size * this.ldu, this.uOffset, this.ldu, size)),
      w: upload(backend, this.tile),
      q: upload(backend, this.tile.map(() => SENTINEL)),
      mask: upload(backend, this.maskBefore),
      sums: upload(backend, this.sumsBefore),
    };
  }

  /**
   * The kernel parameters for the `rows` rows from `row0` on. The buffers w and q are bound as a whole, so
   * their offset includes the rows before `row0`.
   */
  params(row0: number, rows: number) {
    return {
      rows,
      size: this.block.size,
      row0,
      ldwork: this.ldwork,
      u_offset: this.uOffset,
      ldu: this.ldu,
      w_offset: this.wOffset + row0 * this.ldw,
      ldw: this.ldw,
      first: this.block.first,
      words: this.block.words,
    };
  }

  /** Divides the rows into two dispatches, or into one dispatch if there is only one row. */
  dispatches(): [row0: number, rows: number][] {
    const { rows } = this.block, half = Math.ceil(rows / 3);
    return rows > 1 ? [[0, half], [half, rows - half]] : [[0, rows]];
  }

  /**
   * Asserts that the block has the expected result, and that nothing outside the block was written.
   *
   * @throws {AssertionError}
   */
  async assertResult(backend: Backend, expected: ReferenceColumns): Promise<void> {
    const { rows, size, first, words } = this.block;
    const mask = this.maskBefore.slice();
    for (let r = 0; r < rows; r++) {
      for (let j = 0; j < size; j++) {
        const word = r * words + ((first + j) >> 5), bit = 1 << ((first + j) & 31);
        if (expected.pruned[r * size + j]) mask[word] &= ~bit;
        else mask[word] |= bit;
      }
    }
    assertSame(await downloadU32(backend, this.buffers.mask), mask, "mask");

    const q = await downloadF32(backend, this.buffers.q), delta = await downloadF32(backend, this.buffers.w);
    const inside = (values: Float32Array) =>
      Float32Array.from(
        { length: rows * size },
        (_, i) => values[this.wOffset + Math.floor(i / size) * this.ldw + i % size],
      );
    assertClose(inside(q), expected.q, TOLERANCE, { label: "Q" });
    assertClose(inside(delta), expected.delta, TOLERANCE, { label: "Δ" });
    inside(q).forEach((value, i) => {
      if (expected.pruned[i]) {
        ok(Object.is(value, 0), `element ${i} of Q is pruned but has the value ${value}`);
      }
    });
    for (let at = 0; at < q.length; at++) {
      const c = at % this.ldw - this.wOffset;
      if (c >= 0 && c < size) continue;
      ok(q[at] === SENTINEL && delta[at] === this.tile[at], `element ${at} outside the block was written`);
    }

    const sums = (await downloadF32(backend, this.buffers.sums)).map((sum, i) => sum - this.sumsBefore[i]);
    const pairs = Array.from({ length: 2 * rows }, (_, i) => {
      return (i % 2 ? expected.deltaSums : expected.errorSums)[i >> 1];
    });
    // Subtracting the previous contents adds a rounding error proportional to them, so they are part of the scale.
    assertClose(sums, pairs, TOLERANCE, { label: "sums", scale: Math.max(2 * rows, ...pairs) });
  }

  destroy(): void {
    for (const buffer of Object.values(this.buffers)) buffer.destroy();
  }
}
