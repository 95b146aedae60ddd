/**
 * Writes the model card of a pruned model, which is the file `README.md` of its folder. Hugging Face's hub shows it as
 * the page of the model, and reads the metadata at its start. The card has no times, so the same run always has the
 * same card.
 */

import { printableLine } from "../../base/texts.ts";
import { BASE_HEADING, type BaseCard, END_OF_CARD } from "./base_card.ts";
import { RUN_REPORT_FILE } from "./file_names.ts";
import { bytesText, countText, divergenceText, numberText, shareText } from "./format.ts";
import type { RunReport } from "./run_report.ts";
import {
  changesOf,
  layerKind,
  meanError,
  parameterPairs,
  runTitle,
  sparsityOf,
  summarySentence,
} from "./summary.ts";

/** The model that was pruned. */
export interface CardSources {
  /** Its name on the hub, `OWNER/NAME`. Absent if it came from a folder. */
  readonly baseModel?: string;
  readonly baseCard: BaseCard;
}

/** Returns the text of the card. */
export function renderModelCard(run: RunReport, sources: CardSources): string {
  const body = sources.baseCard.body.trim();
  const parts = [
    metadata(run, sources),
    `# ${escaped(runTitle(run))}`,
    `Made with Pare ${escaped(run.version)}. ${escaped(summarySentence(run))}`,
    "## Method",
    table(["option", "value"], [...parameterPairs(run), ...calibrationPairs(run)]),
    ...run.allocation ? [escaped(run.allocation.notes.join(" "))] : [],
    "## Result",
    table(["layers", "number", "zeros", "mean relative error"], layerRows(run)),
    blockErrors(run),
    ...run.perplexity.length === 0 ? [] : [perplexities(run)],
    sizes(run),
    ...(run.warnings ?? []).map((warning) => `Warning: ${escaped(warning)}.`),
    `The file ${RUN_REPORT_FILE} has the numbers of each layer.`,
    ...run.command === undefined ? [] : [
      "## Command",
      "The command names files without their folders.",
      codeBlock(run.command),
    ],
    END_OF_CARD,
    ...body === "" ? [] : [BASE_HEADING, body],
  ];
  return parts.filter((part) => part !== "").join("\n\n") + "\n";
}

/** The hub's tags for what was done to the weights. */
const TAGS = { pruned: "pruned", rounded: "quantized", shrunk: "pruned" } as const;

/** Returns the metadata as YAML. All texts are in quotes as in JSON, which YAML reads in the same way. */
function metadata(run: RunReport, { baseModel, baseCard }: CardSources): string {
  const tags = ["pare", ...changesOf(run).map((change) => TAGS[change])];
  const settings = [
    ["library_name", "transformers"],
    ...baseModel === undefined ? [] : [["base_model", baseModel]],
    ...baseCard.licence,
  ];
  return [
    "---",
    ...settings.map(([name, value]) => `${name}: ${printableLine(JSON.stringify(value))}`),
    "tags:",
    ...tags.map((tag) => `- ${tag}`),
    "---",
  ].join("\n");
}

/** The pairs of a name and a value that describe the calibration. The texts are described by their digests. */
function calibrationPairs({ calibration }: RunReport): [string, string][] {
  const { samples, validation_samples: held, seqlen, seed, digest } = calibration;
  return [
    ["Calibration", `${countText(samples)} windows of ${countText(seqlen)} tokens`],
    ...held ? [["Held out", `${countText(held)} of these windows`] as [string, string]] : [],
    ["Seed of the windows", seed === null ? "none, they are evenly spaced" : String(seed)],
    ...digest === undefined ? [] : [["Calibration text", digest] as [string, string]],
  ];
}

/** One row per kind of layer, in the order of the model. */
function layerRows({ layers }: RunReport): string[][] {
  return [...Map.groupBy(layers, layerKind)].map(([kind, members]) => [
    kind,
    countText(members.length),
    shareText(sparsityOf(members)),
    numberText(meanError(members)),
  ]);
}

/** A sentence about the errors of the outputs of blocks on held-out windows. Empty if they were not measured. */
function blockErrors({ blocks = [] }: RunReport): string {
  const errors = blocks.flatMap(({ error }) => error ?? []);
  if (errors.length === 0) return "";
  const mean = errors.reduce((sum, error) => sum + error, 0) / errors.length;
  return "On the held-out windows, the squared error that pruning a block causes in its output, as a share of the squared norm of the " +
    `output, is ${numberText(mean)} in the mean over the blocks, and ${
      numberText(Math.max(...errors))
    } at most.`;
}

function perplexities({ perplexity }: RunReport): string {
  const rows = perplexity.map(({ text, windows, seqlen, dense, pruned, divergence }) => [
    text,
    `${countText(windows)} × ${countText(seqlen)}`,
    dense === null ? "–" : dense.toFixed(2),
    pruned === null ? "not finite" : pruned.toFixed(2),
    typeof divergence === "number" ? divergenceText(divergence) : "–",
  ]);
  return table(
    ["perplexity on", "windows × tokens", "base model", "this model", "KL divergence from the base model"],
    rows,
  );
}

function sizes({ bytes: { dense, written } }: RunReport): string {
  const before = dense === written ? "as before" : `instead of ${bytesText(dense)}`;
  return `The weight files have ${bytesText(written)}, ${before}.`;
}

/** Returns a table of Markdown. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map((row) => line(row.map(escaped)))].join("\n");
}

/** Returns a text in one line without meaning in Markdown or HTML. It must begin with a letter if it begins a line. */
function escaped(text: string): string {
  return printableLine(text).replace(/[\\`*_{}[\]<>#|!&~@$]|:(?=\/)/g, "\\$&");
}

/** Returns a block of code. Its fences are longer than any row of backticks in the text. */
function codeBlock(text: string): string {
  const longest = Math.max(0, ...[...text.matchAll(/`+/g)].map(([row]) => row.length));
  const fence = "`".repeat(Math.max(3, longest + 1));
  return `${fence}sh\n${text.split("\n").map(printableLine).join("\n")}\n${fence}`;
}
