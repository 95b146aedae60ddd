/**
 * The record of one job: its layers with their attempts and outcomes. Each change increases the version number. The record decides which
 * changes are allowed; for example, a settled layer does not change any more. `run_job.ts` runs the job.
 */

import type { Digest } from "../../protocol/digest.ts";
import type { Job, JobError, JobLayer, JobState, LayerState } from "../../protocol/jobs.ts";
import type { Report } from "../../protocol/report.ts";
import type { SqlStorage, SqlValue } from "../durable_objects/durable_object.ts";

/** The outcome of a layer. */
export type LayerOutcome = { readonly report: Report; readonly result: Digest } | {
  readonly error: JobError;
};

/** A job with its version number. */
export interface VersionedJob {
  readonly job: Job;
  readonly version: number;
}

/** An attempt at a layer. */
export interface Attempt {
  readonly layer: JobLayer;
  /** The number of the attempt, counted from 1. */
  readonly number: number;
}

/** The error of a cancelled layer. */
const CANCELLED: JobError = { code: "cancelled", detail: "the job was cancelled" };

/** The record of one job, stored in SQL. */
export class JobRecord {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** Creates the job, or compares `digest`, the digest of the request, with that of the existing job. */
  create(id: string, digest: string, layers: readonly JobLayer[]): "created" | "same" | "conflict" {
    if (this.#exists()) {
      const [known] = this.#sql.exec("SELECT digest FROM job").toArray();
      return known.digest === digest ? "same" : "conflict";
    }
    this.#sql.exec("CREATE TABLE job (id TEXT, digest TEXT, state TEXT, version INTEGER)");
    this.#sql.exec(`CREATE TABLE layers (position INTEGER PRIMARY KEY, spec TEXT, name TEXT, state TEXT,
      attempts INTEGER, report TEXT, result TEXT, error TEXT, version INTEGER)`);
    this.#sql.exec("INSERT INTO job VALUES (?, ?, 'queued', 1)", id, digest);
    for (const [position, layer] of layers.entries()) {
      this.#sql.exec(
        "INSERT INTO layers VALUES (?, ?, ?, 'queued', 0, NULL, NULL, NULL, 1)",
        position,
        JSON.stringify(layer),
        layer.name,
      );
    }
    return "created";
  }

  /** Returns the job, or undefined if there is none. */
  read(): VersionedJob | undefined {
    return this.changes(0);
  }

  /** Returns the job with the layers that changed after `version`. */
  changes(version: number): VersionedJob | undefined {
    if (!this.#exists()) return undefined;
    const [row] = this.#sql.exec("SELECT id, state, version FROM job").toArray();
    const rows = this.#sql.exec("SELECT * FROM layers WHERE version > ? ORDER BY position", version)
      .toArray();
    const job = { id: String(row.id), state: row.state as JobState, layers: rows.map(layerState) };
    return { job, version: Number(row.version) };
  }

  /** How many layers it has. */
  size(): number {
    if (!this.#exists()) return 0;
    return Number(this.#sql.exec("SELECT COUNT(*) AS size FROM layers").toArray()[0].size);
  }

  /** Begins another attempt at a layer; undefined where it is settled. */
  begin(position: number): Attempt | undefined {
    if (!this.isWanted(position)) return undefined;
    const [row] = this.#sql.exec(
      "SELECT spec, attempts FROM layers WHERE position = ?",
      position,
    ).toArray();
    const number = Number(row.attempts) + 1, version = this.#change();
    this.#sql.exec("UPDATE job SET state = 'running' WHERE state = 'queued'");
    this.#sql.exec(
      "UPDATE layers SET state = 'running', attempts = ?, version = ? WHERE position = ?",
      number,
      version,
      position,
    );
    return { layer: JSON.parse(String(row.spec)), number };
  }

  /** Whether the layer is still to be solved. It is not after its job was cancelled. */
  isWanted(position: number): boolean {
    if (!this.#exists()) return false;
    const [row] = this.#sql.exec("SELECT state FROM layers WHERE position = ?", position).toArray();
    return row?.state === "running" || row?.state === "queued";
  }

  /** Records the outcome of a layer. The job ends with its last layer. Has no effect on a layer that has an outcome. */
  settle(position: number, outcome: LayerOutcome): void {
    if (!this.isWanted(position)) return;
    const version = this.#change(), failed = "error" in outcome;
    this.#sql.exec(
      "UPDATE layers SET state = ?, report = ?, result = ?, error = ?, version = ? WHERE position = ?",
      failed ? "failed" : "done",
      failed ? null : JSON.stringify(outcome.report),
      failed ? null : outcome.result,
      failed ? JSON.stringify(outcome.error) : null,
      version,
      position,
    );
    const count = (where: string) =>
      Number(this.#sql.exec(`SELECT COUNT(*) AS count FROM layers WHERE ${where}`).toArray()[0].count);
    if (count("state IN ('queued', 'running')") > 0) return;
    this.#sql.exec("UPDATE job SET state = ?", count("state = 'failed'") > 0 ? "failed" : "done");
  }

  /** Fails every layer that has no outcome yet. */
  cancel(): void {
    if (!this.#exists()) return;
    const rows = this.#sql.exec("SELECT position FROM layers WHERE state IN ('queued', 'running')").toArray();
    for (const { position } of rows) this.settle(Number(position), { error: CANCELLED });
  }

  /** Whether the job exists. Its tables are created with it, so asking for an unknown job stores nothing. */
  #exists(): boolean {
    return this.#sql.exec("SELECT name FROM sqlite_master WHERE name = 'job'").toArray().length > 0;
  }

  #change(): number {
    this.#sql.exec("UPDATE job SET version = version + 1");
    return Number(this.#sql.exec("SELECT version FROM job").toArray()[0].version);
  }
}

function layerState(row: Record<string, SqlValue>): LayerState {
  const parsed = (value: SqlValue) => value === null ? null : JSON.parse(String(value));
  return {
    name: String(row.name),
    state: row.state as JobState,
    attempts: Number(row.attempts),
    report: parsed(row.report),
    result: row.result === null ? null : String(row.result),
    error: parsed(row.error),
  };
}
