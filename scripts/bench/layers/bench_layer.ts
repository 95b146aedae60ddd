/**
 * Times layers of one size. The same layer is solved in turn by Pare hosts, each in its own process, and by
 * PyTorch, which runs the published SparseGPT algorithm and is called the reference. Before anything is
 * timed, all programs solve the layer once and their losses are compared. This proves that they solve the
 * same problem.
 */

import type { Report } from "../../../src/protocol/report.ts";
import type { ChildHost } from "../../processes/child_host.ts";
import { memoryBytes } from "../../processes/process_tree.ts";
import { factorFlops, solveFlops } from "../measure/flops.ts";
import { writeLayerFile } from "../measure/layer_file.ts";
import { postLayer, type TimedAnswer } from "../measure/post_layer.ts";
import { median } from "../measure/statistics.ts";
import { candidateTitle, type TorchCandidate } from "../torch/thread_settings.ts";
import { TorchProcess } from "../torch/torch_process.ts";
import type { StepShares } from "./solve_breakdown.ts";

/** Medians over the runs of one size. Times are in seconds. */
export interface LayerResult {
  readonly rows: number;
  readonly cols: number;
  /** The library that multiplied matrices for Pare. Absent if Pare's own kernels did. */
  readonly library?: string;
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
    /** The build and the setting of PyTorch. It was the fastest one in the trials. */
    readonly setting?: string;
    /** The median, over the pairs of runs, of PyTorch's time divided by Pare's. */
    readonly speedup: number;
  };
}

/** A Pare host that solves the layer. */
export interface LayerHost {
  readonly host: ChildHost;
  /** The library that multiplies matrices. Absent for Pare's own kernels. */
  readonly library?: string;
  /**
   * Measures how the time of solving a request body divides among the steps of the solve. It is called after
   * the timed runs.
   */
  readonly breakDown?: (body: Uint8Array<ArrayBuffer>) => Promise<StepShares>;
}

/** Options of {@link benchLayer}. */
export interface LayerBenchOptions {
  /** The build of PyTorch that runs the reference, and its setting. Without it, Pare is timed alone. */
  readonly candidate?: TorchCandidate;
  /** How many rounds to time, after one round that is not timed. */
  readonly repeat: number;
}

/** One answer of `reference_layer.py`. */
interface ReferenceRun {
  readonly seconds: { readonly factor: number; readonly solve: number; readonly total: number };
  readonly loss: number;
  readonly zeros: number;
}

/** The timed answers of one host. */
interface HostRuns {
  readonly warm: Report;
  readonly plain: TimedAnswer[];
  readonly withError: TimedAnswer[];
}

/**
 * Times one layer of (rows, cols). In each round, every host and the reference solve the layer one after the other.
 * @returns one result for each host
 * @throws {Error} if a host and the reference disagree on the loss, or if a host refuses the layer
 */
export async function benchLayer(
  hosts: readonly LayerHost[],
  rows: number,
  cols: number,
  { candidate, repeat }: LayerBenchOptions,
): Promise<LayerResult[]> {
  const path = await Deno.makeTempFile({ suffix: ".safetensors" });
  let reference: TorchProcess | undefined;
  const solveReference = () => reference?.run<ReferenceRun>("solve");
  try {
    await writeLayerFile(path, rows, cols);
    const body = await Deno.readFile(path);
    if (candidate) reference = new TorchProcess(candidate, "reference_layer.py", [path, "--on-demand"]);

    const runs: HostRuns[] = [];
    for (const { host } of hosts) {
      const { report } = await postLayer(host, body, "sparsity=0.5");
      runs.push({ warm: report, plain: [], withError: [] });
    }
    const expected = await solveReference();
    if (expected) { for (const { warm } of runs) requireSameLoss(warm, expected.loss); }
    const referenceSeconds: number[] = [];
    for (let round = 0; round < repeat; round++) {
      for (const [i, { host }] of hosts.entries()) {
        runs[i].plain.push(await postLayer(host, body, "sparsity=0.5&error=false"));
      }
      const run = await solveReference();
      if (run) referenceSeconds.push(run.seconds.total);
      for (const [i, { host }] of hosts.entries()) {
        runs[i].withError.push(await postLayer(host, body, "sparsity=0.5"));
      }
    }
    const results: LayerResult[] = [];
    for (const [i, { host, library, breakDown }] of hosts.entries()) {
      const { plain } = runs[i];
      results.push({
        rows,
        cols,
        ...(library !== undefined && { library }),
        runs: repeat,
        ...summarize(runs[i]),
        gflops: (factorFlops(cols) + solveFlops(rows, cols)) / median(plain.map(solveSeconds)) / 1e9,
        peakMemoryBytes: memoryBytes(host.pid, "VmHWM"),
        ...(breakDown && { shares: await breakDown(body) }),
        ...(expected && candidate && {
          reference: {
            seconds: median(referenceSeconds),
            loss: expected.loss,
            setting: candidateTitle(candidate),
            speedup: median(referenceSeconds.map((seconds, run) => seconds / solveSeconds(plain[run]))),
          },
        }),
      });
    }
    return results;
  } finally {
    await reference?.stop();
    await Deno.remove(path);
  }
}

function summarize({ warm, plain, withError }: HostRuns) {
  return {
    solve: medianSeconds(plain.map(({ report }) => report.seconds)),
    solveSeconds: median(plain.map(solveSeconds)),
    wallSeconds: median(plain.map((answer) => answer.wallSeconds)),
    withError: {
      solveSeconds: median(withError.map(solveSeconds)),
      wallSeconds: median(withError.map((answer) => answer.wallSeconds)),
    },
    loss: warm.loss,
    relativeError: warm.relative_error,
  };
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
