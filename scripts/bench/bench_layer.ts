/** Times one layer size: the host and the reference in turn, after a check that both solve the same problem. */

import type { Report } from "../../src/protocol/report.ts";
import type { ChildHost } from "../child_host.ts";
import { peakMemory, type Solved, solveOver } from "./host.ts";
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
  readonly gflops: number;
  readonly peakMemoryBytes: number;
  readonly loss: number | null;
  readonly relativeError: number | null;
  /** Absent without a Python that has torch. */
  readonly reference?: {
    readonly seconds: number;
    readonly loss: number;
    /** Median of the reference's time over ours, pair by pair. */
    readonly speedup: number;
  };
}

/** n³/3 to factor, 3·rows·B·n in the blocks and rows·n² in the lazy updates (multiply and add count as two). */
function flops(rows: number, cols: number, blocksize = 128): number {
  return cols ** 3 / 3 + rows * cols ** 2 + 3 * rows * cols * blocksize;
}

const solveSeconds = ({ report }: Solved) => report.seconds.factor + report.seconds.solve;

export async function benchLayer(
  host: ChildHost,
  python: string | undefined,
  rows: number,
  cols: number,
  repeat: number,
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
      gflops: flops(rows, cols) / ours / 1e9,
      peakMemoryBytes: await peakMemory(host),
      loss: warm.report.loss,
      relativeError: warm.report.relative_error,
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
