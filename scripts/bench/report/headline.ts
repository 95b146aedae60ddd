/** The figures that a visitor of the results wants first, each from the results file of a bench. */

import type { Bench } from "../bench.ts";
import { bench as edgeBench } from "../edge_bench.ts";
import { bench as faultsBench } from "../faults_bench.ts";
import { bench as latencyBench } from "../latency_bench.ts";
import { bench as layersBench } from "../layers_bench.ts";
import { bench as peersBench } from "../peers_bench.ts";
import { compareWithPeer } from "../llm_compressor/results.ts";
import { triedDtypes } from "../llm_compressor/tables.ts";
import { formatProducts } from "../measure/matrix_products.ts";
import { formatPercent, formatPerplexity, formatSize, markdownTable } from "./markdown_table.ts";
import { readResults, resultsUrl } from "./results_file.ts";
import { bench as solversBench } from "../solvers_bench.ts";
import { findCell, type ModelResult } from "../solvers/cells.ts";

/** One figure: what was measured, and the result. */
type Figure = readonly [subject: string, result: string];

export async function headlineTable(): Promise<string> {
  const figures = [...await qualityFigures(), ...await speedFigures(), ...await hostFigures()];
  return markdownTable<Figure>(
    [["figure", ([subject]) => subject], ["result", ([, result]) => result]],
    figures,
  )
    .replace("| --: |", "| --- |");
}

async function qualityFigures(): Promise<Figure[]> {
  const { models } = await resultsOf(solversBench, "solvers");
  const opt = models.find(({ name }) => name === "opt-sotu")!;
  const methods = ["magnitude", "SparseGPT", "ALPS default"];
  const list = (target: string) =>
    [
      `dense ${formatPerplexity(opt.dense)}`,
      ...methods.map((method) => `${method} ${perplexity(opt, method, target)}`),
    ]
      .join(", ");
  return [
    ["perplexity of opt-sotu at 50 %", list("50 %")],
    ["perplexity of opt-sotu at 2:4", list("2:4")],
    [
      "perplexity of opt-sotu in 4 bits per kept weight, at 50 %",
      `ALPS default ${perplexity(opt, "ALPS default", "50 % + 4 bit")}, GPTQ in 3 bits without zeros ` +
      perplexity(opt, "GPTQ", "3 bit"),
    ],
  ];
}

async function speedFigures(): Promise<Figure[]> {
  const { layers } = await resultsOf(layersBench, "layers");
  const { models: peers } = await resultsOf(peersBench, "peers");
  const layer = layers.findLast(({ isDefault }) => isDefault)!;
  const opt = peers.find(({ name }) => name === "opt-125m")!;
  const ours = opt.runs.findLast(({ run }) => run.program === "Pare")!;
  const { processSpeedup, memoryShare } = compareWithPeer(opt, ours)!;
  return [
    [
      `one layer of ${formatSize(layer)} on a host with ${formatProducts(layer)}`,
      `${layer.solveSeconds.toFixed(2)} s, ${layer.reference!.speedup.toFixed(1)} times as fast as PyTorch`,
    ],
    [
      `\`pare prune\` of the shape of opt-125m with ${formatProducts(ours)}, beside llm-compressor in ${
        triedDtypes(opt)
      }`,
      `${processSpeedup.toFixed(2)} times as fast, in ${formatPercent(memoryShare)} of the memory`,
    ],
  ];
}

async function hostFigures(): Promise<Figure[]> {
  const { latency } = await resultsOf(latencyBench, "latency");
  const { layers: [edge] } = await resultsOf(edgeBench, "edge");
  const { faults } = await resultsOf(faultsBench, "faults");
  const milliseconds = (seconds: number) => `${(1000 * seconds).toFixed(0)} ms`;
  const counts = Object.values(faults),
    sum = (of: (count: typeof counts[number]) => number) =>
      counts.reduce((total, count) => total + of(count), 0);
  return [
    [
      `a request for ${formatSize(latency)} with ${latency.clients} clients at once`,
      `half within ${milliseconds(latency.p50)}, 99 % within ${milliseconds(latency.p99)}`,
    ],
    [
      `what the edge adds to a request for ${formatSize(edge)}`,
      formatPercent(edge.through / edge.direct - 1),
    ],
    [
      "kills, full disks, lost devices and other faults",
      `${sum((f) => f.survived)} of ${sum((f) => f.tried)} survived`,
    ],
  ];
}

function resultsOf<Results extends object>(_: Bench<never, Results>, name: string): Promise<Results> {
  return readResults<Results>(resultsUrl(name, "json"));
}

function perplexity(model: ModelResult, method: string, target: string): string {
  return formatPerplexity(findCell(model, method, target)!.perplexity!);
}
