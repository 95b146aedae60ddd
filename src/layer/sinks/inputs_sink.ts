/** Raw calibration activations: rows X of some tokens are gathered into a panel, and each full panel adds XᵀX to the statistics. */

import type { Backend, DeviceBuffer } from "../../backend/backend.ts";
import { TiledMatrix } from "../../backend/tiled_matrix.ts";
import { gemmTN } from "../../kernels/gemm.ts";
import { gemm } from "../../linalg/gemm.ts";
import { BYTES_PER_ELEMENT } from "../../tensor/dtype.ts";
import type { FloatTensor } from "../body_tensors.ts";
import { cutStrips, type Strip } from "./strips.ts";
import type { TensorSink } from "./tensor_sink.ts";
import type { Uploader } from "./upload.ts";

/**
 * Tokens a panel has at most. Each panel reads and writes the statistics once, so that it must be tall for the product to be bound by
 * arithmetic; past this nothing is gained.
 */
const PANEL_TOKENS = 1024;
/** Bytes of a panel at most, half of the smallest adapters' binding. It shortens panels of over 16384 inputs. */
const PANEL_BYTES = 64 * 2 ** 20;

/** Accumulates Σ x xᵀ, unnormalised, into an (order, order) matrix of upper storage. */
export class InputsSink implements TensorSink {
  readonly strips: readonly Strip[];
  readonly slotsPerStrip = 1;
  readonly #backend: Backend;
  readonly #tensor: FloatTensor;
  readonly #panelTokens: number;
  readonly #panel: DeviceBuffer;
  readonly #matrix: TiledMatrix;
  #taken = false;

  /** @throws {RangeError} when the device has no room */
  constructor(backend: Backend, tensor: FloatTensor, edge: number) {
    const { rows: tokens, cols, dtype } = tensor;
    this.#backend = backend;
    this.#tensor = tensor;
    this.#panelTokens = Math.min(tokens, PANEL_TOKENS, Math.max(1, Math.floor(PANEL_BYTES / (4 * cols))));
    this.strips = cutStrips({
      rows: tokens,
      rowBytes: cols * BYTES_PER_ELEMENT[dtype],
      boundary: this.#panelTokens,
    });
    this.#panel = backend.createBuffer("panel of inputs", 4 * cols * this.#panelTokens);
    try {
      this.#matrix = new TiledMatrix(backend, {
        label: "hessian",
        rows: cols,
        cols,
        edge,
        storage: "upper",
      });
    } catch (error) {
      this.#panel.destroy();
      throw error;
    }
  }

  accept(strip: Strip, bytes: Uint8Array, uploader: Uploader): void {
    const { rows: tokens, cols } = this.#tensor, { row0, rows } = strip;
    const inPanel = row0 % this.#panelTokens, end = row0 + rows;
    uploader.into(
      this.#panel,
      inPanel * cols,
      this.#tensor,
      bytes,
      rows * cols,
      (index) => [row0 + Math.floor(index / cols), index % cols],
    );
    if (end % this.#panelTokens === 0 || end === tokens) {
      this.#accumulate(inPanel + rows, end > this.#panelTokens);
    }
  }

  /** H(i, j) ← X(:, i)ᵀ·X(:, j), added to what is there from the second panel on. */
  #accumulate(tokens: number, add: boolean): void {
    const ld = this.#tensor.cols, buffer = this.#panel;
    for (const tile of this.#matrix.tiles()) {
      const a = { buffer, offset: tile.row0, ld }, b = { buffer, offset: tile.col0, ld };
      const c = { buffer: tile.buffer, offset: 0, ld: tile.ld };
      gemm(this.#backend, gemmTN, a, b, c, {
        m: tile.rows,
        n: tile.cols,
        k: tokens,
        beta: add ? 1 : 0,
        upper: tile.row0 === tile.col0,
      });
    }
  }

  /** The statistics, the caller's from here on. */
  take(): TiledMatrix {
    this.#taken = true;
    return this.#matrix;
  }

  destroy(): void {
    this.#panel.destroy();
    if (!this.#taken) this.#matrix.destroy();
  }
}
