/**
 * Simulates hosts that prune the blocks of a model for a job. A simulated host has hidden states, which are before one block,
 * and refuses tasks about another block as a real host does.
 */

import assert from "node:assert/strict";
import { runJob } from "../../src/edge/jobs/run_job.ts";
import { jobRequestSchema } from "../../src/protocol/resources/jobs.ts";
import { loggedErrors } from "./memory_edge.ts";
import { type Answer, problem, REPORT, RESULT, simulateJob, simulateSteps, WEIGHT } from "./simulate_job.ts";

const NOT_FOUND = problem(404, "states_not_found");

/** A task as the edge sends it. */
interface SentTask {
  readonly id: string;
  readonly states: string;
  readonly windows?: unknown;
  readonly index?: number;
  readonly pruned?: unknown;
  readonly result?: { readonly url: string };
}

/** Returns a job of a model with `count` blocks. `results` are those of the first blocks. */
export function modelRequest(count: number, results: readonly string[] = [], parameters = {}) {
  const blocks = Array.from({ length: count }, (_, index) => ({
    name: `block ${index}`,
    weight: WEIGHT,
    result: results[index],
    parameters,
  }));
  return jobRequestSchema.parse({ model: { states: WEIGHT, blocks } });
}

/**
 * Runs a job at two hosts until its end, and returns what the hosts have done, such as `a: prune 0`.
 * @param before is called before each task with its text. It may return another answer
 */
export async function runModelJob(
  request: ReturnType<typeof modelRequest>,
  before: (text: string, job: ReturnType<typeof simulateJob>) => Answer | undefined = () => undefined,
) {
  const job = simulateJob([], request), done: string[] = [], { registry, context, record } = job;
  registry.deregister("h");
  const state = {
    backend: "cpu",
    adapter: "a",
    capacity: 1,
    queue: { waiting: 0, resident: 0 },
    factors: [],
  };
  const heartbeat = () => {
    for (const name of "ab") registry.recordHeartbeat(name, { ...state, url: `http://${name}` });
  };
  // The blocks before which the hosts have states, and the ids of the tasks that have ended.
  const states = new Map<string, number>(), ended = new Set<string>();
  const urls: string[] = [];
  const answer = async ({ hostname: name }: URL, init: RequestInit) => {
    if (init.method === "DELETE") return new Response(null, { status: 204 });
    const task: SentTask = JSON.parse(new TextDecoder().decode(init.body as Uint8Array<ArrayBuffer>));
    const { id, windows, index, pruned, result } = task;
    const what = windows ? "create" : index === undefined ? "delete" : `${pruned ? "run" : "prune"} ${index}`;
    assert.equal(task.states, "job");
    const given = before(`${name}: ${what}`, job);
    if (given) {
      done.push(`${name}: ${what}, refused`);
      return await given();
    }
    if (result) urls.push(result.url);
    if (ended.has(`${name} ${id}`)) return Response.json({ state: "done" });
    if (index !== undefined && states.get(name) !== index) return await NOT_FOUND();
    done.push(`${name}: ${what}`);
    if (what === "delete") states.delete(name);
    else states.set(name, index === undefined ? 0 : index + 1);
    // The edge ignores the report, which only layers have.
    if (result) return Response.json({ state: "done", report: REPORT, result: { sha256: RESULT, bytes: 9 } });
    ended.add(`${name} ${id}`);
    return Response.json({ state: "done" });
  };
  heartbeat();
  const readUrl = (digest: string) =>
    Promise.resolve([WEIGHT, RESULT].includes(digest) ? "http://x/" : undefined);
  let objects = 0;
  await loggedErrors(() =>
    runJob(simulateSteps().step, {
      ...context,
      blobs: {
        ...context.blobs,
        readUrl,
        writeUrl: () => {
          const key = `x/${objects++}`;
          return Promise.resolve({ key, url: `http://${key}` });
        },
      },
      transport: { ...context.transport, fetch: (url, init) => answer(url, init) },
      sleep: (milliseconds) => (heartbeat(), context.sleep(milliseconds)),
    })
  );
  const { job: { state: end, layers } } = record.read()!;
  return { done, state: end, layers, urls };
}
