/**
 * The record of one job, with the attempts and the outcome of each layer, or of each block of its model. In the methods
 * and the table, a block is a layer too. Each change increases the version number of the job. A layer with an outcome is
 * _settled_ and does not change any more. The record is deleted at the end of its lifetime.
 */

import type { Digest } from "../../protocol/digest.ts";
import type { Job, JobSummary, LayerState, Report } from "../../protocol/messages.ts";
import { JOB_STATES, type JobState } from "../../protocol/job_state.ts";
import type { JobBlock, JobLayer, JobModel, JobRequest } from "../../protocol/resources/jobs.ts";
import type { DurableObjectState, SqlValue } from "../runtime.ts";
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
   * the host of the previous block.
   */
  readonly lastHost?: string;
}

interface LayerAttempt extends AttemptHead {
  readonly layer: JobLayer;
  readonly model?: undefined;
}

/** An attempt at a block of the model. */
export interface BlockAttempt extends AttemptHead {
  readonly layer: JobBlock;
  readonly model: JobModel;
  /** The earlier blocks, which are all pruned. */
  readonly pruned: readonly PrunedBlock[];
}

export type PrunedBlock = Pick<JobBlock, "weight" | "parameters"> & Required<Pick<JobBlock, "result">>;

/** The comparison of a new request with the job that exists under its id, if any. */
export type JobMatch = "absent" | "same" | "conflict";

const CANCELLED = { code: "cancelled", detail: "the job was cancelled" };

/** The methods of the Durable Objects of the binding `JOB_RECORDS`. */
export class JobRecord {
  readonly #storage: DurableObjectState["storage"];
  readonly #lifetime: () => number;
  readonly #now: () => number;
  readonly #waiting = new Set<() => void>();
  #progressTime: number;

  /**
   * @param lifetime returns the number of milliseconds after which a new record is deleted
   * @param now returns milliseconds since 1970
   */
  constructor({ storage }: Pick<DurableObjectState, "storage">, lifetime: () => number, now = Date.now) {
    this.#storage = storage;
    this.#lifetime = lifetime;
    this.#now = now;
    this.#progressTime = now();
  }

  /**
   * Creates the job if it does not exist yet, and schedules its deletion.
   * @param digest the digest of the request. It distinguishes a repeated request from another request with the same id
   * @returns how the request compared with the job before the call
   */
  async create(id: string, digest: string, { name, layers, model }: JobRequest): Promise<JobMatch> {
    const [existing] = this.#job();
    if (existing) return existing.digest === digest ? "same" : "conflict";
    // A lifetime that is not valid throws before the job is recorded, because the job would never be deleted.
    const lifetime = this.#lifetime();
    this.#rows(
      "CREATE TABLE job (id TEXT, digest TEXT, name TEXT, state TEXT, created INTEGER, ended INTEGER, version INTEGER, model TEXT)",
    );
    this.#rows(`CREATE TABLE layers (position INTEGER PRIMARY KEY, spec TEXT, name TEXT, state TEXT,
      attempts INTEGER, host TEXT, report TEXT, result TEXT, error TEXT, version INTEGER)`);
    this.#rows(
      "INSERT INTO job VALUES (?, ?, ?, 'queued', ?, NULL, 1, ?)",
      id,
      digest,
      name ?? null,
      this.#now(),
      model ? JSON.stringify({ states: model.states, target: model.target }) : null,
    );
    const items: readonly (JobLayer | JobBlock)[] = layers ?? model?.blocks ?? [];
    for (const [position, item] of items.entries()) {
      this.#rows(
        "INSERT INTO layers VALUES (?, ?, ?, 'queued', 0, NULL, NULL, NULL, NULL, 1)",
        position,
        JSON.stringify(item),
        item.name,
      );
    }
    for (const [position, { result }] of model?.blocks.entries() ?? []) {
      if (result !== undefined) this.settleLayer(position, { result });
    }
    await this.#storage.setAlarm(this.#now() + lifetime);
    return "absent";
  }

  /** Returns the job, or undefined if it does not exist. */
  read(): VersionedJob | undefined {
    return this.changesAfter(0);
  }

  /** Returns the job with only the layers that have changed after `version`, or undefined if there is no job. */
  changesAfter(version: number): VersionedJob | undefined {
    const [row] = this.#job();
    if (!row) return undefined;
    const rows = this.#rows("SELECT * FROM layers WHERE version > ? ORDER BY position", version);
    const model: JobModel | undefined = parsed(row.model) ?? undefined;
    return {
      job: { ...jobHead(row), ...model && { model }, layers: rows.map(layerState) },
      version: Number(row.version),
    };
  }

  /**
   * Waits until layers have changed after `version`, but at most `milliseconds`. Returns the job with these layers, or
   * undefined if there is no job.
   */
  async waitForChanges(version: number, milliseconds: number): Promise<VersionedJob | undefined> {
    const changes = this.changesAfter(version);
    if (!changes || changes.version > version) return changes;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, milliseconds);
    this.#waiting.add(resolve);
    await promise;
    clearTimeout(timer);
    this.#waiting.delete(resolve);
    return this.changesAfter(version);
  }

  /** Returns the job without its layers, or undefined if it does not exist. */
  summary(): JobSummary | undefined {
    const [row] = this.#job();
    if (!row) return undefined;
    const counts = JOB_STATES.map((state) => [state, this.#count(state)]);
    return { ...jobHead(row), layers: Object.fromEntries(counts) };
  }

  /** Returns the number of layers, which is 0 if there is no job. */
  layerCount(): number {
    this.#noteProgress();
    return this.#exists() ? Number(this.#rows("SELECT COUNT(*) AS count FROM layers")[0].count) : 0;
  }

  /** Begins another attempt at the layer at `position`. Returns undefined if the layer is settled. */
  beginAttempt(position: number): Attempt | undefined {
    if (!this.isWanted(position)) return undefined;
    const [row] = this.#rows("SELECT spec, attempts, host FROM layers WHERE position = ?", position);
    const number = Number(row.attempts) + 1, version = this.#nextVersion();
    this.#rows("UPDATE job SET state = 'running' WHERE state = 'queued'");
    this.#rows(
      "UPDATE layers SET state = 'running', attempts = ?, version = ? WHERE position = ?",
      number,
      version,
      position,
    );
    const model = this.model(), layer = JSON.parse(String(row.spec));
    if (!model) return { layer, number, lastHost: textOf(row.host) };
    const before = this.#rows(
      "SELECT spec, result, host FROM layers WHERE position < ? ORDER BY position",
      position,
    );
    const pruned = before.map(({ spec, result }) => ({ ...parsed(spec), result: textOf(result)! }));
    const lastHost = textOf(row.host) ?? textOf(before.at(-1)?.host);
    return { layer, model, pruned, number, lastHost };
  }

  /** Returns the model whose blocks the job prunes, if it does. */
  model(): JobModel | undefined {
    return parsed(this.#job()[0]?.model) ?? undefined;
  }

  /** Records the host of the current attempt at a layer. */
  assignHost(position: number, host: string): void {
    if (!this.isWanted(position)) return;
    const [row] = this.#rows("SELECT host FROM layers WHERE position = ?", position);
    if (row.host === host) return;
    const version = this.#nextVersion();
    this.#rows("UPDATE layers SET host = ?, version = ? WHERE position = ?", host, version, position);
  }

  /** Whether the layer is not settled yet. */
  isWanted(position: number): boolean {
    this.#noteProgress();
    return this.#isOpen(position);
  }

  #isOpen(position: number): boolean {
    if (!this.#exists()) return false;
    const [row] = this.#rows("SELECT state FROM layers WHERE position = ?", position);
    return row?.state === "running" || row?.state === "queued";
  }

  /**
   * Records the outcome of a layer, unless it is settled already. The blocks after a block that has failed fail too. When
   * the last layer is settled, the job ends.
   */
  settleLayer(position: number, outcome: LayerOutcome): void {
    this.#noteProgress();
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

  /** Returns the milliseconds since the Workflow last called this object, or since the runtime loaded the object. */
  millisecondsSinceProgress(): number {
    return this.#now() - this.#progressTime;
  }

  /** Deletes the record. The runtime calls this method at the time that `create` has set. */
  async alarm(): Promise<void> {
    await this.#storage.deleteAll();
  }

  /** Records progress. Only methods that the Workflow of the job uses call this one. */
  #noteProgress(): void {
    this.#progressTime = this.#now();
  }

  #unsettled(): number[] {
    if (!this.#exists()) return [];
    const rows = this.#rows("SELECT position FROM layers WHERE state IN ('queued', 'running')");
    return rows.map(({ position }) => Number(position));
  }

  #settle(position: number, state: "done" | "failed" | "cancelled", outcome: LayerOutcome): void {
    if (!this.#isOpen(position)) return;
    const version = this.#nextVersion(), hasFailed = "error" in outcome;
    this.#rows(
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
    this.#rows("UPDATE job SET state = ?, ended = ?", final, this.#now());
  }

  #count(state: JobState): number {
    const [row] = this.#rows("SELECT COUNT(*) AS count FROM layers WHERE state = ?", state);
    return Number(row.count);
  }

  /** Whether the job exists. Its tables are created with it, so a request for an unknown job stores nothing. */
  #exists(): boolean {
    return this.#rows("SELECT name FROM sqlite_master WHERE name = 'job'").length > 0;
  }

  /** Returns the row of the job, or nothing if there is no job. */
  #job(): Record<string, SqlValue>[] {
    return this.#exists() ? this.#rows("SELECT * FROM job") : [];
  }

  #rows(query: string, ...values: SqlValue[]): Record<string, SqlValue>[] {
    return this.#storage.sql.exec(query, ...values).toArray();
  }

  /** Increases the version number of the job, and returns it. The requests that wait for a change continue after the change. */
  #nextVersion(): number {
    this.#rows("UPDATE job SET version = version + 1");
    for (const wake of this.#waiting) wake();
    return Number(this.#job()[0].version);
  }
}
