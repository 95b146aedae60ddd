/** The figures that a visitor of the results wants first, each from the results file of a bench. */

import type { Bench } from "../bench.ts";
import { bench as edgeBench } from "../edge_bench.ts";
import { bench as faultsBench } from "../faults_bench.ts";
import { bench as layersBench } from "../layers_bench.ts";
import { bench as peersBench } from "../peers_bench.ts";
import { compareWithPeer } from "../llm_compressor/results.ts";
import { triedDtypes } from "../llm_compressor/tables.ts";
import { formatProducts } from "../measure/matrix_products.ts";
import { formatPercent, formatPerplexity, formatSize, markdownTable } from "./markdown_table.ts";
import { readResults, resultsUrl } from "./results_file.ts";
import { bench as qualityBench } from "../quality_bench.ts";

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
  const { models, cells } = await resultsOf(qualityBench, "quality");
  const perplexity = (cell: string) =>
    formatPerplexity(cells.find(({ name }) => name === `opt-sotu/${cell}`)!.perplexities.speeches!);
  const dense = formatPerplexity(models.find(({ name }) => name === "opt-sotu")!.dense.speeches!);
  const row = (title: string, target: string): Figure => [
    `perplexity of opt-sotu ${title}`,
    `dense ${dense}, magnitude ${perplexity(`none/${target}/nearest`)}, SparseGPT ${
      perplexity(`speeches/${target}/published`)
    }, default ${perplexity(`speeches/${target}/default`)}`,
  ];
  return [row("at 50 %", "50"), row("at 2:4", "2:4"), row("at 50 % in 4 bits per kept weight", "50+4bit")];
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
  const { layers: [edge] } = await resultsOf(edgeBench, "edge");
  const { faults } = await resultsOf(faultsBench, "faults");
  const sum = (of: (fault: typeof faults[number]) => number) =>
    faults.reduce((total, fault) => total + of(fault), 0);
  return [
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
