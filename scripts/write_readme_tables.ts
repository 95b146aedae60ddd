/**
 * `deno task readme`: renders the tables of the results files into the pages of `PAGES`. A test compares the pages with the
 * results files, so that no figure in a table is typed by hand.
 */

import { type DeviceBytesResults, deviceBytesTable } from "./bench/device_bytes/table.ts";
import type { AttackResults } from "./attacks/attack_results.ts";
import { attacksTable } from "./attacks/table.ts";
import { type AllocationResults, allocationTable } from "./bench/allocation/table.ts";
import { type EdgeResults, edgeTable } from "./bench/edge/table.ts";
import { type RequestResults, requestTable } from "./bench/request/table.ts";
import { type FamiliesResults, familiesTable } from "./bench/families/table.ts";
import { type GpuResults, matmulTable } from "./bench/gpu/tables.ts";
import { type GpuCopies, gpuCopiesTable } from "./bench/gpu_copies/table.ts";
import { type GpuCounts, gpuCountsTable } from "./bench/gpu_counts/table.ts";
import type { GrowthResults } from "./bench/growth/growth_results.ts";
import { growthTable } from "./bench/growth/table.ts";
import type { LargeResults } from "./bench/large/large_file.ts";
import { largeTable } from "./bench/large/table.ts";
import { type LatencyResults, latencyTable } from "./bench/latency/table.ts";
import type { LayersResults } from "./bench/layers/layers_results.ts";
import { phaseTable, settingsTable, speedTable } from "./bench/layers/tables.ts";
import { modelSettingsTable, modelTable, type ModelTimings } from "./bench/model/table.ts";
import type { PeersResults } from "./bench/peers/peers_result.ts";
import { peersSettingsTable, peersTable } from "./bench/peers/table.ts";
import { comparisonTable } from "./bench/solvers/models/comparison.ts";
import { evaluateGates, gateTable } from "./bench/solvers/models/gates.ts";
import {
  errorTable,
  perplexityTable as solverPerplexityTable,
  roundingTable,
  secondsTable,
  type SolverResults,
} from "./bench/solvers/models/tables.ts";
import { type ShareResults, shareTable } from "./bench/solvers/share/table.ts";
import { kernelTable, type WideResults, wideTable } from "./bench/solvers/wide/tables.ts";
import { MODELS } from "./bench/projection/model_shapes.ts";
import { assumptionsTable, h100LayerTable, h100ModelTable } from "./bench/projection/h100_tables.ts";
import { type PlanResults, planTable } from "./bench/plan_bench.ts";
import { projectionTable } from "./bench/projection/table.ts";
import { type PythonResults, pythonTable } from "./bench/python/table.ts";
import type { FinetuningResults } from "./bench/python_finetuning/bench_finetuning.ts";
import { finetuningTable } from "./bench/python_finetuning/table.ts";
import { pythonMemoryTable, type PythonPruneResults, pythonPruneTable } from "./bench/python_prune/tables.ts";
import { type Measurement, readResults, resultsUrl } from "./bench/report/results_file.ts";
import { type FaultResults, faultTable, survivalTable } from "./faults/table.ts";
import { damagesTable } from "./faults/runs/table.ts";
import type { DamageResults } from "./faults/runs/try_damages.ts";
import { renderTables, type Tables, writePage } from "./markdown_tables.ts";
import { type PlantedFaults, plantedFaultsTable } from "./self_check/faults/table.ts";
import { type SoakResults, soakTable } from "./soak/table.ts";
import { type DemoResults, perplexityMarkdown } from "./demo/tables.ts";

/** The pages that contain tables. */
export const PAGES: readonly URL[] = [
  "../README.md",
  "./bench/README.md",
  "../src/solvers/README.md",
  "../RELIABILITY.md",
  "../src/cli/README.md",
].map((path) => new URL(path, import.meta.url));

/** The tables by the names that the pages use. Each function renders a table and the line that says how it was measured. */
const TABLES: Tables = {
  cpu: () => render<LayersResults>("cpu", speedTable),
  cpu_settings: () => render<LayersResults>("cpu", settingsTable),
  phases: () => render<LayersResults>("cpu", phaseTable),
  opt_175b: () => render<LayersResults>("cpu", (results) => projectionTable(MODELS["opt-175b"], results)),
  bloom_176b: () => render<LayersResults>("cpu", (results) => projectionTable(MODELS["bloom-176b"], results)),
  webgpu: () => render<LayersResults>("webgpu", speedTable),
  allocation: () => render<AllocationResults>("allocation", allocationTable),
  attacks: () => render<AttackResults>("attacks", attacksTable),
  faults: () => render<FaultResults>("faults", faultTable),
  fault_survival: survivalTable,
  soak: () => render<SoakResults>("soak", soakTable),
  self_check_faults: () => render<PlantedFaults>("self_check_faults", plantedFaultsTable),
  faults_runs: () => render<DamageResults>("faults_runs", damagesTable),
  families: () => render<FamiliesResults>("families", familiesTable),
  gemm: () => render<GpuResults>("gemm_webgpu", matmulTable),
  growth: () => render<GrowthResults>("growth", growthTable),
  large: () => render<LargeResults>("large", largeTable),
  model: () => render<ModelTimings>("model", modelTable),
  model_settings: () => render<ModelTimings>("model", modelSettingsTable),
  peers_settings: () => render<PeersResults>("peers", peersSettingsTable),
  peers: () => render<PeersResults>("peers", peersTable),
  device_bytes: () => render<DeviceBytesResults>("device_bytes", deviceBytesTable),
  edge: () => render<EdgeResults>("edge", edgeTable),
  python: () => render<PythonResults>("python_client", pythonTable),
  request: () => render<RequestResults>("request", requestTable),
  python_finetuning: () => render<FinetuningResults>("python_finetuning", finetuningTable),
  python_prune: () => render<PythonPruneResults>("python_prune", pythonPruneTable),
  python_memory: () => render<PythonPruneResults>("python_prune", pythonMemoryTable),
  gpu_copies: () => render<GpuCopies>("gpu_copies", gpuCopiesTable),
  gpu_counts: () => renderCounts(gpuCountsTable),
  h100_assumptions: () => Promise.resolve(assumptionsTable()),
  h100_layers: () => renderCounts(h100LayerTable),
  h100_model: () => renderCounts(h100ModelTable),
  plan: () => render<PlanResults>("plan", planTable),
  latency: () => render<LatencyResults>("latency", latencyTable),
  demo: () => render<DemoResults>("demo", perplexityMarkdown),
  solvers: () => render<SolverResults>("solvers", comparisonTable),
  solver_errors: () => render<SolverResults>("solvers", errorTable),
  solver_perplexity: () => render<SolverResults>("solvers", solverPerplexityTable),
  solver_seconds: () => render<SolverResults>("solvers", secondsTable),
  solver_rounding: () => render<SolverResults>("solvers", roundingTable),
  solver_gates: () => render<SolverResults>("solvers", (results) => gateTable(evaluateGates(results))),
  solver_wide: () => render<WideResults>("solvers_wide", wideTable),
  solver_kernels: () => render<WideResults>("solvers_wide", kernelTable),
  solver_share: () => render<ShareResults>("solvers_share", shareTable),
};

/**
 * Returns the text of `page` with all tables rendered from the results files.
 * @throws {Error} if the page names an unknown table
 */
export async function renderPage(page: URL): Promise<string> {
  return await renderTables(page, TABLES);
}

async function render<Results>(name: string, table: (results: Results) => string): Promise<string> {
  const results = await readResults<Results>(resultsUrl(name, "json"));
  return `${table(results)}\n\n${measurementLine(results)}`;
}

/** Renders a table of counted work, of which nothing was measured on a GPU. */
async function renderCounts(table: (counts: GpuCounts) => string): Promise<string> {
  const counts = await readResults<GpuCounts>(resultsUrl("gpu_counts", "json"));
  return `${table(counts)}\n\nCounted on ${counts.date.slice(0, 10)} for the limits of an NVIDIA H100. ` +
    "Nothing was measured on a GPU.";
}

function measurementLine({ date, machine, adapter }: Measurement): string {
  const memory = `${Math.round(machine.memoryBytes / 2 ** 30)} GiB`;
  const day = date.slice(0, 10);
  return `Measured on ${day} with ${machine.cores} cores of ${machine.cpu}, ${memory} of memory and Deno ` +
    `${machine.deno}. Adapter: ${adapter}.`;
}

if (import.meta.main) {
  for (const page of PAGES) await writePage(page, await renderPage(page));
}
