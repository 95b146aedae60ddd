/**
 * `deno task bench`: solves layers through `POST /v1/layers` on a host of its own, beside PyTorch running the published algorithm
 * on the same file, in turn. Before a size is timed its loss is checked against the reference's. What is measured, and how, is in
 * the modules named below; this file puts them in order and writes what they find.
 */

import { startHost } from "../child_host.ts";
import { benchLayer, type LayerResult } from "./bench_layer.ts";
import { breakDown } from "./breakdown.ts";
import { withBackend } from "./in_process.ts";
import { measureLatency } from "./latency.ts";
import { machine } from "./machine.ts";
import { MODELS } from "./model_shapes.ts";
import { type BenchCommand, parseOptions } from "./options.ts";
import { measureGemm } from "./peak.ts";
import { modelMemory, modelWork, ratesOf } from "./projection.ts";
import {
  type LatencyFile,
  type LayersFile,
  type Measured,
  readResults,
  resultsUrl,
  writeResults,
} from "./results_file.ts";
import { latencyTable, layerTable, phaseTable, projectionTable } from "./table.ts";
import { findPython } from "./torch.ts";

async function benchLayers(options: BenchCommand): Promise<void> {
  const { backend, repeat, name, inProcess } = options;
  const python = await findPython();
  if (!python) console.error("no Python with torch and safetensors was found: timing without the reference");
  const peak = inProcess ? await withBackend(backend, (opened) => measureGemm(opened)) : undefined;
  const steps = (body: Uint8Array<ArrayBuffer>) => withBackend(backend, (opened) => breakDown(opened, body));

  const layers: LayerResult[] = [];
  let ran: Pick<Measured, "backend" | "adapter"> | undefined;
  for (const [rows, cols] of options.sizes) {
    // A host a size: its peak memory is then the size's own.
    await using host = await startHost(["--backend", backend]);
    ran = { backend: host.backend, adapter: host.adapter };
    layers.push(
      await benchLayer(host, rows, cols, { python, repeat, breakDown: inProcess ? steps : undefined }),
    );
    console.error(layerTable(layers.slice(-1), peak));
  }
  if (!ran) return;
  await writeResults<LayersFile>(name, { ...await measured(ran), peak, layers });
  console.log(`${layerTable(layers, peak)}\n\n${phaseTable(layers)}`);
}

async function benchLatency({ backend }: BenchCommand): Promise<void> {
  await using host = await startHost(["--backend", backend]);
  const latency = await measureLatency(host, 768, 768, { clients: 8, requests: 200 });
  await writeResults<LatencyFile>("latency", { ...await measured(host), latency });
  console.log(latencyTable(latency));
}

async function measured({ backend, adapter }: Pick<Measured, "backend" | "adapter">): Promise<Measured> {
  return { date: new Date().toISOString(), machine: await machine(), backend, adapter };
}

async function project(model: string, name: string): Promise<void> {
  const shapes = MODELS[model];
  const rates = ratesOf(await readResults<LayersFile>(name));
  console.log(projectionTable(shapes.title, modelWork(shapes), modelMemory(shapes), rates));
}

async function drawChart(name: string): Promise<void> {
  // Loaded only here, so that timing never waits for a charting library.
  const { ratioChart } = await import("./chart.ts");
  const { layers } = await readResults<LayersFile>(name);
  await Deno.writeTextFile(resultsUrl(name, "svg"), ratioChart(layers));
}

const options = parseOptions(Deno.args);
if (options.project) {
  await project(options.project, options.name);
} else if (options.gpu) {
  const { benchGpu } = await import("./gpu/main.ts");
  await benchGpu(options);
} else {
  await benchLayers(options);
  if (options.http) await benchLatency(options);
  if (options.chart) await drawChart(options.name);
}
