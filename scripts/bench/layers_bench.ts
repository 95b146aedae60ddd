/**
 * Times layers on Pare hosts and in PyTorch, which runs the published SparseGPT algorithm and is called the reference. Every
 * host runs in its own process. Before anything is timed, all programs solve the layer once and their losses are compared,
 * which proves that they solve the same problem. PyTorch runs in the build and the setting that were fastest in short trials.
 */

import { integer } from "../../src/cli/options/common_options.ts";
import type { Report } from "../../src/protocol/messages.ts";
import { type ChildHost, startHost } from "../processes/child_host.ts";
import { memoryBytes } from "../processes/process_tree.ts";
import type { Bench } from "./bench.ts";
import { factorFlops, solveFlops } from "./measure/flops.ts";
import { type GemmRate, measureGemmRate } from "./measure/gemm_rate.ts";
import { parseSizes, type Size, writeLayerFile } from "./measure/layer_file.ts";
import { formatProducts, matrixProducts, withBackend } from "./measure/matrix_products.ts";
import { postLayer, type TimedAnswer } from "./measure/post_layer.ts";
import { median, medians } from "./measure/statistics.ts";
import { formatPercent, formatSize, markdownTable, NOT_MEASURED } from "./report/markdown_table.ts";
import { chooseFastest, type Trial, trialsTable } from "./torch/choose_fastest.ts";
import { removeKernelOverrides } from "./torch/peer_environment.ts";
import { candidateTitle, type TorchCandidate, torchCandidates } from "./torch/thread_settings.ts";
import { describeBuilds, findTorchBuilds, type TorchBuild } from "./torch/torch_builds.ts";
import { TorchProcess, trialSeconds } from "./torch/torch_process.ts";

/** Medians over the runs of one size. Times are in seconds. */
export interface LayerResult {
  readonly rows: number;
  readonly cols: number;
  /** The library that multiplied matrices for Pare. Absent if Pare's own kernels did. */
  readonly library?: string;
  /** Whether a host without options multiplies in this way. */
  readonly isDefault: boolean;
  readonly runs: number;
  /** The seconds of the host's phases at `error=false`. With this parameter the host does the same work as the reference. */
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
  /** PyTorch's medians. Absent if no Python with torch was found. */
  readonly reference?: {
    readonly seconds: number;
    readonly loss: number;
    readonly setting?: string;
    /** The median, over the pairs of runs, of PyTorch's time divided by Pare's. */
    readonly speedup: number;
  };
}

/** The short runs that chose the setting of PyTorch for layers of (rows, cols). */
interface LayerTrials {
  readonly rows: number;
  readonly cols: number;
  readonly trials: readonly Trial[];
}

interface LayersResults {
  /** The rate of the backend's own matrix product (GEMM). It is not the peak of the hardware, although its name says so. */
  readonly peak?: GemmRate;
  /** The rate of the product of the library that is the fastest. */
  readonly libraryPeak?: GemmRate;
  /** One entry for each size and each way to multiply matrices. */
  readonly layers: readonly LayerResult[];
  readonly builds?: readonly TorchBuild[];
  readonly trials?: readonly LayerTrials[];
}

interface LayersOptions {
  readonly sizes: readonly Size[];
  readonly repeat: number;
}

export const bench: Bench<LayersOptions, LayersResults> = {
  description: "one layer on a host, beside PyTorch in its fastest setting",
  options: (command) =>
    command
      .option(
        "--sizes <list>",
        "comma-separated ROWSxCOLS",
        parseSizes,
        parseSizes("768x768,768x3072,2048x2048,4096x4096"),
      )
      .option("--repeat <n>", "timed rounds for each size, after one that is not timed", integer(1), 5),
  async measure({ sizes, repeat, backend }, { save }) {
    removeKernelOverrides();
    const builds = await findTorchBuilds(), candidates = torchCandidates(builds);
    if (builds.length === 0) {
      console.error("No Python with torch and safetensors was found, so Pare is timed alone.");
    }
    const products = await matrixProducts(backend);
    const rates: GemmRate[] = [];
    for (const way of products) rates.push(await withBackend(backend, measureGemmRate, way));

    const layers: LayerResult[] = [], trials: LayerTrials[] = [];
    const results: LayersResults = { peak: rates[0], libraryPeak: rates[1], layers, builds, trials };
    for (const [rows, cols] of sizes) {
      // Each size has its own host processes, so that the peak memory of a process belongs to that size.
      await using processes = new AsyncDisposableStack();
      const hosts: LayerHost[] = [];
      for (const { products: choice, library, isDefault } of products) {
        const host = processes.use(await startHost(["--backend", backend, "--products", choice]));
        hosts.push({ host, library, isDefault });
      }
      const timed = await benchLayer(hosts, rows, cols, { candidates, repeat });
      layers.push(...timed.results);
      if (timed.trials) trials.push({ rows, cols, trials: timed.trials });
      await save(products[0].device, results);
      console.error(speedTable({ ...results, layers: timed.results }));
    }
    return results;
  },
  tables: { speed: speedTable, phases: phaseTable, settings: settingsTable },
};

interface LayerHost {
  readonly host: ChildHost;
  /** The library that multiplies matrices. Absent for Pare's own kernels. */
  readonly library?: string;
  readonly isDefault: boolean;
}

interface HostRuns {
  readonly warm: Report;
  readonly plain: TimedAnswer[];
  readonly withError: TimedAnswer[];
}

/**
 * Times one layer of (rows, cols). In each round, every host and the reference solve the layer one after the other.
 * @param options.candidates the builds and settings of PyTorch to try. If there are none, Pare is timed alone
 * @throws {Error} if a host and the reference disagree on the loss, or if a host refuses the layer
 */
export async function benchLayer(
  hosts: readonly LayerHost[],
  rows: number,
  cols: number,
  { candidates, repeat }: { readonly candidates: readonly TorchCandidate[]; readonly repeat: number },
): Promise<{ readonly results: LayerResult[]; readonly trials?: readonly Trial[] }> {
  const path = await Deno.makeTempFile({ suffix: ".safetensors" });
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => Deno.remove(path));
  await writeLayerFile(path, rows, cols);
  const body = await Deno.readFile(path);
  const choice = candidates.length === 0 ? undefined : await chooseFastest(
    candidates,
    candidateTitle,
    (candidate) => trialSeconds(candidate, path),
  );
  const reference = choice && new TorchProcess(choice.best, path);
  if (reference) cleanup.defer(() => reference.stop());

  const runs: HostRuns[] = [];
  for (const { host } of hosts) {
    runs.push({
      warm: (await postLayer(host, body, "sparsity=0.5")).report,
      plain: [],
      withError: [],
    });
  }
  const expected = await reference?.run();
  if (expected) { for (const { warm } of runs) requireSameLoss(warm, expected.loss); }
  const referenceSeconds: number[] = [];
  for (let round = 0; round < repeat; round++) {
    for (const [i, { host }] of hosts.entries()) {
      runs[i].plain.push(await postLayer(host, body, "sparsity=0.5&error=false"));
    }
    const run = await reference?.run();
    if (run) referenceSeconds.push(run.seconds.total);
    for (const [i, { host }] of hosts.entries()) {
      runs[i].withError.push(await postLayer(host, body, "sparsity=0.5"));
    }
  }
  const results = hosts.map(({ host, library, isDefault }, i): LayerResult => {
    const { plain } = runs[i];
    return {
      rows,
      cols,
      ...(library !== undefined && { library }),
      isDefault,
      runs: repeat,
      ...summarize(runs[i]),
      gflops: (factorFlops(cols) + solveFlops(rows, cols)) / median(plain.map(solveSeconds)) / 1e9,
      peakMemoryBytes: memoryBytes(host.pid, "VmHWM"),
      ...(expected && choice && {
        reference: {
          seconds: median(referenceSeconds),
          loss: expected.loss,
          setting: candidateTitle(choice.best),
          speedup: median(referenceSeconds.map((seconds, run) => seconds / solveSeconds(plain[run]))),
        },
      }),
    };
  });
  return { results, trials: choice?.trials };
}

function summarize({ warm, plain, withError }: HostRuns) {
  return {
    solve: medians(plain.map(({ report }) => report.seconds)),
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

/**
 * Renders one row per layer size and way to multiply matrices: the times of the solve and of the request, the
 * rate, the memory, and PyTorch's time in its fastest setting.
 */
function speedTable({ layers, peak, libraryPeak }: LayersResults): string {
  const gemmRate = ({ library }: LayerResult) => (library === undefined ? peak : libraryPeak)?.gflops;
  return markdownTable([
    ["rows × cols", formatSize],
    ["products", formatWay],
    ["factor + solve s", (r) => seconds(r.solveSeconds)],
    ["with error s", (r) => seconds(r.withError.solveSeconds)],
    ["request s", (r) => seconds(r.wallSeconds)],
    ["HTTP adds", (r) => formatPercent(r.wallSeconds / r.solveSeconds - 1)],
    ["GFLOP/s", (r) => r.gflops.toFixed(1)],
    ["of GEMM", (r) => gemmRate(r) === undefined ? NOT_MEASURED : formatPercent(r.gflops / gemmRate(r)!)],
    ["memory MiB", (r) => Math.round(r.peakMemoryBytes / 2 ** 20).toString()],
    ["PyTorch s", (r) => r.reference ? seconds(r.reference.seconds) : NOT_MEASURED],
    ["PyTorch's setting", (r) => r.reference?.setting ?? NOT_MEASURED],
    ["× PyTorch", (r) => r.reference?.speedup.toFixed(1) ?? NOT_MEASURED],
  ], layers);
}

function formatWay({ library, isDefault }: LayerResult): string {
  return `${isDefault ? "default: " : ""}${formatProducts({ library })}`;
}

/**
 * Renders one row per layer size: the seconds of each phase of a request at `error=false`. The host's own total ends at the
 * start of the answer, so the time for writing is the rest of the request.
 */
function phaseTable({ layers }: Pick<LayersResults, "layers">): string {
  return markdownTable([
    ["rows × cols", formatSize],
    ["products", formatWay],
    ["read s", (r) => seconds(r.solve.read)],
    ["factor s", (r) => seconds(r.solve.factor)],
    ["solve s", (r) => seconds(r.solve.solve)],
    ["write s", (r) => seconds(r.wallSeconds - r.solve.total)],
    ["request s", (r) => seconds(r.wallSeconds)],
  ], layers);
}

/** Renders one row per build and setting of PyTorch and one column per size: the seconds of the trials. */
function settingsTable({ trials = [], builds = [] }: LayersResults): string {
  const cases = trials.map(({ trials, ...size }) => ({ title: formatSize(size), trials }));
  return `${trialsTable(cases)}\n\n${describeBuilds(builds)}`;
}

function seconds(value: number): string {
  return value.toFixed(3);
}
