/**
 * Receives raw calibration inputs X, one row per token. The rows are collected in a panel, and each full panel adds XᵀX to the statistics.
 */

import type { Backend, DeviceBuffer } from "../../backend/backend.ts";
import type { TiledMatrix } from "../../backend/tiled_matrix.ts";
import { HessianAccumulator } from "../../calibration/hessian.ts";
import { BYTES_PER_ELEMENT } from "../../tensor/dtype.ts";
import type { FloatTensor } from "../body_tensors.ts";
import { cutStrips, type Strip } from "./strips.ts";
import type { TensorSink } from "./tensor_sink.ts";
import type { Uploader } from "./upload.ts";

/**
 * The largest number of tokens in a panel. Each panel reads and writes the whole statistics once, so it must be tall for the product to be
 * limited by arithmetic. Taller panels gain nothing more.
 */
const PANEL_TOKENS = 1024;
/** The largest panel in bytes, half of the binding limit of the smallest adapters. It shortens panels with over 16384 inputs. */
const PANEL_BYTES = 64 * 2 ** 20;

/** Computes Σ x·xᵀ, (cols, cols) f32, upper storage, from a tensor (tokens, cols). */
export class InputsSink implements TensorSink {
  readonly strips: readonly Strip[];
  readonly checksPerStrip = 1;
  readonly #tensor: FloatTensor;
  readonly #panelTokens: number;
  readonly #panel: DeviceBuffer;
  readonly #hessian: HessianAccumulator;

  /** @throws {OutOfDeviceMemoryError} */
  constructor(backend: Backend, tensor: FloatTensor, edge: number) {
    const { rows: tokens, cols, dtype } = tensor;
    this.#tensor = tensor;
    this.#panelTokens = Math.min(tokens, PANEL_TOKENS, Math.max(1, Math.floor(PANEL_BYTES / (4 * cols))));
    this.strips = cutStrips({
      rows: tokens,
      rowBytes: cols * BYTES_PER_ELEMENT[dtype],
      boundary: this.#panelTokens,
    });
    this.#panel = backend.createBuffer("panel of inputs", 4 * cols * this.#panelTokens);
    try {
      this.#hessian = new HessianAccumulator(backend, "hessian", cols, edge, { overwrite: true });
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
    const isPanelComplete = end % this.#panelTokens === 0 || end === tokens;
    if (isPanelComplete) this.#hessian.add(this.#panel, inPanel + rows);
  }

  /** Returns the statistics. The caller now owns them. */
  take(): TiledMatrix {
    return this.#hessian.take();
  }

  destroy(): void {
    this.#panel.destroy();
    this.#hessian.destroy();
  }
}
