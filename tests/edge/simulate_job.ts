/**
 * Simulates the services with which the edge (Pare's Cloudflare Worker) runs a job, for tests without the
 * Workers runtime. There is one simulated host with prepared answers. Records are in memory, and the clock
 * advances only when the code under test sleeps.
 */

import type { Remote, WorkflowStep } from "../../src/edge/runtime.ts";
import { createFindSleepReason } from "../../src/edge/hosts/woken_hosts.ts";
import { HostRegistry } from "../../src/edge/hosts/host_registry.ts";
import type { JobContext } from "../../src/edge/jobs/job_context.ts";
import { JobRecord } from "../../src/edge/jobs/job_record.ts";
import { type JobRequest, jobRequestSchema } from "../../src/protocol/resources/jobs.ts";
import { report } from "../client/fake_host.ts";
import { emptyState } from "./memory_edge.ts";
import { memorySql } from "./memory_sql.ts";

/** The digest of the only stored weight, and the digest of every result. */
export const WEIGHT = "sha256:" + "a".repeat(64), RESULT = "sha256:" + "b".repeat(64);
/** The report of every answer. */
export const REPORT = report(1, 1);
/** Answers of the host: the task is done, the task is running, and the task has failed with a code. */
export const DONE = () =>
  Response.json({ state: "done", report: REPORT, result: { sha256: RESULT, bytes: 9 } });
export const RUNNING = () => Response.json({ state: "running" }, { status: 202 });
export const problem = (status: number, code: string) => () =>
  Response.json({ code, detail: `${code} it is` }, { status });

/** Produces one answer of the host, or fails like a broken connection. */
export type Answer = () => Response | Promise<Response>;

function layersRequest(count: number): JobRequest {
  const layers = Array.from({ length: count }, (_, index) => ({ name: `layer ${index}`, weight: WEIGHT }));
  return jobRequestSchema.parse({ layers });
}

/**
 * Creates the services of a job, of a number of layers or of another request. Its host is alive and gives `answers` in
 * order. `calls` lists the requests that the host received, and `sendHeartbeat` registers the host again.
 */
export function simulateJob(answers: Answer[], request: number | JobRequest = 1) {
  const clock = { now: 1000 }, calls: string[] = [];
  const registry = new HostRegistry(memorySql(), () => clock.now),
    record = new JobRecord(emptyState(), () => 1, () => clock.now);
  const sendHeartbeat = () =>
    registry.recordHeartbeat("h", {
      url: "http://h/base",
      backend: "cpu",
      adapter: "a",
      capacity: 1,
      queue: { waiting: 0, resident: 0 },
      factors: [],
    });
  sendHeartbeat();
  void record.create("job", "digest", typeof request === "number" ? layersRequest(request) : request);
  const fetch = async (url: URL, { method }: RequestInit) => {
    calls.push(`${method} ${url}`);
    return await answers.shift()!();
  };
  const context: JobContext = {
    job: "job",
    record: record as unknown as Remote<JobRecord>,
    hosts: registry as unknown as Remote<HostRegistry>,
    blobs: {
      readUrl: (digest) => Promise.resolve(digest === WEIGHT ? "http://b/weight" : undefined),
      writeUrl: () => Promise.resolve({ key: "objects/x", url: "http://b/x" }),
      publish: (_key, digest, bytes) => Promise.resolve(digest === RESULT && bytes === 9),
    },
    transport: { secret: "a secret of thirty-two bytes: 123", fetch },
    findSleepReason: createFindSleepReason(fetch),
    sleep: (milliseconds) => {
      clock.now += milliseconds;
      return Promise.resolve();
    },
    now: () => clock.now,
    hostWaitMilliseconds: 5000,
  };
  return {
    context,
    record,
    registry,
    calls,
    clock,
    sendHeartbeat,
    layer: () => record.read()!.job.layers[0],
  };
}

/**
 * Simulates the steps of the Workflow engine. It retries a step up to the limit, and never repeats a step
 * that has ended. `seen.runs` counts all executions of steps. `seen.now` is the number that run now, and
 * `seen.max` is its largest value.
 */
export function simulateSteps() {
  const ended = new Set<string>(), seen = { now: 0, max: 0, runs: 0 };
  const step: WorkflowStep = {
    async do(name, { retries }, run) {
      if (ended.has(name)) return;
      for (let attempt = 0;; attempt++) {
        seen.runs++;
        seen.max = Math.max(seen.max, ++seen.now);
        try {
          await run();
          ended.add(name);
          return;
        } catch (error) {
          if (attempt === retries.limit) throw error;
        } finally {
          seen.now--;
        }
      }
    },
  };
  return { step, seen };
}
