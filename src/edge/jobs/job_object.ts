/** A job's record as the methods of its Durable Object, one a job: changes are waited for here, and old jobs end here. */

import { Refusal } from "../../protocol/refusal.ts";
import type { EdgeBindings } from "../bindings.ts";
import type { DurableObjectState, Remote } from "../hosts/durable_object.ts";
import { wholeNumber } from "../settings.ts";
import type { JobMethods } from "./job_methods.ts";
import { JobRecord } from "./record.ts";

const DAY_MILLISECONDS = 86_400_000;
const DEFAULT_JOB_DAYS = 7;

/** The methods over an object's storage. */
export function jobMethods({ storage }: DurableObjectState, env: EdgeBindings): JobMethods {
  const record = new JobRecord(storage.sql);
  const waiting = new Set<() => void>();
  let heard = Date.now();
  const hear = () => void (heard = Date.now());
  const told = <T>(value: T): T => {
    for (const wake of waiting) wake();
    return value;
  };
  return {
    async create(id, digest, layers) {
      const outcome = record.create(id, digest, layers);
      const days = wholeNumber(env, "EDGE_JOB_DAYS", DEFAULT_JOB_DAYS, 1);
      if (outcome === "created") await storage.setAlarm(Date.now() + days * DAY_MILLISECONDS);
      return outcome;
    },
    read: () => record.read(),
    async changesAfter(version, milliseconds) {
      const now = record.changes(version);
      if (!now || now.version > version) return now;
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, milliseconds);
      waiting.add(resolve);
      await promise;
      clearTimeout(timer);
      waiting.delete(resolve);
      return record.changes(version);
    },
    size: () => (hear(), record.size()),
    begin: (position) => (hear(), told(record.begin(position))),
    wanted: (position) => (hear(), record.wanted(position)),
    settle: (position, outcome) => (hear(), told(record.settle(position, outcome))),
    cancel: () => told(record.cancel()),
    silence: () => Date.now() - heard,
  };
}

/** The record of job `id`. @throws {Refusal} unsupported where the deployment runs no jobs */
export function recordOf(env: EdgeBindings, id: string): Remote<JobMethods> {
  if (!env.JOB_RECORDS) throw new Refusal("unsupported", "this edge runs no jobs: JOB_RECORDS is not bound");
  return env.JOB_RECORDS.getByName(id);
}
