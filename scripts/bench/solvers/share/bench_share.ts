/**
 * Measures which part of the time of pruning a whole model goes into the calibration statistics, and which
 * part into the solvers. The model has the sizes of opt-125m and random weights. Two pruning methods,
 * SparseGPT and ALPS, solve the same layers in one run, so the time of the calibration is measured once for
 * both methods.
 *
 * The blocks of the model have equal sizes. So a run of a few blocks is enough, and the seconds of the other
 * blocks are extrapolated from the last block that was measured. The first block differs from the others,
 * because no block runs before it. The seconds of the calibration are proportional to the number of windows,
 * which are the token sequences that run through the model. All windows have the same length, and each runs
 * through the model alone. So a run with some of the windows is enough too. The seconds of the solvers do not
 * depend on the windows.
 */

import type { LocalHost } from "../../../../src/cli/local_host.ts";
import type { LayerGroup } from "../../../../src/client/model_source.ts";
import type { Model } from "../../../../src/models/model.ts";
import type { LayerQuery } from "../../../../src/protocol/layer_query.ts";
import { calibratedModel } from "../../../../src/prune/calibrated_model.ts";

/** The methods that solve every layer. The weights pruned by the first method replace those of the model. */
export const SHARE_METHODS = [
  { title: "SparseGPT", query: { method: "sparsegpt" } },
  { title: "ALPS default", query: { method: "alps", effort: "default" } },
] as const satisfies readonly { title: string; query: LayerQuery }[];

/** The seconds of one block. */
export interface BlockSeconds {
  /**
   * The seconds of the forward passes and the statistics. The first pass runs the previous, pruned block to
   * compute the inputs of this block. The second pass runs this block and collects the statistics of its
   * layers.
   */
  readonly calibrate: number;
  readonly methods: readonly SolveSeconds[];
}

/** The seconds of one method on one block. */
export interface SolveSeconds {
  /** The seconds of the Cholesky factorisations. */
  readonly factor: number;
  /** The seconds of the solve, and of the refit if the method has one. */
  readonly solve: number;
  /**
   * All other seconds of the requests to the host, which is Pare's HTTP application in this process. They are
   * spent on encoding and decoding tensors, and on moving them to the device and back.
   */
  readonly exchange: number;
}

/** The figures of one calibration size, which is a number of windows and their length. */
export interface ShareResult {
  readonly windows: number;
  /**
   * The number of windows that were measured. The seconds of the calibration are multiplied by `windows /
   * measuredWindows`.
   */
  readonly measuredWindows: number;
  readonly seqlen: number;
  /** The number of transformer blocks of the whole model. */
  readonly blocks: number;
  /** The seconds of each measured block. The last entry also stands for each block after it. */
  readonly measured: readonly BlockSeconds[];
}

/**
 * Prunes the first `measuredBlocks` blocks of `model` to 50 % by every method.
 * @param windows the windows to measure
 * @param whole the numbers of blocks and windows of a whole run, to which the result is extrapolated
 * @param log receives one line of text per block
 */
export async function benchShare(
  { backend, pare }: LocalHost,
  model: Model,
  windows: readonly Uint32Array[],
  whole: { readonly blocks: number; readonly windows: number },
  { measuredBlocks, log }: { readonly measuredBlocks: number; log(text: string): void },
): Promise<ShareResult> {
  const measured: BlockSeconds[] = [];
  let calibrate = 0;
  let methods: SolveSeconds[] = SHARE_METHODS.map(() => ({ factor: 0, solve: 0, exchange: 0 }));
  const endBlock = () => {
    measured.push({ calibrate, methods });
    log(`block ${measured.length}: ${JSON.stringify(measured.at(-1))}`);
    calibrate = 0;
    methods = SHARE_METHODS.map(() => ({ factor: 0, solve: 0, exchange: 0 }));
  };
  const groups = calibratedModel(model, backend, { windows }).groups();
  try {
    while (measured.length < measuredBlocks) {
      const started = performance.now();
      const next = await groups.next();
      calibrate += (performance.now() - started) / 1000;
      if (next.done) break;
      const group = next.value;
      for (const [i, { query }] of SHARE_METHODS.entries()) {
        const spent = await solveGroup(pare, group, { ...query, sparsity: 0.5, error: false }, i === 0);
        methods[i] = add(methods[i], spent);
      }
      if (!group.hasMoreInRound) endBlock();
    }
  } finally {
    await groups.return();
  }
  return { ...whole, measuredWindows: windows.length, seqlen: windows[0].length, measured };
}

/**
 * Solves the layers of one group, which share their inputs, and returns the seconds. The pruned weights
 * replace those of the model only if `replaces` is true.
 */
async function solveGroup(
  pare: LocalHost["pare"],
  group: LayerGroup,
  query: LayerQuery,
  replaces: boolean,
): Promise<SolveSeconds> {
  const source = {
    layerCount: group.layers.length,
    async *groups() {
      yield await Promise.resolve({
        block: group.block,
        hessian: group.hessian,
        layers: group.layers,
        hasMoreInRound: false,
        replace: replaces ? group.replace.bind(group) : () => Promise.resolve(),
      });
    },
  };
  let factor = 0, solve = 0;
  const started = performance.now();
  for await (const event of pare.pruneModel(source, query)) {
    if (event.type !== "layer") continue;
    factor += event.report.seconds.factor;
    solve += event.report.seconds.solve + event.report.seconds.refit;
  }
  return { factor, solve, exchange: (performance.now() - started) / 1000 - factor - solve };
}

function add(a: SolveSeconds, b: SolveSeconds): SolveSeconds {
  return { factor: a.factor + b.factor, solve: a.solve + b.solve, exchange: a.exchange + b.exchange };
}
