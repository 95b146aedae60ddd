/**
 * Compares all solvers on whole models by the relative error of every layer, the perplexity of the pruned model, and the
 * time. A cell is one method at one target, such as 50 %. The results file is written after each cell. Cells that are
 * already in the file are skipped, so an interrupted run can be continued.
 */

import type { Backend } from "../../src/device/backend.ts";
import { calibrationWindows } from "../../src/layer/calibration/windows.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { openBackend } from "../../src/cli/open_backend.ts";
import type { Bench } from "./bench.ts";
import { PareError } from "../../src/client/errors.ts";
import type { PruneEvent } from "../../src/client/model_pruner.ts";
import { computePerplexity } from "../../src/model/evaluation/perplexity.ts";
import { type Model, openModelFolder } from "../../src/model/model.ts";
import type { LayerQuery } from "../../src/protocol/layer_query.ts";
import type { Report } from "../../src/protocol/messages.ts";
import { calibratedModel } from "../../src/prune/calibrated_model.ts";
import { withStatisticsInHostMemory } from "../../src/prune/host_statistics.ts";
import { type CalibratedPruner, DevicePruner } from "../../src/prune/device_pruner.ts";
import { pruneInMemory } from "../../src/prune/run/in_memory.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { type BenchedModel, listModels } from "../fixtures/trained_models.ts";
import { type Column, formatPerplexity, markdownTable, NOT_MEASURED } from "./report/markdown_table.ts";

export interface ModelResult {
  readonly name: string;
  readonly seqlen: number;
  readonly calibrationWindows: number;
  readonly evaluationWindows: number;
  readonly dense: number;
  /** The names of the weights of all linear layers in the transformer blocks. */
  readonly layers: readonly string[];
  readonly cells: readonly CellResult[];
}

interface SolversOptions {
  readonly models?: string;
  readonly methods?: string;
  readonly again: boolean;
}

export const bench: Bench<SolversOptions, SolverResults> = {
  description: "all solvers on whole models, by the errors of the layers, perplexity and seconds",
  options: (command) =>
    command
      .option("--models <list>", "comma-separated names; all models on this machine by default")
      .option("--methods <list>", "comma-separated methods, as the tables name them; all by default")
      .option("--again", "measure the chosen cells again if the results file has them", false),
  async measure({ models: names, methods, again, backend }, { earlier, save }) {
    const chosen = names?.split(","), chosenMethods = methods?.split(",");
    const cells = listCells().filter(({ method }) => chosenMethods?.includes(method) ?? true);
    const models = (await listModels(console.error)).filter(({ name }) => chosen?.includes(name) ?? true);
    const results = new Map<string, ModelResult>(earlier?.models.map((model) => [model.name, model]));
    await using cleanup = new AsyncDisposableStack();
    const opened = cleanup.adopt(await openBackend(backend), (opened) => opened.dispose());
    const pruner = new DevicePruner(opened), device = { backend: opened.kind, adapter: opened.adapter.name };
    for (const model of models) {
      const stored = results.get(model.name);
      await benchModel(pruner, model, cells, again && stored ? withoutCells(stored, cells) : stored, {
        log: console.error,
        async save(result) {
          results.set(model.name, result);
          await save(device, { models: [...results.values()] });
        },
      });
    }
    return { models: [...results.values()] };
  },
  tables: {
    errors: errorTable,
    perplexity: perplexityTable,
    rounding: roundingTable,
    comparison: comparisonTable,
  },
};

/** The number of calibration windows of every model. If the text is too short, all windows that fit are used. */
const CALIBRATION_WINDOWS = 128;

/**
 * Measures the cells that are missing in `earlier`, the result of an earlier run. After each new cell, the
 * result with all cells so far is passed to `save`.
 * @param log receives one line of text per cell
 */
async function benchModel(
  pruner: DevicePruner,
  benched: BenchedModel,
  cells: readonly Cell[],
  earlier: ModelResult | undefined,
  { log, save }: { log(text: string): void; save(result: ModelResult): Promise<void> },
): Promise<void> {
  const { name, folder, seqlen, evaluationWindows } = benched;
  const missing = cells.filter(({ method, target }) => !earlier || !findCell(earlier, method, target));
  if (missing.length === 0) return log(`${name}: skipped, because earlier runs have measured all cells`);
  const texts = await benched.tokens();
  const windowCount = Math.min(CALIBRATION_WINDOWS, Math.floor(texts.calibration.length / seqlen));
  const windows = calibrationWindows(texts.calibration, { windows: windowCount, seqlen });
  await using opened = await openModelFolder(folder, denoFileSystem);
  const model = opened.model, evaluation = texts.evaluation;
  const evaluationOptions = { seqlen, windows: evaluationWindows };
  const layers = await collectDenseLayers(model, pruner.backend, windows);
  const dense = await computePerplexity(model, pruner.backend, evaluation, evaluationOptions);
  let result: ModelResult = {
    name,
    seqlen,
    calibrationWindows: windowCount,
    evaluationWindows,
    dense: dense.perplexity,
    layers: layers.map((layer) => layer.name),
    cells: earlier?.cells ?? [],
  };
  for (const cell of missing) {
    const title = `${name} ${cell.method} ${cell.target}`;
    const measured = await measureCell(
      pruner,
      { model, layers, windows, evaluation, evaluationOptions },
      cell,
    );
    const { perplexity, solveSeconds, refused } = measured;
    log(`${title}: ${refused ?? `perplexity ${perplexity?.toFixed(3)}, ${solveSeconds?.toFixed(2)} s`}`);
    result = { ...result, cells: [...result.cells, measured] };
    await save(result);
  }
}

/** Returns `result` without the figures of `cells`, so that these cells are measured again. */
export function withoutCells(result: ModelResult, cells: readonly Cell[]): ModelResult {
  const isListed = (measured: CellResult) =>
    cells.some(({ method, target }) => measured.method === method && measured.target === target);
  return { ...result, cells: result.cells.filter((measured) => !isListed(measured)) };
}

/** Returns the figures of one cell, or undefined if they were not measured. */
export function findCell({ cells }: ModelResult, method: string, target: string): CellResult | undefined {
  return cells.find((cell) => cell.method === method && cell.target === target);
}

/** A method or a target, and the parameters that choose it. */
interface Choice {
  readonly title: string;
  readonly query: LayerQuery;
}

/** One method at one target. */
interface Cell {
  readonly method: string;
  readonly target: string;
  readonly query: LayerQuery;
}

/** The method to which all others are compared. Their errors are divided by its error. */
const BASELINE = "SparseGPT";

/** The methods that prune, from the cheapest to the most expensive. */
const METHODS: readonly Choice[] = [
  { title: "magnitude", query: { method: "magnitude" } },
  { title: "Wanda", query: { method: "wanda" } },
  { title: "AdaPrune", query: { method: "adaprune" } },
  { title: BASELINE, query: { method: "sparsegpt" } },
  { title: "SparseGPT + refit", query: { method: "sparsegpt", refit: 10 } },
  { title: "ALPS fast", query: { method: "alps", effort: "fast" } },
  { title: "ALPS default", query: { method: "alps", effort: "default" } },
  { title: "ALPS best", query: { method: "alps", effort: "best" } },
  { title: "OBC", query: { method: "obc" } },
];

/** The targets that prune without rounding. */
export const TARGETS: readonly Choice[] = [
  { title: "50 %", query: { sparsity: 0.5 } },
  { title: "60 %", query: { sparsity: 0.6 } },
  { title: "70 %", query: { sparsity: 0.7 } },
  { title: "2:4", query: { pattern: "2:4" } },
  { title: "4:8", query: { pattern: "4:8" } },
];

/** The methods that are measured with rounding as well. */
const JOINT_METHODS: readonly string[] = [BASELINE, "SparseGPT + refit", "ALPS default", "ALPS best"];

/** The targets that prune and round the kept weights to one grid per output row. */
const JOINT_TARGETS: readonly Choice[] = [
  { title: "50 % + 4 bit", query: { sparsity: 0.5, bits: 4 } },
  { title: "2:4 + 4 bit", query: { pattern: "2:4", bits: 4 } },
];

const GPTQ = "GPTQ";

/** The targets of GPTQ, which only rounds. Each output row has one grid. */
const ROUNDING_TARGETS: readonly Choice[] = [
  { title: "4 bit", query: { bits: 4 } },
  { title: "3 bit", query: { bits: 3 } },
  { title: "2 bit", query: { bits: 2 } },
];

export function listCells(): Cell[] {
  const pruning = METHODS.flatMap((method) => TARGETS.map((target) => cellOf(method, target)));
  const joint = METHODS.filter(({ title }) => JOINT_METHODS.includes(title))
    .flatMap((method) => JOINT_TARGETS.map((target) => cellOf(method, target)));
  const gptq = { title: GPTQ, query: { method: "sparsegpt", sparsity: 0 } } as const;
  return [...pruning, ...joint, ...ROUNDING_TARGETS.map((target) => cellOf(gptq, target))];
}

function cellOf(method: Choice, target: Choice): Cell {
  return { method: method.title, target: target.title, query: { ...method.query, ...target.query } };
}

/** A linear layer of the dense model, which is the model before pruning. */
interface DenseLayer {
  /** The name of the layer's weight in the checkpoint. */
  readonly name: string;
  readonly weight: HostTensor;
  /** Σ x·xᵀ over the layer's calibration inputs x, as a packed upper triangle. */
  readonly hessian: HostTensor;
}

/** Runs the calibration of `pare prune` without changing a weight, and returns all layers. */
async function collectDenseLayers(
  model: Model,
  backend: Backend,
  windows: readonly Uint32Array[],
): Promise<DenseLayer[]> {
  const layers: DenseLayer[] = [];
  for await (
    const group of withStatisticsInHostMemory(calibratedModel(model, backend, { windows })).groups()
  ) {
    for (const { name, weight } of group.layers) {
      layers.push({ name, weight, hessian: group.hessian! });
      await group.replace(name, weight);
    }
  }
  return layers;
}

/** The figures of one cell on one model. */
export interface CellResult {
  readonly method: string;
  readonly target: string;
  /**
   * The relative errors tr(ΔHΔᵀ)/tr(WHWᵀ) of the layers, in the order of `ModelResult.layers`. W is the dense weight, Δ is its
   * change, and H = Σ x·xᵀ over the layer's inputs x in the dense model. An error is null if the method refuses the layer.
   */
  readonly errors: readonly (number | null)[];
  /** The reason why the method refused a layer. The whole model is not pruned then. Absent if all layers were solved. */
  readonly refused?: string;
  /** The perplexity after the model was pruned block by block. Null if the method refuses at least one layer. */
  readonly perplexity: number | null;
  /** The seconds of the factorisations, solves and refits of all layers, in the run that pruned the whole model. */
  readonly solveSeconds: number | null;
}

/** A model that is being measured, with its texts as token ids. */
interface MeasuredModel {
  readonly model: Model;
  readonly layers: readonly DenseLayer[];
  readonly windows: readonly Uint32Array[];
  readonly evaluation: Uint32Array;
  readonly evaluationOptions: { readonly seqlen: number; readonly windows: number };
}

/** Measures one cell. A refusal of a layer becomes part of the result. */
export async function measureCell(
  pruner: DevicePruner,
  { model, layers, windows, evaluation, evaluationOptions }: MeasuredModel,
  { method, target, query }: Cell,
): Promise<CellResult> {
  const errors: (number | null)[] = [];
  let refused: string | undefined;
  for (const layer of layers) {
    const outcome = await solveLayer(pruner, layer, query);
    if (typeof outcome === "string") refused = outcome;
    errors.push(typeof outcome === "string" ? null : outcome.relative_error);
  }
  if (refused) return { method, target, errors, refused, perplexity: null, solveSeconds: null };
  const timed = new TimedPruner(pruner);
  const pruned = await pruneInMemory(model, { ...query, error: false }, {
    pruner: timed,
    backend: pruner.backend,
    windows,
  });
  const { perplexity } = await computePerplexity(pruned, pruner.backend, evaluation, evaluationOptions);
  return { method, target, errors, perplexity, solveSeconds: timed.seconds };
}

/** Solves one layer and returns its report. If the layer is refused, returns the reason. */
async function solveLayer(
  pruner: DevicePruner,
  { weight, hessian }: DenseLayer,
  query: Cell["query"],
): Promise<Report | string> {
  try {
    return (await pruner.pruneLayer({ weight, hessian_upper: hessian }, query)).report;
  } catch (error) {
    if (!(error instanceof PareError) || error.status >= 500) throw error;
    return error.detail;
  }
}

/** Prunes a model with `pruner`, and adds up the seconds that the solvers take. */
class TimedPruner implements CalibratedPruner {
  seconds = 0;
  constructor(readonly pruner: CalibratedPruner) {}

  async *pruneModel(
    ...args: Parameters<CalibratedPruner["pruneModel"]>
  ): AsyncGenerator<PruneEvent, void, void> {
    for await (const event of this.pruner.pruneModel(...args)) {
      if (event.type === "layer") {
        const { factor, solve, refit } = event.report.seconds;
        this.seconds += factor + solve + refit;
      }
      yield event;
    }
  }
}

/** The errors of one method at one target, each divided by SparseGPT's error of the same layer. */
interface ErrorRatios {
  readonly geometricMean: number;
  /** The largest ratio, and the layer that has it. */
  readonly worst: { readonly ratio: number; readonly layer: string };
}

/**
 * Compares the errors of all layers of `models` with SparseGPT's.
 * @returns the ratios, or undefined if an error was not measured because a cell is missing or a layer was
 * refused
 */
export function errorRatios(
  models: readonly ModelResult[],
  method: string,
  target: string,
): ErrorRatios | undefined {
  const ratios: { ratio: number; layer: string }[] = [];
  for (const model of models) {
    const errors = findCell(model, method, target)?.errors;
    const baseline = findCell(model, BASELINE, target)?.errors;
    if (!errors || !baseline) return undefined;
    for (const [i, layer] of model.layers.entries()) {
      const error = errors[i], reference = baseline[i];
      if (error === null || reference === null) return undefined;
      ratios.push({ ratio: error / reference, layer: `${model.name} ${layer}` });
    }
  }
  if (ratios.length === 0) return undefined;
  const logarithms = ratios.reduce((total, { ratio }) => total + Math.log(ratio), 0);
  return {
    geometricMean: Math.exp(logarithms / ratios.length),
    worst: ratios.reduce((worst, next) => next.ratio > worst.ratio ? next : worst),
  };
}

export interface SolverResults {
  readonly models: readonly ModelResult[];
}

/** A row of a table: one method, on one model or on several. */
interface Row {
  readonly title: string;
  readonly models: readonly ModelResult[];
  readonly method: string;
  /** Whether this is the first row with this title. Only the first row shows the title. */
  readonly isFirst: boolean;
}

/** Whether a model is one of the three test models that were trained on State of the Union addresses. */
function isTestModel({ name }: ModelResult): boolean {
  return name.endsWith("-sotu");
}

/**
 * Renders the errors of each method. The error of each layer is divided by SparseGPT's error of the same
 * layer. A cell shows the geometric mean of these ratios, and the largest ratio in parentheses. The first
 * rows are about all layers of the test models together.
 */
function errorTable({ models }: SolverResults): string {
  const together = models.filter(isTestModel);
  const rows = [
    ...rowsOf(`the ${together.length} test models`, together),
    ...models.flatMap((model) => rowsOf(model.name, [model])),
  ];
  return methodTable(rows, ({ models, method }, target) => {
    const ratios = errorRatios(models, method, target);
    return ratios && `${formatRatio(ratios.geometricMean)} (${formatRatio(ratios.worst.ratio)})`;
  });
}

/** Renders the perplexity of the pruned models. The perplexity before pruning stands beside the name of the model. */
function perplexityTable({ models }: SolverResults): string {
  const rows = models.flatMap((model) => rowsOf(`${model.name}, ${formatPerplexity(model.dense)}`, [model]));
  return methodTable(rows, ({ models: [model], method }, target) => perplexityCell(model, method, target));
}

/** Renders the perplexity of models that are pruned and rounded in one pass, and of models that are only rounded. */
function roundingTable({ models }: SolverResults): string {
  const rows = [...JOINT_TARGETS, ...ROUNDING_TARGETS].flatMap(({ title: target }) =>
    [...METHODS.map(({ title }) => title), GPTQ].filter((method) =>
      models.some((model) => findCell(model, method, target))
    ).map((method) => ({ method, target }))
  );
  return markdownTable([
    ["method", ({ method }) => method],
    ["target", ({ target }) => target],
    ...models.map((model): Column<typeof rows[number]> => [
      model.name,
      ({ method, target }) => perplexityCell(model, method, target),
    ]),
  ], rows);
}

function perplexityCell(model: ModelResult, method: string, target: string): string {
  const perplexity = findCell(model, method, target)?.perplexity;
  return typeof perplexity === "number" ? formatPerplexity(perplexity) : NOT_MEASURED;
}

function rowsOf(title: string, models: readonly ModelResult[]): Row[] {
  return METHODS.map(({ title: method }, i) => ({ title, models, method, isFirst: i === 0 }));
}

function methodTable(
  rows: readonly Row[],
  cell: (row: Row, target: string) => string | undefined,
): string {
  const columns: Column<Row>[] = [
    ["model", ({ title, isFirst }) => isFirst ? title : ""],
    ["method", ({ method }) => method],
    ...TARGETS.map(({ title }): Column<Row> => [title, (row) => cell(row, title) ?? NOT_MEASURED]),
  ];
  return markdownTable(columns, rows);
}

/** Formats a ratio with three decimals, or with one decimal from 10 on. */
function formatRatio(ratio: number): string {
  return ratio < 10 ? ratio.toFixed(3) : ratio.toFixed(1);
}

/** The targets whose errors the table shows. */
const ERROR_TARGETS = ["50 %", "70 %", "2:4"];
/** The target whose perplexities and seconds the table shows. */
const TARGET = "50 %";

/**
 * Renders one row per method. The error of each layer is divided by SparseGPT's error of the same layer, and
 * the row shows the geometric mean of these ratios. It also shows the perplexities, and the seconds of
 * factorisations, solves and refits divided by SparseGPT's seconds.
 */
function comparisonTable(results: SolverResults): string {
  const models = results.models.filter(isTestModel);
  const columns: Column<string>[] = [
    ["method", (method) => method],
    ...ERROR_TARGETS.map((target): Column<string> => [
      `error, ${target}`,
      (method) => errorRatios(models, method, target)?.geometricMean.toFixed(2) ?? NOT_MEASURED,
    ]),
    ...models.map((model): Column<string> => [
      `${model.name}, ${TARGET}`,
      (method) => perplexityCell(model, method, TARGET),
    ]),
    ["× SparseGPT's time", (method) => {
      const seconds = solveSeconds(models, method), reference = solveSeconds(models, BASELINE);
      return seconds === undefined || !reference ? NOT_MEASURED : formatMultiple(seconds / reference);
    }],
  ];
  return markdownTable(columns, METHODS.map(({ title }) => title));
}

/** Adds up the seconds of one method on all models. Returns undefined if a model was not measured. */
function solveSeconds(models: readonly ModelResult[], method: string): number | undefined {
  let total = 0;
  for (const model of models) {
    const seconds = findCell(model, method, TARGET)?.solveSeconds;
    if (typeof seconds !== "number") return undefined;
    total += seconds;
  }
  return total;
}

function formatMultiple(multiple: number): string {
  return multiple < 9.95 ? multiple.toFixed(1) : multiple.toFixed(0);
}
