/**
 * Measures GGUF files of equal size: those that `pare prune --for` writes, and those of llama.cpp's own quantisation, without
 * and with an importance matrix. Each file is compared with the dense model by its perplexity on texts that no method used, and by the KL divergence
 * of its predictions, which `divergence.py` defines. One engine computes all files. A cell is one method for one type of one model.
 * The results file is written after each cell, and cells in the file are not measured again.
 */

import { matchesGlob } from "node:path";
import { fileURLToPath } from "node:url";
import { integer } from "../../src/cli/options/common_options.ts";
import { denoFileSystem as fs } from "../../src/cli/files/deno_file_system.ts";
import type { PresetName } from "../../src/cli/prune/named_options.ts";
import { sotuText } from "../fixtures/sotu_text.ts";
import { findTexts, fixtureModel, KINDS, type Texts } from "../fixtures/trained_models.ts";
import { LLAMA_LIBRARIES, llamaCppSkipReason } from "../peers/npm/llama_cpp.ts";
import { PeerScript } from "../peers/peer_script.ts";
import type { Bench } from "./bench.ts";
import { pareProcess } from "../processes/pare_process.ts";
import { listQualityModels, type QualityModel } from "./quality/cells.ts";
import {
  type Comparison,
  type EvaluationWindows,
  type Figures,
  readEvaluationWindows,
} from "./measure/compare_predictions.ts";
import { type Column, formatPerplexity, markdownTable, NOT_MEASURED } from "./report/markdown_table.ts";

/** A LLaMA whose rows are whole super-blocks of 256 weights. This bench trains it from llama-sotu on first use, in some minutes. */
const WIDE = "llama-wide", NARROW = "llama-sotu";

const WIDE_FOLDER = fileURLToPath(new URL("../../.cache/llama-wide", import.meta.url));

/** The largest number of windows of each text. */
const EVALUATION_WINDOWS = 32;

const BLOCK_TYPES = ["Q8_0", "Q5_0", "Q4_0"], K_TYPES = ["Q6_K", "Q4_K", "Q3_K", "Q2_K"];

/** The types by the models that are measured with them. K types need rows of whole super-blocks. */
const MODELS: Readonly<Record<string, readonly string[]>> = {
  "smollm2-rescaled": ["Q4_0"],
  "bloom-sotu": ["Q4_0"],
  "llama-sotu": BLOCK_TYPES,
  [WIDE]: [...BLOCK_TYPES, ...K_TYPES],
};

/** How a method makes its file. */
interface Method {
  readonly title: string;
  write(type: string, paths: Paths): Promise<unknown>;
}

/** The options and files of a cell. */
interface Paths {
  readonly folder: string;
  /** The dense model in F32, the source of llama.cpp. */
  readonly source: string;
  readonly imatrix: string;
  /** The options of `pare prune` that say what to calibrate on. */
  readonly calibration: readonly string[];
  readonly scratch: string;
  /** The file to write. */
  readonly out: string;
}

const METHODS: Readonly<Record<string, Method>> = {
  "llama": { title: "llama.cpp", write: (type, { source, out }) => llamaQuantize({ type, source, out }) },
  "llama-imatrix": {
    title: "llama.cpp, importance matrix",
    write: (type, { source, imatrix, out }) => llamaQuantize({ type, source, imatrix, out }),
  },
  "pare": { title: "`pare prune`", write: (type, paths) => prune(type, paths, "default") },
  "pare-best": {
    title: "`pare prune --preset best`",
    write: (type, paths) => prune(type, paths, "best"),
  },
};

interface CellResult extends Comparison {
  /** MODEL/TYPE/METHOD */
  readonly name: string;
  readonly bytes: number;
  /** The seconds in which the file was made. */
  readonly seconds: number;
}

interface ExportResults {
  /** The perplexities of the dense models by name. */
  readonly dense: Readonly<Record<string, Figures>>;
  readonly cells: readonly CellResult[];
}

interface ExportOptions {
  readonly cells: readonly string[];
  readonly limit?: number;
}

export const bench: Bench<ExportOptions, ExportResults> = {
  description:
    "perplexity and KL divergence of GGUF files by Pare and by llama.cpp, without and with an importance matrix",
  options: (command) =>
    command
      .option("--cells <pattern...>", "MODEL/TYPE/METHOD with wildcards, such as llama-wide/Q2_K/*", [
        "*/*/*",
      ])
      .option("--limit <n>", "measure at most n cells", integer(1)),
  async measure({ cells: patterns, limit = Infinity }, { earlier, scratch, save }) {
    const problem = await llamaCppSkipReason();
    if (problem) throw new Error(problem);
    let results: ExportResults = { dense: earlier?.dense ?? {}, cells: earlier?.cells ?? [] };
    await using judge = new PeerScript("bench/divergence");
    const texts = await findTexts(scratch);
    for (const model of await listModels()) {
      const wanted = cellNames(model.name).filter((name) =>
        patterns.some((pattern) => matchesGlob(name, pattern)) &&
        !results.cells.some((cell) => cell.name === name)
      ).slice(0, limit);
      if (wanted.length === 0) continue;
      limit -= wanted.length;
      if (model.name === WIDE) await trainWide(scratch);
      const { paths, windows } = await prepare(model, texts, scratch), { folder, out } = paths;
      const { perplexities } = await checkSource(judge, { folder, model: paths.source, windows });
      results = { ...results, dense: { ...results.dense, [model.name]: perplexities } };
      for (const name of wanted) {
        const [, type, method] = name.split("/"), started = performance.now();
        await METHODS[method].write(type, paths);
        const seconds = (performance.now() - started) / 1000, bytes = (await Deno.stat(out)).size;
        const quality = await judge.ask<Comparison>({ folder, model: out, windows });
        console.error(`${name}: ${bytes} bytes, ${JSON.stringify(quality)}`);
        results = { ...results, cells: [...results.cells, { name, bytes, seconds, ...quality }] };
        const device = { backend: "cpu", adapter: "PyTorch, which computes all files in float32" };
        await save(device, results, earlier);
      }
    }
    return results;
  },
  tables: {
    all: table,
  },
};

function cellNames(model: string): string[] {
  return MODELS[model].flatMap((type) => Object.keys(METHODS).map((method) => `${model}/${type}/${method}`));
}

/** Trains the wide model if it is missing. */
async function trainWide(scratch: string): Promise<void> {
  if (await fs.list(WIDE_FOLDER)) return;
  const text = `${scratch}/training.txt`, sizes = { hidden: 256, heads: 8, steps: 200 };
  const out = `${WIDE_FOLDER}.part`;
  await Deno.writeTextFile(text, await sotuText("training"));
  console.error(`training ${WIDE_FOLDER}`);
  await askOnce("bench/widen_model", { folder: fixtureModel(NARROW).folder, text, ...sizes, out });
  await Deno.rename(out, WIDE_FOLDER);
}

/** Lists the models of this machine, and the wide one. */
async function listModels(): Promise<QualityModel[]> {
  const models = (await listQualityModels()).filter(({ name }) => name in MODELS);
  const { seqlen, calibrationWindows, evaluationWindows } = models.find(({ name }) => name === NARROW)!;
  return [...models, { name: WIDE, folder: WIDE_FOLDER, seqlen, calibrationWindows, evaluationWindows }];
}

/** Writes the files that the methods need, and reads the windows of all texts that this machine has. */
async function prepare(
  { folder, seqlen, calibrationWindows, evaluationWindows }: QualityModel,
  texts: Texts,
  scratch: string,
): Promise<{ readonly paths: Paths; readonly windows: EvaluationWindows }> {
  const count = Math.min(EVALUATION_WINDOWS, evaluationWindows);
  const windows = await readEvaluationWindows({ folder, seqlen, evaluationWindows: count }, texts);
  const counts = ["--samples", String(calibrationWindows), "--seqlen", String(seqlen)];
  const calibration = ["--calibration", texts.speeches.calibration!, ...counts];
  const [source, imatrix, out] = ["dense", "imatrix", "cell"].map((name) => `${scratch}/${name}.gguf`);
  const paths: Paths = { folder, source, imatrix, calibration, scratch, out };
  await pareProcess(["export", folder, "--format", "gguf:f32", "--out", source, "--overwrite"]);
  const unchanged = [
    ...["--method", "magnitude", "--sparsity", "0"],
    "--out",
    `${scratch}/unchanged`,
    "--overwrite",
  ];
  await pareProcess(["prune", folder, ...calibration, ...unchanged, "--imatrix", imatrix]);
  return { paths, windows };
}

/** Proves that the file in F32 predicts what the dense model predicts, and measures the dense model. */
async function checkSource(judge: PeerScript, request: object): Promise<Comparison> {
  const quality = await judge.ask<Comparison>(request);
  for (const [kind, divergence] of Object.entries(quality.divergences)) {
    if (!(Math.abs(divergence!) < 1e-6)) {
      throw new Error(`${kind}: the divergence of the file in F32 must be below 1e-6, not ${divergence}`);
    }
  }
  return quality;
}

async function prune(
  type: string,
  { folder, calibration, scratch, out }: Paths,
  preset: PresetName,
): Promise<void> {
  const target = ["--sparsity", "0", "--for", `gguf:${type.toLowerCase()}`, "--preset", preset];
  const pruned = `${scratch}/pruned`, output = ["--out", pruned, "--overwrite", "--backend", "cpu"];
  await pareProcess(["prune", folder, ...calibration, ...target, ...output]);
  await Deno.rename(`${pruned}/model.gguf`, out);
}

function llamaQuantize(request: Readonly<Record<"type" | "source" | "out", string>> & { imatrix?: string }) {
  return askOnce("bench/llama_quantize", { libraries: LLAMA_LIBRARIES, ...request });
}

async function askOnce(script: string, request: object): Promise<void> {
  await using process = new PeerScript(script);
  await process.ask(request);
}

interface Row {
  readonly model: string;
  readonly type: string;
  readonly method: string;
  readonly cell: Pick<CellResult, "perplexities"> & Partial<CellResult>;
}

/** Renders the dense model and one row per cell, in the order of the declarations. */
function table({ dense, cells }: ExportResults): string {
  const rows = Object.keys(MODELS).filter((model) => model in dense).flatMap((model): Row[] => [
    { model, type: "dense", method: "", cell: { perplexities: dense[model] } },
    ...cellNames(model).flatMap((name) => {
      const cell = cells.find((cell) => cell.name === name), [, type, method] = name.split("/");
      return cell ? [{ model, type, method: METHODS[method].title, cell }] : [];
    }),
  ]);
  return markdownTable<Row>(
    [
      ["model", ({ model }) => model],
      ["type", ({ type }) => type],
      ["method", ({ method }) => method],
      ["bytes", ({ cell }) => cell.bytes?.toLocaleString("en") ?? ""],
      ...KINDS.map((kind): Column<Row> => [
        kind,
        ({ cell }) => format(cell.perplexities[kind], formatPerplexity),
      ]),
      ...KINDS.map((kind): Column<Row> => [
        `KL, ${kind}`,
        ({ cell }) => cell.divergences ? format(cell.divergences[kind], (nats) => nats.toPrecision(3)) : "",
      ]),
    ],
    rows,
    2,
  );
}

function format(value: number | undefined, render: (value: number) => string): string {
  return value === undefined ? NOT_MEASURED : render(value);
}
