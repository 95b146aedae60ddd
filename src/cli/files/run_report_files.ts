/** Reads the report in a pruned folder, and renders the files of the report for an unpacked or exported copy. */

import type { Checkpoint } from "../../model/checkpoint/checkpoint.ts";
import { repositoryOf } from "../../model/hub/reference.ts";
import { formatJson, readBytes, readJson } from "../../base/files/whole_file.ts";
import { ModelError } from "../../base/files/file_error.ts";
import type { BaseCard } from "../../prune/report/base_card.ts";
import {
  MODEL_CARD_FILE,
  REPORT_PAGE_FILE,
  RUN_REPORT_FILE,
  SHRINK_KIND,
} from "../../prune/report/file_names.ts";
import { renderModelCard } from "../../prune/report/model_card.ts";
import { asRunReport, type ShrinkReport, shrinkReportSchema } from "../../prune/shrink/shrink_report.ts";
import { isObject } from "../../base/json.ts";
import { type RunReport, runReportSchema } from "../../prune/report/run_report.ts";
import { z } from "zod";
import { denoFileSystem } from "./deno_file_system.ts";

/** The limits of a `pare.json`. It has about 700 bytes and 40 values per layer, and the largest models 70,000 layers. */
const REPORT_BOUNDS = { maxBytes: 256 << 20, maxValues: 2 ** 23 };

/** The longest model card that is read. Long cards have some 100 KB. */
const MAX_CARD_BYTES = 16 << 20;

export type Folder = Pick<Checkpoint, "folder" | "files">;

/** Reads the `pare.json` of `pare prune` in the folder of a checkpoint. @throws {ModelError} if it is malformed */
export function readRunReport(folder: Folder): Promise<RunReport | undefined> {
  return readReport(folder, runReportSchema, undefined);
}

/** Reads the `pare.json` of `pare shrink` in the folder of a checkpoint. @throws {ModelError} if it is malformed */
export function readShrinkReport(folder: Folder): Promise<ShrinkReport | undefined> {
  return readReport(folder, shrinkReportSchema, SHRINK_KIND);
}

/** Reads the `pare.json` of either command as a report of `pare prune`. @throws {ModelError} if it is malformed */
export async function readAnyReport(folder: Folder): Promise<RunReport | undefined> {
  const shrunk = await readShrinkReport(folder);
  return shrunk ? asRunReport(shrunk) : await readRunReport(folder);
}

/** Returns undefined if there is no report, or if it is of another kind. */
async function readReport<Schema extends z.ZodType>(
  { folder, files }: Folder,
  schema: Schema,
  kind: unknown,
): Promise<z.infer<Schema> | undefined> {
  if (!files.includes(RUN_REPORT_FILE)) return undefined;
  const path = `${folder}/${RUN_REPORT_FILE}`;
  const json = await readJson(denoFileSystem, path, REPORT_BOUNDS);
  if (isObject(json) && json.kind !== kind) return undefined;
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  throw new ModelError(`${path}: ${z.prettifyError(parsed.error)}`);
}

/** Reads a model card. Returns an empty text if there is none. @throws {ModelError} if it is longer than 16 MiB */
export async function readModelCard({ folder, files }: Folder): Promise<string> {
  if (!files.includes(MODEL_CARD_FILE)) return "";
  return new TextDecoder().decode(
    await readBytes(denoFileSystem, `${folder}/${MODEL_CARD_FILE}`, MAX_CARD_BYTES),
  );
}

/**
 * Returns the report for a copy of the output of `pare prune` that another command made. Without a fingerprint, the
 * copy does not count as a finished run, because it has other bytes.
 */
export function withoutFingerprint(run: RunReport | undefined): RunReport | undefined {
  return run && { ...run, fingerprint: undefined };
}

/**
 * Returns the texts of `pare.json`, `report.html` and `README.md`, by file name. The map is empty if there is no
 * report.
 * @param stored the format of the weights, and the bytes of the weight files
 * @param baseCard the model card of the model that was pruned
 */
export async function runReportFiles(
  run: RunReport | undefined,
  stored: Pick<RunReport, "format"> & { readonly written: number },
  baseCard: BaseCard,
): Promise<Map<string, string>> {
  if (!run) return new Map();
  const { format, written } = stored, bytes = { ...run.bytes, written };
  const changed: RunReport = { ...run, format, bytes };
  return await reportFiles(changed, changed, baseCard);
}

/** Returns the texts of the same files for a report of `pare shrink`. */
export function shrinkReportFiles(report: ShrinkReport, baseCard: BaseCard): Promise<Map<string, string>> {
  return reportFiles(report, asRunReport(report), baseCard);
}

/** @param run the report from which the page and the card are drawn */
async function reportFiles(
  report: unknown,
  run: RunReport,
  baseCard: BaseCard,
): Promise<Map<string, string>> {
  const { renderReport } = await import("../../prune/report/render.tsx"); // the drawing library loads slowly
  return new Map([
    [RUN_REPORT_FILE, formatJson(report)],
    [REPORT_PAGE_FILE, renderReport(run)],
    [MODEL_CARD_FILE, renderModelCard(run, { baseModel: repositoryOf(run.model.name), baseCard })],
  ]);
}
