/**
 * `deno task readme`: writes the tables of the results files into the README, between `<!-- table: NAME -->` and
 * `<!-- end -->`. A test holds the README to them, so no figure in it is typed by hand.
 */

import type { Run } from "../demo/tables.ts";
import type { EdgeResult } from "./edge/bench_edge.ts";
import { edgeTable } from "./edge/table.ts";
import { familiesTable } from "./families/table.ts";
import { gemmTable } from "./gpu/table.ts";
import type { LargeFile } from "./large/results.ts";
import { largeTable } from "./large/table.ts";
import type { ModelsFile } from "./model/bench_model.ts";
import { modelTable } from "./model/table.ts";
import { MODELS } from "./model_shapes.ts";
import { modelMemory, modelWork, ratesOf } from "./projection.ts";
import {
  type GemmFile,
  type LatencyFile,
  type LayersFile,
  type Measured,
  readResults,
} from "./results_file.ts";
import { latencyTable, layerTable, markdownTable, phaseTable, projectionTable } from "./table.ts";

const README = new URL("../../README.md", import.meta.url);
const TABLE = /(<!-- table: (\w+) -->)[\s\S]*?(<!-- end -->)/g;

/** A table of the README: the results file it is rendered from, and how. */
interface ReadmeTable {
  readonly file: string;
  readonly render: (results: never) => string;
}

const TABLES: Readonly<Record<string, ReadmeTable>> = {
  cpu: { file: "cpu", render: ({ layers, peak }: LayersFile) => layerTable(layers, peak) },
  phases: { file: "cpu", render: ({ layers }: LayersFile) => `${phaseTable(layers)}\n\n${PHASES_NOTE}` },
  opt_175b: { file: "cpu", render: projected("opt-175b") },
  bloom_176b: { file: "cpu", render: projected("bloom-176b") },
  webgpu: { file: "webgpu", render: ({ layers, peak }: LayersFile) => layerTable(layers, peak) },
  families: { file: "families", render: familiesTable },
  gemm: { file: "gemm_webgpu", render: ({ order, matmuls }: GemmFile) => gemmTable(order, matmuls) },
  large: { file: "large", render: ({ layers }: LargeFile) => `${largeTable(layers)}\n\n${LARGE_NOTE}` },
  model: { file: "model", render: ({ models }: ModelsFile) => `${modelTable(models)}\n\n${MODEL_NOTE}` },
  edge: {
    file: "edge",
    render: ({ layers }: { layers: readonly EdgeResult[] }) => `${edgeTable(layers)}\n\n${EDGE_NOTE}`,
  },
  latency: { file: "latency", render: ({ latency }: LatencyFile) => latencyTable(latency) },
  demo: {
    file: "demo",
    render: ({ runs }: { runs: readonly Run[] }) =>
      markdownTable([["", ...runs.map((run) => run.title)], [
        "perplexity",
        ...runs.map((run) => run.perplexity.toFixed(2)),
      ]]),
  },
};

/** Renders hours a phase of a whole model, at the rates of the layers timed. */
function projected(model: string): (results: LayersFile) => string {
  const shapes = MODELS[model];
  return (results) => projectionTable(shapes.title, modelWork(shapes), modelMemory(shapes), ratesOf(results));
}

const PHASES_NOTE =
  "“select”, “column loop” and “lazy update” are the timed seconds of the solve by the shares of a run apart, in " +
  "process, that waits for the device after each of them: from outside they cannot be told apart.";

const EDGE_NOTE =
  "MB/s is the body over the seconds before it; all of it on one machine, in wrangler's local runtime.";

const LARGE_NOTE =
  "Seconds on the clock, and in brackets processor seconds, which do not count what else the machine did: the largest layer shared it. " +
  "“R·Rᵀ off by” is the largest |R·Rᵀ − H| of an element over the square root of its diagonal elements, “weights off by” the " +
  "largest ‖Q − Q̂‖/‖Q̂‖ of a row, both against float64 on eight rows.";

const MODEL_NOTE =
  "“published” is PyTorch doing what the published script does, “shared” the same without the products that can be spared: one " +
  "Hessian for q, k and v, no outputs that no one reads. “rest” is starting, moving tensors and writing the checkpoint.";

/** The README with every table as its results file has it. */
export async function renderReadme(): Promise<string> {
  const readme = await Deno.readTextFile(README);
  const rendered = new Map<string, string>();
  for (const [, , name] of readme.matchAll(TABLE)) {
    if (!Object.hasOwn(TABLES, name)) throw new Error(`README.md: no table is called ${name}`);
    const { file, render } = TABLES[name];
    const results = await readResults(file);
    rendered.set(name, `${render(results as never)}\n\n${measuredOn(results)}`);
  }
  return readme.replace(TABLE, (_, begin, name, end) => `${begin}\n\n${rendered.get(name)}\n\n${end}`);
}

function measuredOn({ date, machine, adapter }: Measured): string {
  const memory = `${Math.round(machine.memoryBytes / 2 ** 30)} GiB`;
  return `Measured ${
    date.slice(0, 10)
  } on ${machine.cores} cores of ${machine.cpu}, ${memory}, Deno ${machine.deno}: ${adapter}.`;
}

if (import.meta.main) {
  await Deno.writeTextFile(README, await renderReadme());
  await new Deno.Command(Deno.execPath(), { args: ["fmt", "--quiet", README.pathname] }).output();
}
