/**
 * Measures how well pruned and rounded models predict three kinds of text that the calibration did not use, and how far their predictions
 * are from those of the dense model, by the commands `pare prune` and `pare eval --compare`, as a user would. The results file is written after each cell, and cells in the file are not measured again, so the bench
 * can be interrupted and continued cell by cell.
 */

import { integer } from "../../src/cli/options/common_options.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { loadTokenizer } from "../../src/model/tokenizer/tokenizer.ts";
import { readCalibration } from "../../src/prune/read_calibration.ts";
import type { SharedText } from "../../src/prune/texts/named_texts.ts";
import { RUN_REPORT_FILE } from "../../src/prune/report/file_names.ts";
import { runReportSchema } from "../../src/prune/report/run_report.ts";
import { findTexts, type Kind, KINDS, type Texts } from "../fixtures/trained_models.ts";
import { REAL_MODELS } from "../peers/real_model.ts";
import { peersSkipReason, VENVS } from "../peers/venv.ts";
import { writeNearest } from "../prune/write_nearest.ts";
import type { Bench } from "./bench.ts";
import { pareProcess } from "../processes/pare_process.ts";
import { lastLine, runLlmCompressor, writeWindows } from "./llm_compressor/programs.ts";
import { TARGETS } from "./measure/targets.ts";
import {
  CALIBRATIONS,
  type Cell,
  cellOptions,
  listCells,
  listQualityModels,
  METHODS,
  NEAREST,
  type QualityModel,
  skipReason,
} from "./quality/cells.ts";
import { costsTable } from "./quality/costs_table.ts";
import { pairsTable } from "./quality/pairs_table.ts";
import { threadSettings } from "./torch/thread_settings.ts";
import { type Column, formatPerplexity, markdownTable, NOT_MEASURED } from "./report/markdown_table.ts";

/** A figure is null if this machine has no such text, or if the figure is not finite. */
type Figures = Readonly<Record<Kind, number | null>>;

interface CellResult {
  /** The name of the {@link Cell}. */
  readonly name: string;
  /** The options of `pare prune` of the cell, or the recipe of llm-compressor. */
  readonly options: readonly string[];
  readonly perplexities: Figures;
  /** The mean of KL(dense ‖ model) over the tokens of each text, in nats. Absent in cells that were measured before the bench had it. */
  readonly divergences?: Figures;
  /** The geometric mean of the layers' errors on the calibration texts. Absent if the method needs no calibration. */
  readonly layerError?: number;
  /** The seconds of the process that pruned or rounded the model. */
  readonly seconds: number;
  /** The processor time of the same process. Absent for rounding to nearest and for llm-compressor. */
  readonly cpuSeconds?: number;
}

interface ModelResult {
  readonly name: string;
  readonly seqlen: number;
  readonly calibrationWindows: number;
  readonly evaluationWindows: number;
  readonly dense: Figures;
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
    "perplexity of pruned and rounded models, and KL divergence from the dense ones, on three kinds of unused text",
  options: (command) =>
    command
      .option(
        "--cells <pattern...>",
        "MODEL/CALIBRATION/TARGET/METHOD with wildcards, such as smollm2-rescaled/*/50/*",
        ["*/*/*/*"],
      )
      .option("--limit <n>", "measure at most n cells", integer(1))
      .option("--again", "measure the chosen cells again if the results file has them", false),
  async measure({ cells: patterns, limit = Infinity, again, backend }, { earlier, scratch, save }) {
    let results: QualityResults = { models: earlier?.models ?? [], cells: earlier?.cells ?? [] };
    let adapter = earlier?.adapter ?? "";
    const texts = await findTexts(scratch);
    for (const cell of listCells(await listQualityModels(), patterns)) {
      if (limit === 0) break;
      if (!again && results.cells.some(({ name }) => name === cell.name)) continue;
      const reason = skipReason(cell, texts) ??
        (METHODS[cell.method].modifier && await peersSkipReason(VENVS["llm-compressor"]));
      if (reason) {
        console.error(`${cell.name}: skipped, because ${reason}`);
        continue;
      }
      const setting = { texts, out: `${scratch}/out`, backend };
      if (!results.models.some(({ name }) => name === cell.model.name)) {
        results = { ...results, models: [...results.models, await measureDense(cell.model, setting)] };
      }
      const written = await writeModel(cell, setting).catch((error) => {
        if (METHODS[cell.method].modifier === undefined) throw error;
        console.error(`${cell.name}: skipped, because llm-compressor failed: ${error.message}`);
      });
      if (!written) continue;
      const { adapter: used = adapter, ...costs } = written;
      adapter = used;
      const [, figures] = await evaluate([cell.model.folder, setting.out], cell.model, setting);
      const result = {
        name: cell.name,
        options: cellOptions(cell.target, cell.method),
        ...figures,
        ...costs,
      };
      results = { ...results, cells: [...results.cells.filter(({ name }) => name !== cell.name), result] };
      await save({ backend, adapter }, results, earlier);
      console.error(
        `${cell.name}: ${KINDS.map((kind) => formatKind(result.perplexities, kind)).join(", ")}`,
      );
      limit--;
    }
    return results;
  },
  tables: {
    real: (results) => table(results, ({ model }) => model.name in REAL_MODELS),
    fixtures: (results) => table(results, ({ model }) => !(model.name in REAL_MODELS)),
    summary: (results) => table(results, isInSummary, ["target", "method", ...KINDS]),
    pairs: ({ cells }) => pairsTable(cells),
    costs: ({ cells }) => costsTable(cells),
  },
};

interface Setting {
  readonly texts: Texts;
  /** The folder of the pruned model. */
  readonly out: string;
  readonly backend: string;
}

async function measureDense(model: QualityModel, setting: Setting): Promise<ModelResult> {
  const { name, folder, seqlen, calibrationWindows, evaluationWindows } = model;
  const [{ perplexities: dense }] = await evaluate([folder], model, setting);
  return { name, seqlen, calibrationWindows, evaluationWindows, dense };
}

/** What is known of the model of a cell before its perplexity is measured. `adapter` is the device that Pare used. */
type WrittenModel = Pick<CellResult, "seconds" | "cpuSeconds" | "layerError"> & { readonly adapter?: string };

/** Writes the pruned or rounded model of a cell into `out`. */
async function writeModel(
  { model, calibration, target, method }: Cell,
  { texts, out, backend }: Setting,
): Promise<WrittenModel> {
  if (method === NEAREST) {
    const started = performance.now(), adapter = await writeNearest(model.folder, out, TARGETS[target].query);
    return { seconds: (performance.now() - started) / 1000, adapter };
  }
  const options = cellOptions(target, method);
  const shares = Object.entries(CALIBRATIONS[calibration]) as [Kind, number][];
  const shared = shares.map(([kind, share]) => ({ label: kind, path: texts[kind].calibration!, share }));
  if (METHODS[method].modifier) return { seconds: await runPeer(model, shared, out, options[0]) };
  const { seconds, cpuSeconds } = await pareProcess([
    ...["prune", model.folder, "--out", out, "--overwrite", "--backend", backend],
    ...shared.flatMap(({ path, share }) => {
      return ["--calibration", shared.length === 1 ? path : `${path}=${share}`];
    }),
    ...["--samples", String(model.calibrationWindows), "--seqlen", String(model.seqlen)],
    ...options,
  ]);
  const report = runReportSchema.parse(JSON.parse(await Deno.readTextFile(`${out}/${RUN_REPORT_FILE}`)));
  const errors = report.layers.flatMap(({ relative_error: error }) => error ? [Math.log(error)] : []);
  const layerError = Math.exp(errors.reduce((sum, error) => sum + error, 0) / errors.length);
  return { layerError, seconds, cpuSeconds, adapter: report.adapter };
}

/** Runs llm-compressor on the windows that `pare prune` takes from `calibration`. @returns the seconds of the process */
async function runPeer(
  { folder, seqlen, calibrationWindows: samples }: QualityModel,
  calibration: readonly SharedText[],
  out: string,
  recipe: string,
): Promise<number> {
  await denoFileSystem.removeFolder(out);
  const tokenizer = await loadTokenizer(folder, denoFileSystem), windowsFile = `${out}.json`;
  const { windows } = await readCalibration(tokenizer, { calibration, samples, seqlen }, denoFileSystem);
  await writeWindows(windowsFile, windows);
  const setting = { ...threadSettings()[0], dtype: "float32" } as const;
  return (await runLlmCompressor({ recipe }, { folder, windowsFile }, out, setting)).processSeconds;
}

/**
 * Measures models on all texts that this machine has, and compares all but the first with the first, whose divergences are null.
 */
async function evaluate(
  [first, ...others]: readonly string[],
  { seqlen, evaluationWindows }: QualityModel,
  { texts, backend }: Setting,
): Promise<Required<Pick<CellResult, "perplexities" | "divergences">>[]> {
  const files = KINDS.flatMap((kind) => texts[kind].evaluation ?? []);
  const windows = ["--seqlen", String(seqlen), "--windows", String(evaluationWindows)];
  const { models } = lastLine<EvalOutput>(
    await pareProcess([
      ...["eval", first, "--json", "--backend", backend, ...windows],
      ...others.flatMap((folder) => ["--compare", folder]),
      ...files.flatMap((file) => ["--text", file]),
    ]),
  );
  return models.map(({ texts: measured }) => {
    const figures = (figure: "perplexity" | "divergence") =>
      Object.fromEntries(
        KINDS.map((kind) => [kind, measured[files.indexOf(texts[kind].evaluation ?? "")]?.[figure] ?? null]),
      ) as Record<Kind, number | null>;
    return { perplexities: figures("perplexity"), divergences: figures("divergence") };
  });
}

/** What `pare eval --json` prints. Figures that are not finite are null. */
interface EvalOutput {
  readonly models: readonly {
    readonly texts: readonly { readonly perplexity: number | null; readonly divergence?: number | null }[];
  }[];
}

function formatKind(perplexities: Figures, kind: Kind): string {
  const value = perplexities[kind];
  return value === null ? NOT_MEASURED : formatPerplexity(value);
}

interface Row {
  readonly model: string;
  readonly target: string;
  readonly method: string;
  readonly calibration: string;
  readonly cell: Pick<CellResult, "perplexities" | "divergences" | "layerError">;
}

/** Whether a cell is in the short table: what a user gets without options on a real model, beside the simplest and the published methods and llm-compressor. */
function isInSummary({ model, calibration, target, method }: Cell<ModelResult>): boolean {
  return model.name === "smollm2-rescaled" && ["4bit-g32", "3bit-g32", "50", "2:4"].includes(target) &&
    calibration !== "mix" &&
    [NEAREST, "peer-gptq", "published", "default", "best"].includes(method);
}

/**
 * Renders one row per chosen cell that was measured. Models start with the row of the dense model.
 * @param columns the titles of the columns. @default all
 */
function table(
  { models, cells }: QualityResults,
  isChosen: (cell: Cell<ModelResult>) => boolean,
  columns?: readonly string[],
): string {
  const rows = models.flatMap((model): Row[] => {
    const chosen = listCells([model]).filter(isChosen).flatMap(
      ({ name, target, method, calibration }): Row[] => {
        const cell = cells.find((cell) => cell.name === name);
        const titles = { target: TARGETS[target].title, method: METHODS[method].title };
        return cell ? [{ model: model.name, ...titles, calibration, cell }] : [];
      },
    );
    const dense = {
      model: model.name,
      target: "dense",
      method: "",
      calibration: "",
      cell: { perplexities: model.dense },
    };
    return chosen.length === 0 ? [] : [dense, ...chosen];
  });
  const all: Column<Row>[] = [
    ["model", ({ model }) => model],
    ["target", ({ target }) => target],
    ["method", ({ method }) => method],
    ["calibrated on", ({ calibration }) => calibration],
    ["error of the layers", ({ cell }) => cell.layerError?.toPrecision(3) ?? ""],
    ...KINDS.map((kind): Column<Row> => [kind, ({ cell }) => formatKind(cell.perplexities, kind)]),
    ...KINDS.map((kind): Column<Row> => [
      `KL, ${kind}`,
      ({ cell: { divergences } }) => divergences?.[kind]?.toPrecision(3) ?? "",
    ]),
  ];
  const shown = all.filter(([title]) => columns?.includes(title) ?? true);
  return markdownTable(shown, rows, shown.findIndex(([title]) => title === "method"));
}
