/**
 * The record of one job as its Durable Object serves it. It adds to `JobRecord` what needs time: callers can wait for a change, the record
 * is deleted after some days, and the object knows how long ago the job made progress.
 */

import type { JobLayer } from "../../protocol/jobs.ts";
import type { DurableObjectState } from "../durable_objects/durable_object.ts";
import { type Attempt, JobRecord, type LayerOutcome, type VersionedJob } from "./record.ts";

const DAY_MILLISECONDS = 86_400_000;

/** The methods of a job's Durable Object. */
export class ObservedJob {
  readonly #storage: DurableObjectState["storage"];
  readonly #record: JobRecord;
  readonly #lifetimeDays: () => number;
  readonly #waiting = new Set<() => void>();
  #progressTime = Date.now();

  /** @param lifetimeDays returns the days after which the record is deleted */
  constructor({ storage }: DurableObjectState, lifetimeDays: () => number) {
    this.#storage = storage;
    this.#record = new JobRecord(storage.sql);
    this.#lifetimeDays = lifetimeDays;
  }

  /** See `JobRecord.create`. A new job is deleted after its lifetime. */
  async create(
    id: string,
    digest: string,
    layers: readonly JobLayer[],
  ): Promise<"created" | "same" | "conflict"> {
    const outcome = this.#record.create(id, digest, layers);
    const days = this.#lifetimeDays();
    if (outcome === "created") await this.#storage.setAlarm(Date.now() + days * DAY_MILLISECONDS);
    return outcome;
  }

  /** See `JobRecord.read`. */
  read(): VersionedJob | undefined {
    return this.#record.read();
  }

  /** Returns the job with the layers that changed after `version`, as soon as there are any, or after `milliseconds`. */
  async changesAfter(version: number, milliseconds: number): Promise<VersionedJob | undefined> {
    const now = this.#record.changes(version);
    if (!now || now.version > version) return now;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, milliseconds);
    this.#waiting.add(resolve);
    await promise;
    clearTimeout(timer);
    this.#waiting.delete(resolve);
    return this.#record.changes(version);
  }

  /** See `JobRecord.size`. */
  size(): number {
    this.#noteProgress();
    return this.#record.size();
  }

  /** See `JobRecord.begin`. */
  begin(position: number): Attempt | undefined {
    this.#noteProgress();
    const attempt = this.#record.begin(position);
    this.#notify();
    return attempt;
  }

  /** See `JobRecord.isWanted`. */
  isWanted(position: number): boolean {
    this.#noteProgress();
    return this.#record.isWanted(position);
  }

  /** See `JobRecord.settle`. */
  settle(position: number, outcome: LayerOutcome): void {
    this.#noteProgress();
    this.#record.settle(position, outcome);
    this.#notify();
  }

  /** See `JobRecord.cancel`. */
  cancel(): void {
    this.#record.cancel();
    this.#notify();
  }

  /** Returns the milliseconds since the Workflow of the job last called this object, or since the object was loaded. */
  millisecondsSinceProgress(): number {
    return Date.now() - this.#progressTime;
  }

  /** Deletes the record. The runtime calls this when the lifetime is over. */
  async alarm(): Promise<void> {
    await this.#storage.deleteAll();
  }

  #noteProgress(): void {
    this.#progressTime = Date.now();
  }

  #notify(): void {
    for (const wake of this.#waiting) wake();
  }
}
