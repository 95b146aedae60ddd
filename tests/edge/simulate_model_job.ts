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
  readonly parts?: readonly unknown[];
  readonly step?: "sum";
  /** The solved layers of the rounds before, in a task that adds up statistics. */
  readonly solved?: readonly unknown[];
  readonly sums?: unknown;
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

interface Hosts {
  /** The number of hosts, whose names are `a`, `b` and so on. @default 2 */
  readonly count?: number;
  /** The number of shares with windows. By default, the hosts do not say it. */
  readonly shares?: number;
  /** The number of rounds of each block. By default, the hosts do not say it. */
  readonly rounds?: number;
  /** Returns the device of a host at the moment. @default the same for all hosts */
  readonly adapterOf?: (name: string) => string;
}

/**
 * Runs a job at several hosts until its end, and returns what the hosts have done, such as `a: prune 0`, or `a: sum 0 of job.1.2`
 * for the second one of two shares of a job that is divided.
 * @param before is called before each task with its text. It may return another answer
 */
export async function runModelJob(
  request: ReturnType<typeof modelRequest>,
  before: (text: string, job: ReturnType<typeof simulateJob>) => Answer | undefined = () => undefined,
  { count = 2, shares, rounds, adapterOf = () => "a" }: Hosts = {},
) {
  const job = simulateJob([], request), done: string[] = [], { registry, context, record } = job;
  registry.deregister("h");
  const names = [..."abcd"].slice(0, count), queue = { waiting: 0, resident: 0 };
  const heartbeat = () => {
    for (const name of names) {
      const device = { backend: "cpu", adapter: adapterOf(name) };
      const state = { ...device, url: `http://${name}`, capacity: 1, queue, factors: [] };
      registry.recordHeartbeat(name, state);
    }
  };
  // The blocks before which the hosts have states, and the ids of the tasks that have ended.
  const states = new Map<string, number>(), ended = new Set<string>();
  const urls: string[] = [], removed: string[] = [];
  // The numbers of files with solved layers that tasks of each kind have read.
  const sources: Record<string, number[]> = {};
  // The edge ignores the report, which only layers have.
  const finished = (name: string) =>
    Response.json({ state: "done", report: REPORT, result: { sha256: name, bytes: 9 } });
  const answer = async ({ hostname: name }: URL, init: RequestInit) => {
    if (init.method === "DELETE") return new Response(null, { status: 204 });
    const task: SentTask = JSON.parse(new TextDecoder().decode(init.body as Uint8Array<ArrayBuffer>));
    const what = taskName(task) + (task.states === "job" ? "" : ` of ${task.states}`);
    assert.match(task.states, /^job(\.[0-3]\.[2-4])?$/);
    const given = before(`${name}: ${what}`, job);
    if (given) {
      done.push(`${name}: ${what}, refused`);
      return await given();
    }
    const { id, index, step, sums, result } = task, key = `${name} ${task.states}`;
    if (result) urls.push(result.url);
    if (ended.has(`${name} ${id}`)) return Response.json({ state: "done" });
    if (index !== undefined && !sums && states.get(key) !== index) return await NOT_FOUND();
    done.push(`${name}: ${what}`);
    const files = task.parts ?? task.solved;
    if (files) (sources[what.split(" ")[0]] ??= []).push(files.length);
    if (index === undefined && !task.windows) states.delete(key);
    else if (!step && !sums) states.set(key, index === undefined ? 0 : index + 1);
    if (result) return finished(RESULT);
    ended.add(`${name} ${id}`);
    return Response.json({
      state: "done",
      ...task.windows !== undefined && { shares },
      ...step && { rounds },
    });
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
        remove: (keys) => Promise.resolve(void removed.push(...keys)),
      },
      transport: { ...context.transport, fetch: (url, init) => answer(url, init) },
      sleep: (milliseconds) => (heartbeat(), context.sleep(milliseconds)),
    })
  );
  const { state, layers } = record.read()!.job;
  return { done, state, layers, urls, removed, sources, shares: record.shares() };
}

function taskName({ windows, index, pruned, parts, step, sums, result }: SentTask): string {
  if (windows) return "create";
  if (index === undefined) return "delete";
  const verb = pruned ? "run" : parts ? "join" : sums ? "solve" : !step ? "prune" : result ? "add" : "sum";
  return `${verb} ${index}`;
}
