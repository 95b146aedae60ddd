/** A world for jobs without the runtime: one host whose answers are given beforehand, records in memory, and a clock that goes on while someone sleeps. */

import type { Remote } from "../../src/edge/durable_objects/durable_object.ts";
import { HostRegistry } from "../../src/edge/hosts/registry.ts";
import type { AttemptTools } from "../../src/edge/jobs/attempt.ts";
import type { ObservedJob } from "../../src/edge/jobs/observed_job.ts";
import { JobRecord } from "../../src/edge/jobs/record.ts";
import { jobRequestSchema } from "../../src/protocol/jobs.ts";
import { memorySql } from "./memory_sql.ts";

/** A blob that is there, and the digest of every answer. */
export const WEIGHT = "sha256:" + "a".repeat(64), RESULT = "sha256:" + "b".repeat(64);
/** The report of every answer. */
export const REPORT = {
  method: "sparsegpt",
  rows: 1,
  cols: 1,
  pattern: "unstructured",
  sparsity: 0,
  zeros: 0,
  loss: 0,
  relative_error: 0,
  damping: 0.01,
  backend: "cpu",
  adapter: "a",
  seconds: { read: 0, factor: 0, solve: 0, refit: 0, total: 0 },
  factor_reused: false,
};
/** Answers of a host. */
export const DONE = () =>
  Response.json({ state: "done", report: REPORT, result: { sha256: RESULT, bytes: 9 } });
export const RUNNING = () => Response.json({ state: "running" }, { status: 202 });
export const problem = (status: number, code: string) => () =>
  Response.json({ code, detail: `${code} it is` }, { status });

/** What a host answers next. */
export type Answer = () => Response | Promise<Response>;

/** A world with one host, which gives `answers` in order, and a clock that goes on while someone sleeps. */
export function world(answers: Answer[], layers = 1) {
  const clock = { now: 0 }, calls: string[] = [];
  const registry = new HostRegistry(memorySql(), () => clock.now), record = new JobRecord(memorySql());
  const beat = () =>
    registry.recordHeartbeat("h", {
      url: "http://h/base",
      backend: "cpu",
      adapter: "a",
      capacity: 1,
      queue: { waiting: 0, resident: 0 },
      factors: [],
    });
  beat();
  record.create(
    "job",
    "digest",
    jobRequestSchema.parse({
      layers: Array.from({ length: layers }, (_, index) => ({ name: `layer ${index}`, weight: WEIGHT })),
    }).layers,
  );
  const tools: AttemptTools = {
    job: "job",
    record: record as unknown as Remote<ObservedJob>,
    hosts: registry as unknown as Remote<HostRegistry>,
    blobs: {
      readUrl: (digest) => Promise.resolve(digest === WEIGHT ? "http://b/weight" : undefined),
      writeUrl: () => Promise.resolve({ key: "objects/x", url: "http://b/x" }),
      keep: (_key, digest, bytes) => Promise.resolve(digest === RESULT && bytes === 9),
    },
    calls: {
      secret: "a secret of thirty-two bytes: 123",
      fetch: async (url, { method }) => {
        calls.push(`${method} ${url}`);
        return await answers.shift()!();
      },
    },
    sleep: (milliseconds) => {
      clock.now += milliseconds;
      return Promise.resolve();
    },
    now: () => clock.now,
    hostWaitMilliseconds: 5000,
  };
  return { tools, record, registry, calls, clock, beat, layer: () => record.read()!.job.layers[0] };
}
