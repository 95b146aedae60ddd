/** Converts the rows of the tables of a job (`job_record.ts`). */

import type { JobState } from "../../protocol/job_state.ts";
import type { LayerState } from "../../protocol/messages.ts";
import type { JobBlock, JobLayer } from "../../protocol/resources/jobs.ts";
import type { SqlValue } from "../runtime.ts";

/** Returns the members that a job and its summary have in common. @param row the row of the table `job` */
export function jobHead({ id, name, state, created, ended }: Record<string, SqlValue>) {
  return {
    id: String(id),
    name: name === null ? null : String(name),
    state: state as JobState,
    created: new Date(Number(created)).toISOString(),
    ended: ended === null ? null : new Date(Number(ended)).toISOString(),
  };
}

/** Returns the value of a column with JSON. A record that an earlier version has created may lack the column. */
// deno-lint-ignore no-explicit-any -- the record itself has written the JSON
export function parsed(value: SqlValue | undefined): any {
  return value === null || value === undefined ? null : JSON.parse(String(value));
}

/** Returns the text in a column, or undefined if there is none. */
export function textOf(value: SqlValue | undefined): string | undefined {
  return value === null || value === undefined ? undefined : String(value);
}

/** Returns the state of a layer or block. @param row its row of the table `layers` */
export function layerState(row: Record<string, SqlValue>): LayerState {
  const { weight, hessian, parameters }: Partial<JobLayer> & (JobLayer | JobBlock) = parsed(row.spec);
  return {
    name: String(row.name),
    weight,
    hessian: hessian ?? null,
    parameters: { ...parameters },
    state: row.state as JobState,
    attempts: Number(row.attempts),
    host: row.host === null ? null : String(row.host),
    report: parsed(row.report),
    result: row.result === null ? null : String(row.result),
    error: parsed(row.error),
  };
}
