/**
 * Chooses the entries with the k smallest scores on the device, without a read-back: the radix select of `kernels/select.ts`, driven
 * pass by pass. Scores come a block of columns at a time; all rows take part.
 */

import type { Backend, DeviceBuffer } from "../backend/backend.ts";
import type { Range } from "../linalg/ranges.ts";
import {
  countTies,
  keyHistogram,
  RADIX_BINS,
  RADIX_LEVELS,
  rankTies,
  scoreKeys,
  selectDigit,
} from "../kernels/select.ts";
import { wordsPerRow } from "../sparsity/mask_bits.ts";
import type { ForcedBinding } from "./forced.ts";
import type { Workspace } from "./workspace.ts";

/** What entries are scored by. */
export interface Scoring {
  /** (cols) f32: the factor of every column's |w|. */
  readonly scale: DeviceBuffer;
  readonly forced: ForcedBinding;
}

/** The keys of one block and the selection among them. */
export class Selection {
  /** (rows, columns of the block) u32. */
  readonly keys: DeviceBuffer;
  /** (2 + rows) u32: threshold, ties left, ties a row. */
  readonly state: DeviceBuffer;
  readonly #histogram: DeviceBuffer;
  readonly #backend: Backend;
  readonly #rows: number;
  readonly #cols: number;
  readonly #scoring: Scoring;

  /** For a layer of (rows, cols) in blocks of at most `blocksize` columns. */
  constructor(backend: Backend, rows: number, cols: number, blocksize: number, scoring: Scoring) {
    this.#backend = backend;
    this.#rows = rows;
    this.#cols = cols;
    this.#scoring = scoring;
    this.keys = backend.createBuffer("keys", 4 * rows * Math.min(blocksize, cols));
    this.state = backend.createBuffer("selection", 4 * (2 + rows));
    this.#histogram = backend.createBuffer("histogram", 4 * RADIX_BINS);
    backend.clear(this.#histogram);
    backend.clear(this.state);
  }

  /** Queues choosing the `k` smallest scores of the block k of columns in `workspace.work`. */
  choose(workspace: Workspace, columns: Range, k: number): void {
    this.score(workspace, columns);
    for (let level = 0; level < RADIX_LEVELS; level++) {
      this.count(columns, level);
      this.narrow(level, k);
    }
    this.countTies(columns, false);
    this.rankTies();
  }

  /** Queues the keys of the block in `workspace.work`. */
  score({ work, ld }: Workspace, columns: Range): void {
    const { scale, forced } = this.#scoring;
    this.#backend.dispatch(scoreKeys, { work, scale, forced: forced.bits, keys: this.keys }, {
      rows: this.#rows,
      cols: columns.end - columns.start,
      ld,
      first: columns.start,
      words: wordsPerRow(this.#cols),
      has_forced: forced.given,
    });
  }

  /** Queues counting the block's keys by their byte at `level`. */
  count(columns: Range, level: number): void {
    const { keys, state: selection } = this;
    this.#backend.dispatch(keyHistogram, { keys, selection, histogram: this.#histogram }, {
      count: this.#rows * (columns.end - columns.start),
      level,
    });
  }

  /** Queues fixing the threshold's byte at `level` from what was counted. */
  narrow(level: number, k: number): void {
    this.#backend.dispatch(selectDigit, { histogram: this.#histogram, selection: this.state }, { level, k });
  }

  /** Queues counting every row's keys equal to the threshold; `more`: on top of the blocks before. */
  countTies(columns: Range, more: boolean): void {
    this.#backend.dispatch(countTies, { keys: this.keys, selection: this.state }, {
      rows: this.#rows,
      cols: columns.end - columns.start,
      accumulate: more ? 1 : 0,
    });
  }

  /** Queues sharing the ties out to the rows, the first rows first. */
  rankTies(): void {
    this.#backend.dispatch(rankTies, { selection: this.state }, { rows: this.#rows });
  }

  destroy(): void {
    for (const buffer of [this.keys, this.state, this.#histogram]) buffer.destroy();
  }
}
