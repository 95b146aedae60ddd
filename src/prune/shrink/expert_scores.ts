/**
 * Scores the experts of a mixture as REAP does (arXiv 2510.13999): the score of expert j is the mean of g_j(x)·‖f_j(x)‖
 * over the tokens x that are routed to it, where g_j is the factor of the router and f_j the output of the expert.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { rowDot } from "../../device/kernels/row_dot.ts";
import { ResourceSet } from "../../device/owned.ts";
import { Forward } from "../../model/forward.ts";
import type { Model } from "../../model/model.ts";
import type { ExpertObserver } from "../../model/pieces/block_pass.ts";
import type { Routes } from "../../model/pieces/routing.ts";
import { asFloat32 } from "../../tensor/host_tensor.ts";

/** The tokens of the experts of a block. Each member has one number per expert. */
export interface ExpertUse {
  /** The number of tokens that are routed to the expert. */
  readonly tokens: readonly number[];
  /** The sum of the factors of the router over these tokens. */
  readonly factors: readonly number[];
  /** REAP's score, which is 0 for an expert without tokens. */
  readonly scores: readonly number[];
}

/**
 * Returns the use of the experts of each block, by a pass of the windows through the dense model.
 * @param onStep called after each batch of windows in each block
 */
export async function measureExperts(
  model: Model,
  backend: Backend,
  windows: readonly Uint32Array[],
  onStep?: (done: number, total: number) => void,
): Promise<ExpertUse[]> {
  using scratch = new ResourceSet();
  const forward = scratch.add(await Forward.begin(backend, model, windows)), { blockCount } = model.spec;
  const uses: ExpertUse[] = [], total = blockCount * forward.hiddenStates.batches.length;
  let done = 0;
  for (let block = 0; block < blockCount; block++) {
    const sums = new ExpertSums(backend);
    await forward.runBlock(block, () => onStep?.(++done, total), undefined, {
      observeExpert: sums.observe,
    });
    uses.push(await sums.end());
  }
  return uses;
}

/** Adds up the outputs of the experts of one block. */
class ExpertSums {
  readonly #done: Promise<void>[] = [];
  readonly #sums: { tokens: number; factors: number; norms: number }[] = [];
  #batch?: { readonly routes: Routes; readonly squares: DeviceBuffer };

  constructor(private readonly backend: Backend) {}

  /** Queues the squared norms of the outputs. */
  readonly observe: ExpertObserver = (expert, routes, x, cols) => {
    if (this.#batch?.routes !== routes) this.#begin(routes);
    const first = routes.starts[expert], rows = routes.starts[expert + 1] - first;
    const views = { x_offset: 0, ldx: cols, y_offset: 0, ldy: cols, sums_offset: first, sums_stride: 1 };
    this.backend.dispatch(rowDot, { x, y: x, sums: this.#batch!.squares }, {
      rows,
      cols,
      ...views,
      scale: 1,
    });
  };

  /** Waits for all batches. */
  async end(): Promise<ExpertUse> {
    this.#endBatch();
    await Promise.all(this.#done);
    return {
      tokens: this.#sums.map(({ tokens }) => tokens),
      factors: this.#sums.map(({ factors }) => factors),
      scores: this.#sums.map(({ tokens, norms }) => tokens === 0 ? 0 : norms / tokens),
    };
  }

  #begin(routes: Routes): void {
    this.#endBatch();
    const squares = this.backend.createBuffer("squared norms of experts", 4 * routes.factors.length);
    this.backend.clear(squares);
    this.#batch = { routes, squares };
  }

  #endBatch(): void {
    if (this.#batch) {
      const added = this.#add(this.#batch.routes, this.#batch.squares);
      added.catch(() => {}); // `end` throws the error, unless the forward pass has failed before
      this.#done.push(added);
    }
    this.#batch = undefined;
  }

  async #add({ starts, factors }: Routes, squares: DeviceBuffer): Promise<void> {
    using scratch = new ResourceSet();
    scratch.add(squares);
    const values = asFloat32(await this.backend.read(squares, 0, 4 * factors.length));
    for (let expert = 0; expert < starts.length - 1; expert++) {
      const sums = this.#sums[expert] ??= { tokens: 0, factors: 0, norms: 0 };
      sums.tokens += starts[expert + 1] - starts[expert];
      for (let i = starts[expert]; i < starts[expert + 1]; i++) {
        sums.factors += factors[i];
        sums.norms += factors[i] * Math.sqrt(values[i]);
      }
    }
  }
}

/** Returns the `count` experts with the largest scores, ascending. Of equal ones, the first remain. */
export function bestExperts(scores: readonly number[], count: number): number[] {
  const experts = scores.map((_, expert) => expert);
  return experts.sort((a, b) => scores[b] - scores[a] || a - b).slice(0, count).sort((a, b) => a - b);
}
