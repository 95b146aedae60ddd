/** The methods of the Durable Object that holds the record of one job. */

import type { JobLayer } from "../../protocol/jobs.ts";
import type { Attempt, LayerOutcome, VersionedJob } from "./record.ts";

/** What may be asked of a job's record; `JobRecord` says what it does. */
export interface JobMethods {
  create(id: string, digest: string, layers: readonly JobLayer[]): Promise<"created" | "same" | "conflict">;
  read(): VersionedJob | undefined;
  /** The job with the layers that changed after `version`, as soon as there are any, or after `milliseconds`. */
  changesAfter(version: number, milliseconds: number): Promise<VersionedJob | undefined>;
  size(): number;
  begin(position: number): Attempt | undefined;
  wanted(position: number): boolean;
  settle(position: number, outcome: LayerOutcome): void;
  cancel(): void;
  /** Milliseconds since what runs the job was last heard of, or since this object was loaded. */
  silence(): number;
}
