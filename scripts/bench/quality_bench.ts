/**
 * Measures how well pruned and rounded models predict three kinds of text that the calibration did not use. A cell is one method for one
 * target, calibrated on one choice of texts. Each cell runs the commands `pare prune` and `pare eval`, as a user would. The results file is
 * written after each cell, and cells in the file are not measured again, so the bench can be interrupted and continued cell by cell. Methods
 * whose options this version of `pare prune` does not have are skipped with a message.
 */

import { matchesGlob } from "node:path";
import { integer } from "../../src/cli/options/common_options.ts";
import { PRESETS } from "../../src/cli/prune/named_options.ts";
import { declarePrune } from "../../src/cli/prune/prune_options.ts";
import { DEFAULT_DAMPING } from "../../src/protocol/limits.ts";
import { layerQuerySchema } from "../../src/protocol/parameters.ts";
import { RUN_REPORT_FILE } from "../../src/prune/report/file_names.ts";
import { runReportSchema } from "../../src/prune/report/run_report.ts";
import {
  type BenchedModel,
  findTexts,
  type Kind,
  KINDS,
  listModels,
  type Texts,
} from "../fixtures/trained_models.ts";
import { REAL_MODELS, realModelSkipReason } from "../peers/real_model.ts";
import { writeNearest } from "../prune/write_nearest.ts";
import type { Bench } from "./bench.ts";
import { lastLine, pareProcess } from "./llm_compressor/programs.ts";
import { type Column, formatPerplexity, markdownTable, NOT_MEASURED } from "./report/markdown_table.ts";

/** A part of the name of a cell, its title in the tables, and its options of `pare prune`. */
interface Part {
  readonly title: string;
  readonly options: readonly string[];
  /** Whether `pare prune` chooses what the options leave open, as for a user. By default those of {@link OFF} are off. */
  readonly isWhole?: boolean;
}

/** The texts of a calibration with their shares of the windows. */
const CALIBRATIONS: Readonly<Record<string, Readonly<Partial<Record<Kind, number>>>>> = {
  speeches: { speeches: 1 },
  mix: { speeches: 1, stories: 1 },
};

const rounding = (bits: number, group?: number) => [
  ...["--bits", String(bits)],
  ...group === undefined ? [] : ["--group-size", String(group)],
];

/** The targets. Without `--group-size` there is one grid per row. */
const TARGETS: Readonly<Record<string, Part>> = {
  "4bit-g32": { title: "4 bit, groups of 32", options: ["--sparsity", "0", ...rounding(4, 32)] },
  "3bit-g32": { title: "3 bit, groups of 32", options: ["--sparsity", "0", ...rounding(3, 32)] },
  "2bit-g32": { title: "2 bit, groups of 32", options: ["--sparsity", "0", ...rounding(2, 32)] },
  "4bit": { title: "4 bit", options: ["--sparsity", "0", ...rounding(4)] },
  "3bit": { title: "3 bit", options: ["--sparsity", "0", ...rounding(3)] },
  "2bit": { title: "2 bit", options: ["--sparsity", "0", ...rounding(2)] },
  "50": { title: "50 %", options: ["--sparsity", "0.5"] },
  "60": { title: "60 %", options: ["--sparsity", "0.6"] },
  "70": { title: "70 %", options: ["--sparsity", "0.7"] },
  "2:4": { title: "2:4", options: ["--pattern", "2:4"] },
  "4:8": { title: "4:8", options: ["--pattern", "4:8"] },
  "50+4bit": { title: "50 % + 4 bit", options: ["--sparsity", "0.5", ...rounding(4)] },
  "2:4+4bit": { title: "2:4 + 4 bit", options: ["--pattern", "2:4", ...rounding(4)] },
};

/** The method that needs no calibration. It is not a method of `pare prune`. */
const NEAREST = "nearest";

const UNIT = ["--token-weights", "unit"], HELD_OUT = ["--validation", "0.125"];

const METHODS: Readonly<Record<string, Part>> = {
  [NEAREST]: { title: "magnitude, rounded to nearest", options: [] },
  "published": { title: "SparseGPT and GPTQ, as published", options: ["--method", "sparsegpt"] },
  "unit": { title: "SparseGPT and GPTQ, equal tokens", options: ["--method", "sparsegpt", ...UNIT] },
  "unit-validation": {
    title: "SparseGPT and GPTQ, equal tokens, validation",
    options: ["--method", "sparsegpt", ...UNIT, ...HELD_OUT],
  },
  "unit-validation-ranges": {
    title: "SparseGPT and GPTQ, equal tokens, validation, searched ranges",
    options: ["--method", "sparsegpt", ...UNIT, ...HELD_OUT, "--ranges", "search"],
  },
  "unit-validation-target": {
    title: "SparseGPT and GPTQ, equal tokens, validation, targets",
    options: ["--method", "sparsegpt", ...UNIT, ...HELD_OUT, "--target", "dense"],
  },
  "alps": { title: "ALPS", options: ["--method", "alps"] },
  "alps-unit": { title: "ALPS, equal tokens", options: ["--method", "alps", ...UNIT] },
  "alps-validation": {
    title: "ALPS, equal tokens, validation",
    options: ["--method", "alps", ...UNIT, ...HELD_OUT],
  },
  "alps-target": {
    title: "ALPS, equal tokens, validation, targets",
    options: ["--method", "alps", ...UNIT, ...HELD_OUT, "--target", "dense"],
  },
  "alps-reconstruct": {
    title: "ALPS, equal tokens, validation, reconstruction",
    options: ["--method", "alps", ...UNIT, ...HELD_OUT, "--reconstruct", "5"],
  },
  "alps-target-reconstruct": {
    title: "ALPS, equal tokens, validation, targets, reconstruction",
    options: ["--method", "alps", ...UNIT, ...HELD_OUT, "--target", "dense", "--reconstruct", "5"],
  },
  ...Object.fromEntries(
    Object.keys(PRESETS).map((preset) => [
      preset,
      { title: `\`--preset ${preset}\``, options: ["--preset", preset], isWhole: true },
    ]),
  ),
};

/** The options that a method gets unless it sets them, so that a change of a default changes no cell. */
const OFF: readonly (readonly [option: string, value: string])[] = [
  ["--token-weights", "none"],
  ["--validation", "0"],
  ["--target", "none"],
  ["--reconstruct", "0"],
  ["--damping", String(DEFAULT_DAMPING)],
];

/** What is chosen for rounding only, as {@link OFF}. */
const ROUNDING_OFF: typeof OFF = [["--ranges", "minmax"]];

type Perplexities = Readonly<Record<Kind, number | null>>;

interface CellResult {
  /** MODEL/CALIBRATION/TARGET/METHOD. The calibration is `none` for a method that needs none. */
  readonly name: string;
  /** The options of `pare prune` without the texts and the folders. */
  readonly options: readonly string[];
  readonly perplexities: Perplexities;
  /** The geometric mean of the layers' errors on the calibration texts. Absent if the method needs no calibration. */
  readonly layerError?: number;
  /** The seconds of the process `pare prune`. */
  readonly seconds: number;
}

interface ModelResult {
  readonly name: string;
  readonly seqlen: number;
  readonly calibrationWindows: number;
  readonly evaluationWindows: number;
  readonly dense: Perplexities;
}

interface QualityResults {
  readonly models: readonly ModelResult[];
  readonly cells: readonly CellResult[];
}

interface QualityOptions {
  readonly cells: readonly string[];
  readonly limit?: number;
  readonly again: boolean;
}

export const bench: Bench<QualityOptions, QualityResults> = {
  description:
    "perplexity of pruned and rounded models on three kinds of unused text, by `pare prune` and `pare eval`",
  options: (command) =>
    command
      .option(
        "--cells <pattern...>",
        "MODEL/CALIBRATION/TARGET/METHOD with wildcards, such as smollm2/*/50/*",
        ["*/*/*/*"],
      )
      .option("--limit <n>", "measure at most n cells", integer(1))
      .option("--again", "measure the chosen cells again if the results file has them", false),
  async measure({ cells: patterns, limit = Infinity, again, backend }, { earlier, save }) {
    const scratch = await Deno.makeTempDir({ prefix: "pare-quality-" });
    let results: QualityResults = { models: earlier?.models ?? [], cells: earlier?.cells ?? [] };
    try {
      const texts = await findTexts(scratch);
      for (const cell of listCells(await listQualityModels(), patterns)) {
        if (limit === 0) break;
        if (!again && results.cells.some(({ name }) => name === cell.name)) continue;
        const reason = skipReason(cell, texts);
        if (reason) {
          console.error(`${cell.name}: skipped, because ${reason}`);
          continue;
        }
        const setting = { texts, out: `${scratch}/out`, backend };
        if (!results.models.some(({ name }) => name === cell.model.name)) {
          results = { ...results, models: [...results.models, await measureDense(cell.model, setting)] };
        }
        const { result, adapter } = await measureCell(cell, setting);
        results = { ...results, cells: [...results.cells.filter(({ name }) => name !== cell.name), result] };
        await save({ backend, adapter }, results);
        console.error(
          `${cell.name}: ${KINDS.map((kind) => formatKind(result.perplexities, kind)).join(", ")}`,
        );
        limit--;
      }
    } finally {
      await Deno.remove(scratch, { recursive: true });
    }
    return results;
  },
  tables: {
    real: (results) => table(results, ({ model }) => model in REAL_MODELS),
    fixtures: (results) => table(results, ({ model }) => !(model in REAL_MODELS)),
    summary: (results) => table(results, isInSummary, ["target", "method", ...KINDS]),
  },
};

/** The settings of a model. Windows are short enough that a cell of the real model takes less than two minutes on two cores. */
export type QualityModel = Pick<
  BenchedModel,
  "name" | "folder" | "seqlen" | "calibrationWindows" | "evaluationWindows"
>;

const REAL: readonly QualityModel[] = Object.entries(REAL_MODELS).map(([name, folder]) => (
  { name, folder, seqlen: 512, calibrationWindows: 32, evaluationWindows: 12 }
));

/** The number of windows of each text for the other models, so that all texts have enough tokens. */
const EVALUATION_WINDOWS = 64;

/** Lists the real models, unless they are missing, and the small ones. */
export async function listQualityModels(): Promise<QualityModel[]> {
  const reason = await realModelSkipReason();
  if (reason) console.error(`${Object.keys(REAL_MODELS).join(", ")}: skipped, because ${reason}`);
  const others = (await listModels(console.error)).map((model) => ({
    ...model,
    evaluationWindows: Math.min(EVALUATION_WINDOWS, model.evaluationWindows),
  }));
  return reason ? others : [...REAL, ...others];
}

export interface Cell {
  readonly name: string;
  readonly model: QualityModel;
  readonly calibration: string;
  readonly target: string;
  readonly method: string;
}

/** Lists the cells that match a pattern. */
export function listCells(models: readonly QualityModel[], patterns: readonly string[]): Cell[] {
  const cells = models.flatMap((model) =>
    Object.keys(TARGETS).flatMap((target) =>
      Object.keys(METHODS).flatMap((method) =>
        (method === NEAREST ? ["none"] : Object.keys(CALIBRATIONS)).map((calibration) => (
          { name: [model.name, calibration, target, method].join("/"), model, calibration, target, method }
        ))
      )
    )
  );
  return cells.filter(({ name }) => patterns.some((pattern) => matchesGlob(name, pattern)));
}

const PRUNE_OPTIONS: ReadonlySet<string> = new Set(
  declarePrune().options.map(({ long }) => long ?? ""),
);

/** Whether `--calibration` may be given several times. */
function mixesTexts(): boolean {
  const texts = ["--calibration", "a=1", "--calibration", "b=1"];
  return Array.isArray(
    declarePrune().parse(["model", "--out", "out", ...texts], { from: "user" }).opts().calibration,
  );
}

/** Returns the reason why this version of Pare or this machine cannot measure a cell. */
export function skipReason(
  { calibration, method }: Pick<Cell, "calibration" | "method">,
  texts: Texts,
  known: ReadonlySet<string> = PRUNE_OPTIONS,
): string | undefined {
  const missing = METHODS[method].options.find((option) => option.startsWith("--") && !known.has(option));
  if (missing) return `pare prune has no option ${missing}`;
  const kinds = Object.keys(CALIBRATIONS[calibration] ?? {}) as Kind[];
  if (kinds.length > 1 && !mixesTexts()) return "pare prune takes only one --calibration";
  const absent = kinds.find((kind) => texts[kind].calibration === undefined);
  return absent && `there is no calibration text of the kind ${absent}`;
}

interface Setting {
  readonly texts: Texts;
  /** The folder of the pruned model. */
  readonly out: string;
  readonly backend: string;
}

async function measureDense(model: QualityModel, setting: Setting): Promise<ModelResult> {
  const { name, folder, seqlen, calibrationWindows, evaluationWindows } = model;
  const dense = await measurePerplexities(folder, model, setting);
  return { name, seqlen, calibrationWindows, evaluationWindows, dense };
}

/** Measures one cell. `adapter` is the name of the device that pruned the model. */
async function measureCell(
  cell: Cell,
  setting: Setting,
): Promise<{ readonly result: CellResult; readonly adapter: string }> {
  const { name, model, calibration, target, method } = cell, { texts, out, backend } = setting;
  const options = cellOptions(target, method);
  if (method === NEAREST) {
    const started = performance.now(), adapter = await writeNearest(model.folder, out, queryOf(options));
    const seconds = (performance.now() - started) / 1000;
    const perplexities = await measurePerplexities(out, model, setting);
    return { result: { name, options, perplexities, seconds }, adapter };
  }
  const shares = Object.entries(CALIBRATIONS[calibration]) as [Kind, number][];
  const { seconds } = await pareProcess([
    ...["prune", model.folder, "--out", out, "--overwrite", "--backend", backend],
    ...shares.flatMap(([kind, share]) => {
      const text = texts[kind].calibration!;
      return ["--calibration", shares.length === 1 ? text : `${text}=${share}`];
    }),
    ...["--samples", String(model.calibrationWindows), "--seqlen", String(model.seqlen)],
    ...options,
  ]);
  const report = runReportSchema.parse(JSON.parse(await Deno.readTextFile(`${out}/${RUN_REPORT_FILE}`)));
  const errors = report.layers.flatMap(({ relative_error: error }) => error ? [Math.log(error)] : []);
  const layerError = Math.exp(errors.reduce((sum, error) => sum + error, 0) / errors.length);
  const perplexities = await measurePerplexities(out, model, setting);
  return { result: { name, options, perplexities, layerError, seconds }, adapter: report.adapter };
}

/** Returns the options of `pare prune` for a cell, without those that this version does not have. */
export function cellOptions(
  target: string,
  method: string,
  known: ReadonlySet<string> = PRUNE_OPTIONS,
): string[] {
  const chosen = [...TARGETS[target].options, ...METHODS[method].options];
  const { isWhole = false } = METHODS[method],
    off = [
      ...method === NEAREST || isWhole ? [] : OFF,
      ...chosen.includes("--bits") && !isWhole ? ROUNDING_OFF : [],
    ];
  return [
    ...chosen,
    ...off.flatMap(([option, value]) => known.has(option) && !chosen.includes(option) ? [option, value] : []),
  ];
}

/** Returns the parameters that options such as `--group-size 32` stand for. */
export function queryOf(options: readonly string[]): ReturnType<typeof layerQuerySchema.parse> {
  const entries = options.flatMap((option, i) =>
    i % 2 === 0 ? [[option.slice(2).replaceAll("-", "_"), options[i + 1]]] : []
  );
  return layerQuerySchema.parse(Object.fromEntries(entries));
}

/** Measures all texts that this machine has. The figure of a missing text, or one that is not finite, is null. */
async function measurePerplexities(
  folder: string,
  { seqlen, evaluationWindows }: QualityModel,
  { texts, backend }: Setting,
): Promise<Perplexities> {
  const files = KINDS.flatMap((kind) => texts[kind].evaluation ?? []);
  const windows = ["--seqlen", String(seqlen), "--windows", String(evaluationWindows)];
  const measured = lastLine<{ models: [{ texts: { perplexity: number | null }[] }] }>(
    await pareProcess([
      ...["eval", folder, "--json", "--backend", backend, ...windows],
      ...files.flatMap((file) => ["--text", file]),
    ]),
  );
  const [{ texts: values }] = measured.models;
  const valueOf = (kind: Kind) => values[files.indexOf(texts[kind].evaluation ?? "")]?.perplexity ?? null;
  return {
    speeches: valueOf("speeches"),
    stories: valueOf("stories"),
    encyclopedia: valueOf("encyclopedia"),
  };
}

function formatKind(perplexities: Perplexities, kind: Kind): string {
  const value = perplexities[kind];
  return value === null ? NOT_MEASURED : formatPerplexity(value);
}

interface Row {
  readonly model: string;
  readonly target: string;
  readonly method: string;
  readonly calibration: string;
  readonly cell: Pick<CellResult, "perplexities" | "layerError">;
}

/** The name of a cell in its parts. */
type CellParts = Readonly<Record<"model" | "calibration" | "target" | "method", string>>;

/** Whether a cell is in the short table: what a user gets without options on a real model, beside the simplest and the published methods. */
function isInSummary({ model, target, method, calibration }: CellParts): boolean {
  return model === "smollm2-rescaled" && ["4bit-g32", "50", "2:4", "dense"].includes(target) &&
    calibration !== "mix" &&
    [NEAREST, "published", "default", "best", ""].includes(method);
}

/**
 * Renders one row per chosen cell, in the order of the declarations. Models start with the row of the dense model.
 * @param columns the titles of the columns. @default all
 */
function table(
  { models, cells }: QualityResults,
  isChosen: (parts: CellParts) => boolean,
  columns?: readonly string[],
): string {
  const chosen = models.filter(({ name: model }) =>
    isChosen({ model, target: "dense", method: "", calibration: "" })
  );
  const rows = chosen.flatMap(({ name: model, dense }): Row[] => [
    { model, target: "dense", method: "", calibration: "", cell: { perplexities: dense } },
    ...Object.entries(TARGETS).flatMap(([target, { title }]) =>
      Object.entries(METHODS).flatMap(([method, { title: methodTitle }]) =>
        ["none", ...Object.keys(CALIBRATIONS)].flatMap((calibration) => {
          const cell = cells.find(({ name }) => name === [model, calibration, target, method].join("/"));
          return cell && isChosen({ model, target, method, calibration })
            ? [{ model, target: title, method: methodTitle, calibration, cell }]
            : [];
        })
      )
    ),
  ]);
  const first = (key: "model" | "target") => (row: Row) => {
    const above = rows[rows.indexOf(row) - 1];
    return above?.[key] === row[key] && above.model === row.model ? "" : row[key];
  };
  const all: Column<Row>[] = [
    ["model", first("model")],
    ["target", first("target")],
    ["method", ({ method }) => method],
    ["calibrated on", ({ calibration }) => calibration],
    ["error of the layers", ({ cell }) => cell.layerError?.toPrecision(3) ?? ""],
    ...KINDS.map((kind): Column<Row> => [kind, ({ cell }) => formatKind(cell.perplexities, kind)]),
  ];
  return markdownTable(all.filter(([title]) => columns?.includes(title) ?? true), rows);
}
