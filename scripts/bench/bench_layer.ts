/** Times one layer size: the host and the reference in turn, after a check that both solve the same problem. */

import type { Report } from "../../src/protocol/report.ts";
import type { ChildHost } from "../child_host.ts";
import type { Shares } from "./breakdown.ts";
import { factorFlops, solveFlops } from "./flops.ts";
import { memoryBytes } from "../processes.ts";
import { type Solved, solveOver } from "./host.ts";
import { writeLayerFile } from "./layer_file.ts";
import { median } from "./statistics.ts";
import { TorchReference } from "./torch.ts";

/** Medians of one size, in seconds. */
export interface LayerResult {
  readonly rows: number;
  readonly cols: number;
  readonly runs: number;
  /** Factor and solve, `error=false`: what the reference does. */
  readonly solve: Report["seconds"];
  readonly solveSeconds: number;
  /** The whole request, body sent to answer read. */
  readonly wallSeconds: number;
  /** The same with `relative_error`. */
  readonly withError: { readonly solveSeconds: number; readonly wallSeconds: number };
  /** Of factor and solve together, by the formulas of `flops.ts`. */
  readonly gflops: number;
  /** Peak resident memory of the host, which solved this size alone. */
  readonly peakMemoryBytes: number;
  readonly loss: number | null;
  readonly relativeError: number | null;
  /** How the solve divides among its steps. Absent in a run that measured through requests alone. */
  readonly shares?: Shares;
  /** Absent without a Python that has torch. */
  readonly reference?: {
    readonly seconds: number;
    readonly loss: number;
    /** Median of the reference's time over ours, pair by pair. */
    readonly speedup: number;
  };
}

const solveSeconds = ({ report }: Solved) => report.seconds.factor + report.seconds.solve;

/** How to time. */
export interface BenchOptions {
  /** The Python that runs the reference. */
  readonly python?: string;
  /** Timed pairs, after one that is not. */
  readonly repeat: number;
  /** Divides the solve of a request body among its steps, once the timed runs are over. */
  readonly breakDown?: (body: Uint8Array<ArrayBuffer>) => Promise<Shares>;
}

/** Times one size on `host`. @throws {Error} host and reference do not agree on the loss, or the host refuses the layer */
export async function benchLayer(
  host: ChildHost,
  rows: number,
  cols: number,
  { python, repeat, breakDown }: BenchOptions,
): Promise<LayerResult> {
  const path = await Deno.makeTempFile({ suffix: ".safetensors" });
  let reference: TorchReference | undefined;
  try {
    await writeLayerFile(path, rows, cols);
    const body = await Deno.readFile(path);
    reference = python ? new TorchReference(python, path) : undefined;

    const warm = await solveOver(host, body, "sparsity=0.5");
    const expected = await reference?.solve();
    if (expected) checkLoss(warm.report, expected.loss);
    const plain: Solved[] = [], whole: Solved[] = [], referenceSeconds: number[] = [];
    for (let i = 0; i < repeat; i++) {
      plain.push(await solveOver(host, body, "sparsity=0.5&error=false"));
      if (reference) referenceSeconds.push((await reference.solve()).seconds.total);
      whole.push(await solveOver(host, body, "sparsity=0.5"));
    }
    const ours = median(plain.map(solveSeconds));
    return {
      rows,
      cols,
      runs: repeat,
      solve: medianSeconds(plain.map(({ report }) => report.seconds)),
      solveSeconds: ours,
      wallSeconds: median(plain.map((run) => run.wallSeconds)),
      withError: {
        solveSeconds: median(whole.map(solveSeconds)),
        wallSeconds: median(whole.map((run) => run.wallSeconds)),
      },
      gflops: (factorFlops(cols) + solveFlops(rows, cols)) / ours / 1e9,
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

/** Both solve one problem, up to float32 and one entry a block: the published code prunes one too many. */
function checkLoss({ loss, rows, cols }: Report, expected: number): void {
  if (loss === null || Math.abs(loss / expected - 1) > 0.005) {
    throw new Error(
      `${rows}×${cols}: the loss is ${loss}, the reference's ${expected}: not the same problem`,
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
