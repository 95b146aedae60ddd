/**
 * Measures the processor time of every kernel of one transformer block, so that the next slow kernel is visible. The block
 * has random weights, and does the work of `pare prune`: the statistics of its layers, one layer that is solved, and the
 * outputs. The kernels run on one thread, once with Pare's own products and once with each precision of a library. Before
 * a library is measured, its outputs and its statistics are compared with those of the own products, which the
 * self-check compares with float64 references.
 */

import { InvalidArgumentError } from "commander";
import process from "node:process";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { integer } from "../../src/cli/options/common_options.ts";
import { findProducts } from "../../src/device/cpu/products/find_products.ts";
import { type Precision, PRECISIONS } from "../../src/device/cpu/products/product_library.ts";
import { selfCheck } from "../../src/host/self_check/self_check.ts";
import { HessianAccumulator } from "../../src/layer/calibration/hessian.ts";
import { readTensor } from "../../src/model/checkpoint/tensor_source.ts";
import { Forward } from "../../src/model/forward.ts";
import type { LinearGroup } from "../../src/model/layer_specs.ts";
import { type Model, openModelFolder } from "../../src/model/model.ts";
import { asFloat32 } from "../../src/tensor/host_tensor.ts";
import { DevicePruner } from "../../src/prune/device_pruner.ts";
import { type LlamaShape, makeRandomLlama } from "../fixtures/make_random_llama.ts";
import { uniform } from "../fixtures/random.ts";
import type { Bench } from "./bench.ts";
import { type KernelCost, KernelMeter } from "./measure/kernel_meter.ts";
import { formatProducts } from "./measure/matrix_products.ts";
import { formatPercent, markdownTable, NOT_MEASURED } from "./report/markdown_table.ts";
import { removeKernelOverrides } from "./torch/peer_environment.ts";

const VOCABULARY = 2048;
const COMMON = { layers: 1, vocabulary: VOCABULARY, positions: 2048 };
/** The sizes of SmolLM2-135M, Llama-3.2-1B and Llama-3.1-8B. */
const SHAPES: Readonly<Record<string, LlamaShape>> = {
  "135M": { ...COMMON, hidden: 576, heads: 9, keyHeads: 3, intermediate: 1536 },
  "1B": { ...COMMON, hidden: 2048, heads: 32, keyHeads: 8, intermediate: 8192 },
  "8B": { ...COMMON, hidden: 4096, heads: 32, keyHeads: 8, intermediate: 14336 },
};
const TOKENS = 512;
const SOLVED = "model.layers.0.self_attn.o_proj.weight";
/**
 * The largest difference of the results from those of the own products, relative to their norm. In bfloat16, the inputs of
 * four layers in a row are rounded, each time with an error of at most 2⁻⁸.
 */
const TOLERANCE: Readonly<Record<Precision, number>> = { float32: 1e-5, bfloat16: 2 ** -6 };

interface PartResult {
  readonly shape: string;
  /** The library that multiplies matrices, with its precision. Absent for Pare's own products. */
  readonly library?: string;
  /** `forward` is one window: the pass that adds up the statistics, and the one that computes the outputs. `solve` is one layer. */
  readonly part: "forward" | "solve";
  /** The processor time of the part, with the time outside of its kernels. */
  readonly processorSeconds: number;
  readonly kernels: readonly KernelCost[];
}

interface ForwardResults {
  /** The vector and matrix instructions that the system reports. */
  readonly instructions: readonly string[];
  readonly parts: readonly PartResult[];
}

interface ForwardOptions {
  readonly shapes: readonly string[];
  readonly windows: number;
}

export const bench: Bench<ForwardOptions, ForwardResults> = {
  description: "the processor time and the rate of every kernel of a transformer block",
  options: (command) =>
    command
      .option("--shapes <list>", "comma-separated sizes of models", parseShapes, Object.keys(SHAPES))
      .option("--windows <n>", "measured windows, after one that is not measured", integer(1), 4),
  async measure({ shapes, windows }, { scratch, save }) {
    removeKernelOverrides();
    const found = findProducts({ products: "auto", precisions: PRECISIONS });
    const ways = [
      undefined,
      ...PRECISIONS.map((wanted) => found.find((library) => library?.precision === wanted)),
    ];
    const parts: PartResult[] = [], results = { instructions: await readInstructions(), parts };
    for (const shape of shapes) {
      const folder = `${scratch}/${shape}`;
      await makeRandomLlama(folder, SHAPES[shape], { dtype: "BF16" });
      await using opened = await openModelFolder(folder, denoFileSystem);
      let expected: BlockRun | undefined;
      for (const library of new Set(ways)) {
        await using meter = await KernelMeter.open(library);
        await selfCheck(meter.backend);
        const run = await runBlock(opened.model, meter, 1),
          tolerance = TOLERANCE[library?.precision ?? "float32"];
        expected ??= run;
        requireClose(run.states, expected.states, tolerance);
        requireClose(run.statistics, expected.statistics, tolerance);
        const measured = await runBlock(opened.model, meter, windows);
        const way = { shape, ...library && { library: library.name } };
        parts.push(...measured.parts.map((part) => ({ ...way, ...part })));
        await save({ backend: "cpu", adapter: meter.backend.adapter.name }, results);
        console.error(kernelsTable({ ...results, parts: parts.slice(-measured.parts.length) }));
      }
    }
    return results;
  },
  tables: { kernels: kernelsTable },
};

function parseShapes(text: string): string[] {
  const shapes = text.split(",");
  if (shapes.every((shape) => Object.hasOwn(SHAPES, shape))) return shapes;
  throw new InvalidArgumentError(`The sizes are ${Object.keys(SHAPES).join(", ")}.`);
}

interface BlockRun {
  /** The outputs of the block for the first window, (TOKENS, hidden). */
  readonly states: Float32Array;
  /** The statistics of the layer {@link SOLVED}, as a packed triangle. */
  readonly statistics: Float32Array;
  readonly parts: readonly Pick<PartResult, "part" | "processorSeconds" | "kernels">[];
}

/** Runs windows of random tokens through the block, and solves its layer {@link SOLVED}. */
async function runBlock(model: Model, meter: KernelMeter, windows: number): Promise<BlockRun> {
  const { backend } = meter, next = uniform(1), sums = new Map<LinearGroup, HessianAccumulator>();
  using scratch = new DisposableStack();
  const tokens = Array.from(
    { length: windows },
    () => Uint32Array.from({ length: TOKENS }, () => next() * VOCABULARY),
  );
  const forward = scratch.adopt(await Forward.begin(backend, model, tokens), (forward) => forward.destroy());
  for (const group of model.spec.block(0).groups) {
    const [{ name, inFeatures }] = group;
    const sum = new HessianAccumulator(backend, name, inFeatures, undefined, { tokenWeights: "unit" });
    sums.set(group, scratch.adopt(sum, (sum) => sum.destroy()));
  }
  const first: Float32Array[] = [];
  const measure = async (part: PartResult["part"], runs: number, work: () => Promise<unknown>) => {
    meter.take();
    const before = process.cpuUsage();
    await work();
    const { user, system } = process.cpuUsage(before),
      kernels = meter.take().map((cost) => perRun(cost, runs));
    return { part, processorSeconds: (user + system) / 1e6 / runs, kernels };
  };
  const passes = await measure("forward", windows, async () => {
    await forward.observeBlock(0, (group, x, rows) => sums.get(group)!.add(x, rows));
    await forward.visitOutputs(0, model.weights, {
      from: 0,
      take: (index, states) =>
        void (index === 0 && first.push(states.slice(0, TOKENS * model.spec.hiddenSize))),
    });
  });
  const [, sum] = [...sums].find(([[{ name }]]) => SOLVED.endsWith(`${name}.weight`))!;
  const hessian_upper = await sum.packedUpper(), weight = await readTensor(model.weights, SOLVED);
  const statistics = asFloat32(hessian_upper.data).slice();
  const solve = await measure(
    "solve",
    1,
    () => new DevicePruner(backend).pruneLayer({ weight, hessian_upper }, { sparsity: 0.5 }),
  );
  return { states: first[0], statistics, parts: [passes, solve] };
}

function perRun({ kernel, ...sums }: KernelCost, runs: number): KernelCost {
  const { calls, processorSeconds, flops, bytes } = sums;
  return {
    kernel,
    calls: calls / runs,
    processorSeconds: processorSeconds / runs,
    flops: flops / runs,
    bytes: bytes / runs,
  };
}

/** @throws {Error} unless ‖values − expected‖ ≤ tolerance·‖expected‖ */
function requireClose(values: Float32Array, expected: Float32Array, tolerance: number): void {
  const norm = (of: (i: number) => number) => Math.sqrt(expected.reduce((sum, _, i) => sum + of(i) ** 2, 0));
  const error = norm((i) => values[i] - expected[i]) / norm((i) => expected[i]);
  if (!(error <= tolerance)) {
    throw new Error(`the results differ by ${error}, but at most ${tolerance} is right`);
  }
}

/** Reads the vector and matrix instructions of the processor. They are only known on Linux with an x86-64 processor. */
async function readInstructions(): Promise<string[]> {
  const info = await Deno.readTextFile("/proc/cpuinfo").catch(() => "");
  return (/^flags\s*:(.*)$/m.exec(info)?.[1] ?? "").split(" ").filter((flag) => /^(fma$|avx|amx)/.test(flag));
}

/** Renders one row per kernel that takes at least 2 % of its part, and one for the time outside of kernels. */
function kernelsTable({ parts }: Pick<ForwardResults, "parts">): string {
  const rows = parts.flatMap((part) => {
    const inside = part.kernels.reduce((sum, { processorSeconds }) => sum + processorSeconds, 0);
    const outside = {
      kernel: "outside of kernels",
      processorSeconds: Math.max(0, part.processorSeconds - inside),
    };
    return [...part.kernels, { ...outside, calls: 0, flops: 0, bytes: 0 }]
      .map((cost) => ({ ...part, ...cost, share: cost.processorSeconds / part.processorSeconds }))
      .filter(({ share }) => share >= 0.02);
  });
  const rate = (amount: number, seconds: number) =>
    amount > 0 ? (amount / seconds / 1e9).toFixed(1) : NOT_MEASURED;
  return markdownTable(
    [
      ["shape", ({ shape }) => shape],
      ["products", formatProducts],
      ["part", ({ part }) => part],
      ["kernel", ({ kernel }) => kernel.includes(" ") ? kernel : `\`${kernel}\``],
      ["calls", ({ calls }) => calls > 0 ? calls.toFixed(0) : NOT_MEASURED],
      ["processor ms", (r) => (1000 * r.processorSeconds).toFixed(1)],
      ["GFLOP/s", (r) => rate(r.flops, r.processorSeconds)],
      ["GB/s", (r) => rate(r.bytes, r.processorSeconds)],
      ["share", (r) => formatPercent(r.share)],
    ],
    rows,
    3,
  );
}
