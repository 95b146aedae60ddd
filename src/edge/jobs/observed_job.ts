/**
 * The record of a job together with everything that depends on time: waiting for a change of the record, the time since
 * the last progress, and deletion at the end of the lifetime.
 */

import type { JobModel, JobRequest } from "../../protocol/resources/jobs.ts";
import type { JobSummary } from "../../protocol/messages.ts";
import type { DurableObjectState } from "../runtime.ts";
import {
  type Attempt,
  type JobMatch,
  JobRecord,
  type LayerOutcome,
  type VersionedJob,
} from "./job_record.ts";

/**
 * The methods of the Durable Objects of the binding `JOB_RECORDS`. `JobRecord` describes the methods of both classes.
 */
export class ObservedJob {
  readonly #storage: DurableObjectState["storage"];
  readonly #record: JobRecord;
  readonly #lifetime: () => number;
  readonly #waiting = new Set<() => void>();
  #progressTime = Date.now();

  /** @param lifetime returns the number of milliseconds after which a new record is deleted */
  constructor({ storage }: DurableObjectState, lifetime: () => number) {
    this.#storage = storage;
    this.#record = new JobRecord(storage.sql, Date.now);
    this.#lifetime = lifetime;
  }

  /** Creates the job if it does not exist yet, as `JobRecord.create` does. Schedules the deletion of a new record. */
  async create(id: string, digest: string, request: JobRequest): Promise<JobMatch> {
    // A lifetime that is not valid throws before the job is recorded, because the job would never be deleted.
    const lifetime = this.#lifetime(), match = this.#record.create(id, digest, request);
    if (match === "absent") await this.#storage.setAlarm(Date.now() + lifetime);
    return match;
  }

  summary(): JobSummary | undefined {
    return this.#record.summary();
  }

  read(): VersionedJob | undefined {
    return this.#record.read();
  }

  /**
   * Waits until layers have changed after `version`, but at most `milliseconds`. Returns the job with these layers, or
   * undefined if there is no job.
   */
  async waitForChanges(version: number, milliseconds: number): Promise<VersionedJob | undefined> {
    const changes = this.#record.changesAfter(version);
    if (!changes || changes.version > version) return changes;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, milliseconds);
    this.#waiting.add(resolve);
    await promise;
    clearTimeout(timer);
    this.#waiting.delete(resolve);
    return this.#record.changesAfter(version);
  }

  layerCount(): number {
    this.#noteProgress();
    return this.#record.layerCount();
  }

  model(): JobModel | undefined {
    return this.#record.model();
  }

  beginAttempt(position: number): Attempt | undefined {
    this.#noteProgress();
    const attempt = this.#record.beginAttempt(position);
    this.#notifyWaiting();
    return attempt;
  }

  assignHost(position: number, host: string): void {
    this.#noteProgress();
    this.#record.assignHost(position, host);
    this.#notifyWaiting();
  }

  isWanted(position: number): boolean {
    this.#noteProgress();
    return this.#record.isWanted(position);
  }

  settleLayer(position: number, outcome: LayerOutcome): void {
    this.#noteProgress();
    this.#record.settleLayer(position, outcome);
    this.#notifyWaiting();
  }

  cancel(): void {
    this.#record.cancel();
    this.#notifyWaiting();
  }

  /** Returns the milliseconds since the Workflow last called this object, or since the runtime loaded the object. */
  millisecondsSinceProgress(): number {
    return Date.now() - this.#progressTime;
  }

  /** Deletes the record. The runtime calls this method at the time that `create` has set. */
  async alarm(): Promise<void> {
    await this.#storage.deleteAll();
  }

  /** Records progress. Only methods that the Workflow of the job uses call this one. */
  #noteProgress(): void {
    this.#progressTime = Date.now();
  }

  #notifyWaiting(): void {
    for (const wake of this.#waiting) wake();
  }
}
