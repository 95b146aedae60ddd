/** Recognises a finished run of `pare prune` or `pare shrink` in the output folder, so that the same command has nothing left to do. */

import { CONFIG_FILE, openCheckpoint } from "../../model/checkpoint/checkpoint.ts";
import { ModelError } from "../../base/files/file_error.ts";
import type { WorkFileSystem } from "../../base/files/file_system.ts";
import { differences, OtherRunError, type RunFingerprint } from "../../prune/run/fingerprint.ts";
import { PruneRun } from "../../prune/run/prune_run.ts";
import { UsageError } from "../errors.ts";
import type { Folder } from "../files/run_report_files.ts";

/**
 * Returns the report of the finished run in the folder `out`. Returns undefined if a run has to start or to
 * continue, because the folder is empty or has an unfinished run.
 * @param fingerprint the fingerprint of the command
 * @param read reads the report of the command, or returns undefined if another command wrote the report
 * @throws {OtherRunError} if the finished run has another fingerprint. The message names the differences
 * @throws {UsageError} if the folder has other files, or if weights of the finished run are missing
 */
export async function findFinishedRun<Report extends { readonly fingerprint?: RunFingerprint }>(
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
  await requireWeights(out, fs);
  return report;
}

/** Checks that all weight files are there and have their full length. */
async function requireWeights(out: string, fs: WorkFileSystem): Promise<void> {
  try {
    await (await openCheckpoint(out, fs)).close();
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    throw new UsageError(
      `option --out ${out}: holds a finished run that is damaged: ${error.message}. Add --overwrite to prune again`,
      { cause: error },
    );
  }
}
