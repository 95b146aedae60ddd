/** Receives the mask of a layer, as bits or as bytes. Its zeros become the set of entries that must stay pruned. */

import type { Backend, DeviceBuffer } from "../../backend/backend.ts";
import type { ForcedEntries } from "../../solvers/solver.ts";
import { ColumnCounts } from "./column_counts.ts";
import { cutStrips, type Strip } from "./strips.ts";
import type { TensorSink } from "./tensor_sink.ts";

/** The bits of a strip are counted on the calling thread. 256 KiB, which are two million bits, block it for about two milliseconds. */
const MASK_STRIP_BYTES = 2 ** 18;

/** Receives the mask of a (rows, cols) layer. */
export class MaskSink implements TensorSink {
  readonly strips: readonly Strip[];
  readonly checksPerStrip = 0;
  readonly #backend: Backend;
  readonly #cols: number;
  readonly #packed: boolean;
  readonly #bits: DeviceBuffer;
  readonly #counts: ColumnCounts;
  #taken = false;

  /**
   * @param packed whether the mask is U8 [rows, ⌈cols/8⌉], one bit per entry. Otherwise it is BOOL [rows, cols]
   * @throws {OutOfDeviceMemoryError}
   */
  constructor(backend: Backend, rows: number, cols: number, packed: boolean) {
    this.#backend = backend;
    this.#cols = cols;
    this.#packed = packed;
    const rowBytes = packed ? Math.ceil(cols / 8) : cols;
    this.strips = cutStrips({ rows, rowBytes, stripBytes: MASK_STRIP_BYTES });
    this.#bits = backend.createBuffer("forced entries", rows * this.#rowWords * 4);
    this.#counts = new ColumnCounts(cols);
  }

  get #rowWords(): number {
    return Math.ceil(this.#cols / 32);
  }

  accept({ row0, rows, byteLength }: Strip, bytes: Uint8Array): void {
    const words = this.#rowWords, rowBytes = byteLength / rows;
    const forced = new Uint32Array(rows * words);
    for (let r = 0; r < rows; r++) {
      const source = bytes.subarray(r * rowBytes, (r + 1) * rowBytes);
      const target = forced.subarray(r * words, (r + 1) * words);
      if (this.#packed) new Uint8Array(target.buffer, target.byteOffset, rowBytes).set(source);
      else packBytes(source, target);
      for (let w = 0; w < words; w++) target[w] = ~target[w];
      // Padding bits after the last column force nothing.
      if (this.#cols % 32 !== 0) target[words - 1] &= 2 ** (this.#cols % 32) - 1;
      this.#counts.add(target);
    }
    this.#backend.write(this.#bits, row0 * words * 4, new Uint8Array(forced.buffer));
  }

  /** Returns the forced entries. The caller now owns them. */
  take(): ForcedEntries {
    this.#taken = true;
    return { bits: this.#bits, perColumn: this.#counts.counts() };
  }

  destroy(): void {
    if (!this.#taken) this.#bits.destroy();
  }
}

/** Sets bit c%32 of word c/32 if byte c is not 0. `words` must be zeros. */
function packBytes(bytes: Uint8Array, words: Uint32Array): void {
  for (let c = 0; c < bytes.length; c++) {
    if (bytes[c] !== 0) words[c >>> 5] |= 1 << (c & 31);
  }
}
