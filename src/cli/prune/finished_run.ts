/** Recognises a finished run of `pare prune` or `pare shrink` in the output folder, so that the same command has nothing left to do. */

import { CONFIG_FILE, openCheckpoint } from "../../model/checkpoint/checkpoint.ts";
import { findWeightFiles } from "../../model/checkpoint/weight_files.ts";
import { ModelError } from "../../base/files/file_error.ts";
import type { WorkFileSystem } from "../../base/files/file_system.ts";
import { differences, OtherRunError, type RunFingerprint } from "../../prune/run/fingerprint.ts";
import { GGUF_FILE } from "../../prune/run/gguf_output.ts";
import { PruneRun } from "../../prune/run/prune_run.ts";
import { UsageError } from "../errors.ts";
import type { Folder } from "../files/run_report_files.ts";

/** The members of the report of a finished run that this file reads. */
interface FinishedReport {
  readonly fingerprint?: RunFingerprint;
  readonly bytes: { readonly written: number };
}

/**
 * Returns the report of the finished run in the folder `out`. Returns undefined if a run has to start or to
 * continue, because the folder is empty or has an unfinished run.
 * @param fingerprint the fingerprint of the command
 * @param read reads the report of the command, or returns undefined if another command wrote the report
 * @throws {OtherRunError} if the finished run has another fingerprint. The message names the differences
 * @throws {UsageError} if the folder has other files, or if weights of the finished run are missing
 */
export async function findFinishedRun<Report extends FinishedReport>(
  out: string,
  fingerprint: RunFingerprint,
  fs: WorkFileSystem,
  read: (folder: Folder) => Promise<Report | undefined>,
): Promise<Report | undefined> {
  const files = await fs.list(out) ?? [];
  if (files.length === 0 || await PruneRun.exists(fs, out)) return undefined;
  const report = files.includes(CONFIG_FILE) ? await read({ folder: out, files }) : undefined;
  if (!report?.fingerprint) {
    throw new UsageError(
      `option --out ${out}: is not empty, and has no run of this command; choose another folder, or add --overwrite`,
    );
  }
  const changes = differences(report.fingerprint, fingerprint);
  if (changes.length > 0) {
    throw new OtherRunError(
      `${out}: holds a finished run that differs from this one: ${changes.join("; ")}. ` +
        "Add --overwrite to replace it, or write to another folder",
    );
  }
  await requireWeights(out, files, report.bytes.written, fs);
  return report;
}

/** Checks that all weight files are there and have their full length. @param written the bytes of the weight files */
async function requireWeights(
  out: string,
  files: readonly string[],
  written: number,
  fs: WorkFileSystem,
): Promise<void> {
  try {
    if (!findWeightFiles(files) && files.includes(GGUF_FILE)) {
      await requireBytes(`${out}/${GGUF_FILE}`, written, fs);
    } else await (await openCheckpoint(out, fs)).close();
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    throw new UsageError(
      `option --out ${out}: holds a finished run that is damaged: ${error.message}. Add --overwrite to prune again`,
      { cause: error },
    );
  }
}

/** @throws {ModelError} if the file has another length */
async function requireBytes(path: string, expected: number, fs: WorkFileSystem): Promise<void> {
  const file = await fs.open(path), { byteLength } = file;
  await file.close();
  if (byteLength !== expected) {
    throw new ModelError(`${path}: has ${byteLength} bytes, but must have ${expected}`);
  }
}
