/**
 * Receives raw calibration inputs, a matrix X with one row per token, and computes the statistics H = XᵀX from them.
 * The rows of X are collected on the device in a buffer, the panel P. Whenever the panel is full, PᵀP is added to H.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { ResourceSet } from "../../device/owned.ts";
import type { TiledMatrix } from "../../device/tiled_matrix.ts";
import { HessianAccumulator, type TokenWeights } from "../calibration/hessian.ts";
import { BYTES_PER_ELEMENT } from "../../tensor/dtype.ts";
import type { FloatTensor } from "../body_tensors.ts";
import type { Strip, StripRules } from "../../device/host_memory.ts";
import type { TensorSink, Uploader } from "./upload.ts";

/**
 * The number of tokens in a panel. Each addition reads and writes all of H, so a panel needs many rows before the
 * arithmetic takes longer than the memory traffic. 1024 rows are enough, and more rows gain nothing.
 */
const PANEL_TOKENS = 1024;

/**
 * The smallest and the largest panel in bytes. If X has few columns, a panel gets more than 1024 rows, because queueing
 * thousands of small panels would occupy the calling thread. If X has more than 16384 columns, a panel gets fewer rows,
 * because the largest panel is 64 MiB, half of the smallest binding limit of any adapter.
 */
const MIN_PANEL_BYTES = 2 ** 20, MAX_PANEL_BYTES = 64 * 2 ** 20;

/** Receives X, (tokens, cols). The result is H, (cols, cols) f32, upper storage, weighted by `tokenWeights`. */
export class InputsSink implements TensorSink<TiledMatrix> {
  readonly stripRules: StripRules;
  readonly checksPerStrip = 1;
  readonly #panelTokens: number;
  readonly #panel: DeviceBuffer;
  readonly #hessian: HessianAccumulator;

  /** @throws {OutOfDeviceMemoryError} */
  constructor(
    backend: Backend,
    private readonly tensor: FloatTensor,
    edge: number,
    tokenWeights?: TokenWeights,
  ) {
    const { rows: tokens, cols, dtype } = tensor;
    const rowsIn = (bytes: number) => Math.max(1, Math.floor(bytes / (4 * cols)));
    this.#panelTokens = Math.min(
      tokens,
      Math.max(PANEL_TOKENS, rowsIn(MIN_PANEL_BYTES)),
      rowsIn(MAX_PANEL_BYTES),
    );
    this.stripRules = {
      rows: tokens,
      rowBytes: cols * BYTES_PER_ELEMENT[dtype],
      boundary: this.#panelTokens,
    };
    using owned = new ResourceSet();
    this.#panel = owned.add(backend.createBuffer("panel of inputs", 4 * cols * this.#panelTokens));
    const options = { overwrite: true, tokenWeights };
    this.#hessian = new HessianAccumulator(backend, "hessian", cols, edge, options);
    owned.move();
  }

  accept(strip: Strip, bytes: Uint8Array, uploader: Uploader): void {
    const { rows: tokens, cols } = this.tensor, { row0, rows } = strip;
    const panelRow = row0 % this.#panelTokens, end = row0 + rows;
    const locate = (index: number) => [row0 + Math.floor(index / cols), index % cols];
    uploader.upload(this.tensor, bytes, rows * cols, locate, {
      buffer: this.#panel,
      offset: panelRow * cols,
    });
    const isPanelComplete = end % this.#panelTokens === 0 || end === tokens;
    if (isPanelComplete) this.#hessian.add(this.#panel, panelRow + rows);
  }

  take(): TiledMatrix {
    return this.#hessian.take();
  }

  destroy(): void {
    this.#panel.destroy();
    this.#hessian.destroy();
  }
}
