/**
 * Times layers of one size. The same layer is solved in turn by a Pare host in its own process and by
 * PyTorch, which runs the published SparseGPT algorithm and is called the reference. Before anything is
 * timed, both programs solve the layer once and their losses are compared. This proves that they solve the
 * same problem.
 */

import type { Report } from "../../../src/protocol/report.ts";
import type { ChildHost } from "../../processes/child_host.ts";
import { memoryBytes } from "../../processes/process_tree.ts";
import { factorFlops, solveFlops } from "../measure/flops.ts";
import { writeLayerFile } from "../measure/layer_file.ts";
import { postLayer, type TimedAnswer } from "../measure/post_layer.ts";
import { median } from "../measure/statistics.ts";
import { TorchProcess } from "../torch/torch_process.ts";
import type { StepShares } from "./solve_breakdown.ts";

/** Medians over the runs of one size. Times are in seconds. */
export interface LayerResult {
  readonly rows: number;
  readonly cols: number;
  /** How many runs were timed. */
  readonly runs: number;
  /**
   * The seconds of the host's phases at `error=false`. With this parameter the host does the same work as the
   * reference.
   */
  readonly solve: Report["seconds"];
  /** The time of factorisation and solve together, at `error=false`. */
  readonly solveSeconds: number;
  /** The time of the whole request at `error=false`, from the first byte sent to the last byte received. */
  readonly wallSeconds: number;
  /** `solveSeconds` and `wallSeconds` of the requests that also compute `relative_error`. */
  readonly withError: { readonly solveSeconds: number; readonly wallSeconds: number };
  /** The rate of factorisation and solve together. The flops are counted by the formulas of `flops.ts`. */
  readonly gflops: number;
  /** Peak resident memory of the host. The host process has solved layers of this size only. */
  readonly peakMemoryBytes: number;
  readonly loss: number | null;
  readonly relativeError: number | null;
  /**
   * The shares of the solve's steps. Absent if the bench only sent requests, because requests do not report
   * these steps.
   */
  readonly shares?: StepShares;
  /** PyTorch's medians. Absent if no Python with torch was found. */
  readonly reference?: {
    readonly seconds: number;
    readonly loss: number;
    /** The median, over the pairs of runs, of PyTorch's time divided by Pare's. */
    readonly speedup: number;
  };
}

/** Options of {@link benchLayer}. */
export interface LayerBenchOptions {
  /** The Python that runs the reference. Without it, Pare is timed alone. */
  readonly python?: string;
  /** How many pairs of runs to time, after one pair that is not timed. */
  readonly repeat: number;
  /**
   * Measures how the time of solving a request body divides among the steps of the solve. It is called after
   * the timed runs.
   */
  readonly breakDown?: (body: Uint8Array<ArrayBuffer>) => Promise<StepShares>;
}

/** One answer of `reference_layer.py`. */
interface ReferenceRun {
  readonly seconds: { readonly factor: number; readonly solve: number; readonly total: number };
  readonly loss: number;
  readonly zeros: number;
}

/**
 * Times one layer of (rows, cols) on `host`.
 * @throws {Error} if the host and the reference disagree on the loss, or if the host refuses the layer
 */
export async function benchLayer(
  host: ChildHost,
  rows: number,
  cols: number,
  { python, repeat, breakDown }: LayerBenchOptions,
): Promise<LayerResult> {
  const path = await Deno.makeTempFile({ suffix: ".safetensors" });
  let reference: TorchProcess | undefined;
  const solveReference = () => reference?.run<ReferenceRun>("solve");
  try {
    await writeLayerFile(path, rows, cols);
    const body = await Deno.readFile(path);
    reference = python ? new TorchProcess(python, "reference_layer.py", [path, "--on-demand"]) : undefined;

    const warm = await postLayer(host, body, "sparsity=0.5");
    const expected = await solveReference();
    if (expected) requireSameLoss(warm.report, expected.loss);
    const plain: TimedAnswer[] = [], withError: TimedAnswer[] = [], referenceSeconds: number[] = [];
    for (let i = 0; i < repeat; i++) {
      plain.push(await postLayer(host, body, "sparsity=0.5&error=false"));
      const run = await solveReference();
      if (run) referenceSeconds.push(run.seconds.total);
      withError.push(await postLayer(host, body, "sparsity=0.5"));
    }
    const medianSolveSeconds = median(plain.map(solveSeconds));
    return {
      rows,
      cols,
      runs: repeat,
      solve: medianSeconds(plain.map(({ report }) => report.seconds)),
      solveSeconds: medianSolveSeconds,
      wallSeconds: median(plain.map((answer) => answer.wallSeconds)),
      withError: {
        solveSeconds: median(withError.map(solveSeconds)),
        wallSeconds: median(withError.map((answer) => answer.wallSeconds)),
      },
      gflops: (factorFlops(cols) + solveFlops(rows, cols)) / medianSolveSeconds / 1e9,
      peakMemoryBytes: memoryBytes(host.pid, "VmHWM"),
      loss: warm.report.loss,
      relativeError: warm.report.relative_error,
      ...(breakDown && { shares: await breakDown(body) }),
      ...(expected && {
        reference: {
          seconds: median(referenceSeconds),
          loss: expected.loss,
          speedup: median(referenceSeconds.map((seconds, i) => seconds / solveSeconds(plain[i]))),
        },
      }),
    };
  } finally {
    await reference?.stop();
    await Deno.remove(path);
  }
}

function solveSeconds({ report }: TimedAnswer): number {
  return report.seconds.factor + report.seconds.solve;
}

/**
 * Throws if the two losses differ by more than 0.5 %. Smaller differences have two causes: the rounding of
 * float32, and the published code, which prunes one entry too many in each block of columns.
 */
function requireSameLoss({ loss, rows, cols }: Report, expected: number): void {
  if (loss === null || Math.abs(loss / expected - 1) > 0.005) {
    throw new Error(
      `${rows}×${cols}: the loss is ${loss}, but the reference's loss is ${expected}. ` +
        `Pare and the reference solve different problems`,
    );
  }
}

function medianSeconds(runs: readonly Report["seconds"][]): Report["seconds"] {
  const phase = (name: keyof Report["seconds"]) => median(runs.map((seconds) => seconds[name]));
  return {
    read: phase("read"),
    factor: phase("factor"),
    solve: phase("solve"),
    refit: phase("refit"),
    total: phase("total"),
  };
}
