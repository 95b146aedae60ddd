/**
 * The record of one job, with the attempts and the outcome of each layer, or of each block of its model. In the methods
 * and the table, a block is a layer too. Each change increases the version number of the job. A layer with an outcome is
 * _settled_ and does not change any more.
 */

import type { Digest } from "../../protocol/digest.ts";
import type { Job, JobSummary, LayerState, Report } from "../../protocol/messages.ts";
import { JOB_STATES, type JobState } from "../../protocol/job_state.ts";
import type { JobBlock, JobLayer, JobModel, JobRequest } from "../../protocol/resources/jobs.ts";
import type { SqlStorage } from "../runtime.ts";
import { jobHead, layerState, parsed, textOf } from "./record_rows.ts";

/** The outcome of a layer: its report and the digest of its stored result, or its error. A block has no report. */
export type LayerOutcome =
  | { readonly report?: Report; readonly result: Digest }
  | { readonly error: NonNullable<LayerState["error"]> };

/** A job, or the part of it that has changed, with its version number. */
export interface VersionedJob {
  readonly job: Job;
  readonly version: number;
}

export type Attempt = LayerAttempt | BlockAttempt;

interface AttemptHead {
  /** The number of the attempt, counted from 1. */
  readonly number: number;
  /**
   * The id of the host of the previous attempt, which failed or was interrupted. Of the first attempt at a block, it is
   * the host of the block before.
   */
  readonly lastHost?: string;
}

/** An attempt at a layer. */
interface LayerAttempt extends AttemptHead {
  readonly layer: JobLayer;
  readonly model?: undefined;
}

/** An attempt at a block of the model. */
export interface BlockAttempt extends AttemptHead {
  readonly layer: JobBlock;
  readonly model: JobModel;
  /** The blocks before, which are all pruned. */
  readonly pruned: readonly PrunedBlock[];
}

export type PrunedBlock = Pick<JobBlock, "weight" | "parameters"> & Required<Pick<JobBlock, "result">>;

/** How a new request compares with the job that exists under its id, if any. */
export type JobMatch = "absent" | "same" | "conflict";

const CANCELLED = { code: "cancelled", detail: "the job was cancelled" };

export class JobRecord {
  readonly #now: () => number;

  /** @param now returns milliseconds since 1970 */
  constructor(private readonly sql: SqlStorage, now: () => number) {
    this.#now = now;
  }

  /**
   * Creates the job if it does not exist yet.
   * @param digest the digest of the request. It distinguishes a repeated request from another request with the same id
   * @returns how the request compared with the job before the call
   */
  create(id: string, digest: string, { name, layers, model }: JobRequest): JobMatch {
    const match = this.#compare(digest);
    if (match !== "absent") return match;
    this.sql.exec(
      "CREATE TABLE job (id TEXT, digest TEXT, name TEXT, state TEXT, created INTEGER, ended INTEGER, version INTEGER, model TEXT)",
    );
    this.sql.exec(`CREATE TABLE layers (position INTEGER PRIMARY KEY, spec TEXT, name TEXT, state TEXT,
      attempts INTEGER, host TEXT, report TEXT, result TEXT, error TEXT, version INTEGER)`);
    this.sql.exec(
      "INSERT INTO job VALUES (?, ?, ?, 'queued', ?, NULL, 1, ?)",
      id,
      digest,
      name ?? null,
      this.#now(),
      model ? JSON.stringify({ states: model.states, target: model.target }) : null,
    );
    const items: readonly (JobLayer | JobBlock)[] = layers ?? model?.blocks ?? [];
    for (const [position, item] of items.entries()) {
      this.sql.exec(
        "INSERT INTO layers VALUES (?, ?, ?, 'queued', 0, NULL, NULL, NULL, NULL, 1)",
        position,
        JSON.stringify(item),
        item.name,
      );
    }
    for (const [position, { result }] of model?.blocks.entries() ?? []) {
      if (result !== undefined) this.settleLayer(position, { result });
    }
    return match;
  }

  /** Returns the job, or undefined if it does not exist. */
  read(): VersionedJob | undefined {
    return this.changesAfter(0);
  }

  /** Returns the job with only the layers that have changed after `version`, or undefined if there is no job. */
  changesAfter(version: number): VersionedJob | undefined {
    if (!this.#exists()) return undefined;
    const [row] = this.sql.exec("SELECT * FROM job").toArray();
    const rows = this.sql.exec("SELECT * FROM layers WHERE version > ? ORDER BY position", version)
      .toArray();
    const model: JobModel | undefined = parsed(row.model) ?? undefined;
    return {
      job: { ...jobHead(row), ...model && { model }, layers: rows.map(layerState) },
      version: Number(row.version),
    };
  }

  /** Returns the job without its layers, or undefined if it does not exist. */
  summary(): JobSummary | undefined {
    if (!this.#exists()) return undefined;
    const [row] = this.sql.exec("SELECT * FROM job").toArray();
    const counts = JOB_STATES.map((state) => [state, this.#count(state)]);
    return { ...jobHead(row), layers: Object.fromEntries(counts) };
  }

  /** Returns the number of layers, which is 0 if there is no job. */
  layerCount(): number {
    if (!this.#exists()) return 0;
    return Number(this.sql.exec("SELECT COUNT(*) AS count FROM layers").toArray()[0].count);
  }

  /** Begins another attempt at the layer at `position`. Returns undefined if the layer is settled. */
  beginAttempt(position: number): Attempt | undefined {
    if (!this.isWanted(position)) return undefined;
    const [row] = this.sql.exec(
      "SELECT spec, attempts, host FROM layers WHERE position = ?",
      position,
    ).toArray();
    const number = Number(row.attempts) + 1, version = this.#nextVersion();
    this.sql.exec("UPDATE job SET state = 'running' WHERE state = 'queued'");
    this.sql.exec(
      "UPDATE layers SET state = 'running', attempts = ?, version = ? WHERE position = ?",
      number,
      version,
      position,
    );
    const model = this.model(), layer = JSON.parse(String(row.spec));
    if (!model) return { layer, number, lastHost: textOf(row.host) };
    const before = this.sql.exec(
      "SELECT spec, result, host FROM layers WHERE position < ? ORDER BY position",
      position,
    ).toArray();
    const pruned = before.map(({ spec, result }) => ({ ...parsed(spec), result: textOf(result)! }));
    const lastHost = textOf(row.host) ?? textOf(before.at(-1)?.host);
    return { layer, model, pruned, number, lastHost };
  }

  /** Returns the model whose blocks the job prunes, if it does. */
  model(): JobModel | undefined {
    if (!this.#exists()) return undefined;
    return parsed(this.sql.exec("SELECT * FROM job").toArray()[0].model) ?? undefined;
  }

  /** Records the host of the current attempt at a layer. */
  assignHost(position: number, host: string): void {
    if (!this.isWanted(position)) return;
    const [row] = this.sql.exec("SELECT host FROM layers WHERE position = ?", position).toArray();
    if (row.host === host) return;
    const version = this.#nextVersion();
    this.sql.exec("UPDATE layers SET host = ?, version = ? WHERE position = ?", host, version, position);
  }

  /** Whether the layer is not settled yet. */
  isWanted(position: number): boolean {
    if (!this.#exists()) return false;
    const [row] = this.sql.exec("SELECT state FROM layers WHERE position = ?", position).toArray();
    return row?.state === "running" || row?.state === "queued";
  }

  /**
   * Records the outcome of a layer, unless it is settled already. The blocks after a block that has failed fail too. When
   * the last layer is settled, the job ends.
   */
  settleLayer(position: number, outcome: LayerOutcome): void {
    const hasFailed = "error" in outcome;
    this.#settle(position, hasFailed ? "failed" : "done", outcome);
    if (!hasFailed || !this.model()) return;
    const error = { code: outcome.error.code, detail: "a block before this one has failed" };
    for (const later of this.#unsettled().filter((open) => open > position)) {
      this.#settle(later, "failed", { error });
    }
  }

  /** Settles every layer that is not settled yet, in the state `cancelled`. */
  cancel(): void {
    for (const position of this.#unsettled()) this.#settle(position, "cancelled", { error: CANCELLED });
  }

  #unsettled(): number[] {
    if (!this.#exists()) return [];
    const rows = this.sql.exec("SELECT position FROM layers WHERE state IN ('queued', 'running')").toArray();
    return rows.map(({ position }) => Number(position));
  }

  #settle(position: number, state: "done" | "failed" | "cancelled", outcome: LayerOutcome): void {
    if (!this.isWanted(position)) return;
    const version = this.#nextVersion(), hasFailed = "error" in outcome;
    this.sql.exec(
      "UPDATE layers SET state = ?, report = ?, result = ?, error = ?, version = ? WHERE position = ?",
      state,
      hasFailed || !outcome.report ? null : JSON.stringify(outcome.report),
      hasFailed ? null : outcome.result,
      hasFailed ? JSON.stringify(outcome.error) : null,
      version,
      position,
    );
    if (this.#count("queued") + this.#count("running") > 0) return;
    const final = this.#count("cancelled") > 0 ? "cancelled" : this.#count("failed") > 0 ? "failed" : "done";
    this.sql.exec("UPDATE job SET state = ?, ended = ?", final, this.#now());
  }

  #compare(digest: string): JobMatch {
    if (!this.#exists()) return "absent";
    const [existing] = this.sql.exec("SELECT digest FROM job").toArray();
    return existing.digest === digest ? "same" : "conflict";
  }

  #count(state: JobState): number {
    const [row] = this.sql.exec("SELECT COUNT(*) AS count FROM layers WHERE state = ?", state).toArray();
    return Number(row.count);
  }

  /** Whether the job exists. Its tables are created with it, so a request for an unknown job stores nothing. */
  #exists(): boolean {
    return this.sql.exec("SELECT name FROM sqlite_master WHERE name = 'job'").toArray().length > 0;
  }

  /** Increases the version number of the job, and returns it. */
  #nextVersion(): number {
    this.sql.exec("UPDATE job SET version = version + 1");
    return Number(this.sql.exec("SELECT version FROM job").toArray()[0].version);
  }
}
