/**
 * The record of one job, which is a list of layers to prune. The record stores the attempts and the outcome
 * of each layer. Each change increases the version number of the job. A layer with an outcome is _settled_
 * and does not change any more. `run_job.ts` runs the job.
 */

import type { Digest } from "../../protocol/digest.ts";
import type { Job, JobError, JobLayer, JobState, LayerState } from "../../protocol/edge/jobs.ts";
import type { Report } from "../../protocol/report.ts";
import type { SqlStorage, SqlValue } from "../runtime/durable_object.ts";

/** The outcome of a layer: its report and the digest of its stored result, or its error. */
export type LayerOutcome =
  | { readonly report: Report; readonly result: Digest }
  | { readonly error: JobError };

/** A job, or the part of it that has changed, with its version number. */
export interface VersionedJob {
  readonly job: Job;
  readonly version: number;
}

/** An attempt at solving a layer. */
export interface Attempt {
  readonly layer: JobLayer;
  /** The number of the attempt, counted from 1. */
  readonly number: number;
}

/** The error of a layer that was not settled when its job was cancelled. */
const CANCELLED: JobError = { code: "cancelled", detail: "the job was cancelled" };

/** The record of one job, stored in SQL. */
export class JobRecord {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /**
   * Creates the job if it does not exist yet.
   * @param digest the digest of the request. It distinguishes a repeated request from another request with
   * the same id
   * @returns "created" if the job is new, "same" if the job exists with this digest, "conflict" if it exists
   * with another
   */
  create(id: string, digest: string, layers: readonly JobLayer[]): "created" | "same" | "conflict" {
    if (this.#exists()) {
      const [existing] = this.#sql.exec("SELECT digest FROM job").toArray();
      return existing.digest === digest ? "same" : "conflict";
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

  /** Returns the job, or undefined if it does not exist. */
  read(): VersionedJob | undefined {
    return this.changesAfter(0);
  }

  /** Returns the job with only the layers that have changed after `version`, or undefined if there is no job. */
  changesAfter(version: number): VersionedJob | undefined {
    if (!this.#exists()) return undefined;
    const [row] = this.#sql.exec("SELECT id, state, version FROM job").toArray();
    const rows = this.#sql.exec("SELECT * FROM layers WHERE version > ? ORDER BY position", version)
      .toArray();
    const job = { id: String(row.id), state: row.state as JobState, layers: rows.map(layerState) };
    return { job, version: Number(row.version) };
  }

  /** Returns the number of layers, which is 0 if there is no job. */
  layerCount(): number {
    if (!this.#exists()) return 0;
    return Number(this.#sql.exec("SELECT COUNT(*) AS count FROM layers").toArray()[0].count);
  }

  /** Begins another attempt at the layer at `position`. Returns undefined if the layer is settled. */
  beginAttempt(position: number): Attempt | undefined {
    if (!this.isWanted(position)) return undefined;
    const [row] = this.#sql.exec(
      "SELECT spec, attempts FROM layers WHERE position = ?",
      position,
    ).toArray();
    const number = Number(row.attempts) + 1, version = this.#nextVersion();
    this.#sql.exec("UPDATE job SET state = 'running' WHERE state = 'queued'");
    this.#sql.exec(
      "UPDATE layers SET state = 'running', attempts = ?, version = ? WHERE position = ?",
      number,
      version,
      position,
    );
    return { layer: JSON.parse(String(row.spec)), number };
  }

  /**
   * Whether the layer is still to be solved. False once the layer is settled. Cancelling the job settles its
   * layers.
   */
  isWanted(position: number): boolean {
    if (!this.#exists()) return false;
    const [row] = this.#sql.exec("SELECT state FROM layers WHERE position = ?", position).toArray();
    return row?.state === "running" || row?.state === "queued";
  }

  /** Records the outcome of a layer, unless it is settled already. When its last layer is settled, the job ends. */
  settleLayer(position: number, outcome: LayerOutcome): void {
    if (!this.isWanted(position)) return;
    const version = this.#nextVersion(), failed = "error" in outcome;
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

  /** Settles every layer that is not settled yet, with the error `cancelled`. */
  cancel(): void {
    if (!this.#exists()) return;
    const rows = this.#sql.exec("SELECT position FROM layers WHERE state IN ('queued', 'running')").toArray();
    for (const { position } of rows) this.settleLayer(Number(position), { error: CANCELLED });
  }

  /**
   * Whether the job exists. The tables are created only with the job, so a request for an unknown job stores
   * nothing.
   */
  #exists(): boolean {
    return this.#sql.exec("SELECT name FROM sqlite_master WHERE name = 'job'").toArray().length > 0;
  }

  /** Increases the version number of the job, and returns it. */
  #nextVersion(): number {
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
