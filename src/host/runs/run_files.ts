/** The folder of a run: its record, its texts, the downloaded model, and the result. */

import type { WorkFileSystem } from "../../base/files/file_system.ts";
import { formatJson, readJson, writeAtomically } from "../../base/files/whole_file.ts";
import type { Run, RunRequest } from "../../protocol/resources/runs.ts";
import { runReportSchema } from "../../prune/report/run_report.ts";
import { RUN_REPORT_FILE } from "../../prune/report/file_names.ts";
import { OWN_TEXT } from "../../prune/texts/own_text.ts";

/** A run as `run.json` stores it, so that a restarted host continues it. */
export interface RunRecord {
  readonly owner: string;
  /** The digest of the request. A request with the same idempotency key must have it. */
  readonly digest: string;
  /** The request without its text, which is in a file of its own. */
  readonly request: RunRequest;
  /** The model for the command: a folder, or a commit of the hub. */
  readonly model: string;
  /** The disk space that is counted for the run. */
  bytes: number;
  run: Run;
}

/** The cache of the hub for this run alone, so that its bytes are counted and removed with the run. */
export const HUB_CACHE = "hub";

const RESULT = "result",
  RECORD = "run.json",
  TEXT = "calibration.txt",
  HELD_OUT = "text.txt",
  MAX_RECORD_BYTES = 1 << 20;

/** The least length of a text of which the last part is held out. A shorter part may have less than a window. */
const HELD_OUT_FROM = 128 * 2 ** 10, HELD_OUT_SHARE = 1 / 8;

/** The files of one run. */
export class RunFiles {
  readonly result: string;

  constructor(readonly fs: WorkFileSystem, readonly folder: string) {
    this.result = `${folder}/${RESULT}`;
  }

  /** Reads the record. Returns undefined if the host ended before the record was written. */
  async read(): Promise<RunRecord | undefined> {
    if (!(await this.fs.list(this.folder))?.includes(RECORD)) return undefined;
    return await readJson(this.fs, `${this.folder}/${RECORD}`, { maxBytes: MAX_RECORD_BYTES }) as RunRecord;
  }

  async write(record: RunRecord): Promise<void> {
    const stored = { ...record, run: { ...record.run, progress: null } };
    await writeAtomically(this.fs, `${this.folder}/${RECORD}`, new TextEncoder().encode(formatJson(stored)));
  }

  /** Creates the folder with the texts of a run: the part of the request's text to calibrate on, and the part that is held out. */
  async create(text = ""): Promise<void> {
    await this.fs.makeFolder(this.folder, 0o700);
    const start = text.length < HELD_OUT_FROM ? text.length : Math.ceil(text.length * (1 - HELD_OUT_SHARE));
    const parts = [[TEXT, text.slice(0, start)], [HELD_OUT, text.slice(start)]] as const;
    for (const [name, part] of parts) {
      if (part === "") continue;
      await writeAtomically(this.fs, `${this.folder}/${name}`, new TextEncoder().encode(part));
    }
  }

  /**
   * Returns the options that name the files of the command, which runs in this folder, so that the report shows no paths of the host. The
   * text that comes with Pare stands in for a text that the folder does not have.
   */
  async fileArguments(): Promise<string[]> {
    const names = await this.fs.list(this.folder) ?? [];
    const textOr = (name: string) => names.includes(name) ? name : OWN_TEXT;
    return ["--out", RESULT, "--calibration", textOr(TEXT), "--text", textOr(HELD_OUT)];
  }

  /** Reads the report of the finished command, and lists its files. */
  async readResult(): Promise<NonNullable<Run["result"]>> {
    const report = runReportSchema.parse(await readJson(this.fs, `${this.result}/${RUN_REPORT_FILE}`));
    const files = await Promise.all(
      (await this.fs.list(this.result) ?? []).map(async (name) => {
        const file = await this.fs.open(`${this.result}/${name}`), bytes = file.byteLength;
        await file.close();
        return { name, bytes };
      }),
    );
    const [measured] = report.perplexity;
    return {
      dense_bytes: report.bytes.dense,
      written_bytes: report.bytes.written,
      seconds: report.seconds.total,
      perplexity: measured
        ? { dense: measured.dense, pruned: measured.pruned, divergence: measured.divergence ?? null }
        : null,
      files,
    };
  }

  /** Removes the downloaded model, and after a failure the unfinished result too. */
  async removeUnneeded(hasFailed: boolean): Promise<void> {
    await this.fs.removeFolder(`${this.folder}/${HUB_CACHE}`);
    if (hasFailed) await this.fs.removeFolder(this.result);
  }
}
