/**
 * Tests the client that prunes a model by the jobs of an edge, with a fake edge. An edge is Pare's Cloudflare
 * Worker in front of GPU hosts. The client submits one job per round of layers, resubmits jobs that make no
 * progress, and submits new jobs after transient failures.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { digestOfBytes } from "../../../src/client/digests.ts";
import type { LayerGroup, ModelSource, PruneEvent } from "../../../src/client/model_pruner.ts";
import { PareJobs, type PareJobsOptions } from "../../../src/client/jobs/pare_jobs.ts";
import type { JobState } from "../../../src/protocol/job_state.ts";
import type { LayerState } from "../../../src/protocol/messages.ts";
import { encode } from "../../../src/tensor/safetensors/encode.ts";
import { answerOf, f32, report } from "../fake_host.ts";

const WEIGHT = f32([2, 3], [0, 0, 0, 4, 5, 6]), HESSIAN = f32([6], [1, 0, 0, 1, 0, 1]);
/** The target of the layer k. The other layers have none. */
const TARGET = f32([2, 3], [6, 5, 4, 3, 2, 1]);
const RESULT_BYTES = answerOf(WEIGHT);
const RESULT = await digestOfBytes(RESULT_BYTES);

/** The state that a layer gets. A string other than `done` and `queued` is the error code of a failed layer. */
type Fate = "done" | "queued" | string;
/** A layer in a job. The test decides its state by these values. */
interface Question {
  /** Index of the job. */
  readonly job: number;
  /** How many times the job has been requested. */
  readonly requested: number;
  /** How many times the job has been submitted. */
  readonly submitted: number;
  /** Name of the layer. */
  readonly name: string;
}

/**
 * A fake edge that has every blob already. Each new idempotency key creates a new job, and the jobs are
 * numbered from 0.
 */
class FakeEdge {
  readonly keys: string[] = [];
  readonly bodies: { layers: { name: string; weight: string; hessian: string; parameters: object }[] }[] = [];
  readonly submissions: number[] = [];
  /** How many of the next requests for a job get no answer. */
  unreachable = 0;
  /** Whether the next request for a job is answered with 404. */
  hasLostJob = false;
  /** How many of the next requests for a result are answered with 404. */
  lostResults = 0;
  readonly #requested: number[] = [];

  constructor(readonly fate: (question: Question) => Fate) {}

  readonly fetch = async (request: Request): Promise<Response> => {
    const { pathname } = new URL(request.url);
    if (request.method === "HEAD") return new Response();
    if (pathname === `/v1/blobs/${RESULT}`) {
      if (this.lostResults-- > 0) return Response.json({ code: "not_found" }, { status: 404 });
      return new Response(RESULT_BYTES);
    }
    if (request.method === "POST") {
      const key = request.headers.get("Idempotency-Key")!;
      if (!this.keys.includes(key)) {
        this.keys.push(key);
        this.bodies.push(await request.json());
        this.submissions.push(0);
        this.#requested.push(0);
      }
      const job = this.keys.indexOf(key);
      this.submissions[job]++;
      return this.#answer(job);
    }
    if (this.unreachable-- > 0) throw new TypeError("connection refused");
    if (this.hasLostJob) {
      this.hasLostJob = false;
      return Response.json({ code: "not_found" }, { status: 404 });
    }
    const job = Number(pathname.split("/").at(-1));
    this.#requested[job]++;
    return this.#answer(job);
  };

  #answer(job: number): Response {
    const layers = this.bodies[job].layers.map(({ name, weight, hessian }): LayerState => {
      const fate = this.fate({
        job,
        requested: this.#requested[job],
        submitted: this.submissions[job],
        name,
      });
      const state: JobState = fate === "done" || fate === "queued" ? fate : "failed";
      const result = fate === "done" ? RESULT : null, layerReport = fate === "done" ? report(2, 3) : null;
      const error = state === "failed" ? { code: fate, detail: `detail of ${fate}` } : null;
      const asked = { name, weight, hessian, parameters: {} };
      return { ...asked, state, attempts: 1, host: null, report: layerReport, result, error };
    });
    const states = layers.map(({ state }) => state);
    const isRunning = states.some((state) => state === "queued");
    const state = isRunning ? "running" : states.includes("failed") ? "failed" : "done";
    const created = "2026-01-01T00:00:00.000Z";
    return Response.json({ id: String(job), name: null, state, created, ended: null, layers });
  }
}

/** Makes a model of two rounds. The first has two groups and the second has one. */
function model(): ModelSource & { readonly replaced: string[] } {
  const replaced: string[] = [];
  const replace = (name: string) => Promise.resolve(void replaced.push(name));
  const group = (block: number, names: readonly string[], hasMoreInRound: boolean): LayerGroup => (
    {
      block,
      hessian: HESSIAN,
      layers: names.map((name) => ({ name, weight: WEIGHT, ...name === "k" && { target: TARGET } })),
      hasMoreInRound,
      replace,
    }
  );
  return {
    replaced,
    layerCount: 4,
    async *groups() {
      yield group(0, ["q", "k"], true);
      yield group(0, ["fc"], false);
      assert.deepEqual(replaced.toSorted(), ["fc", "k", "q"]);
      await Promise.resolve();
      yield group(1, ["out"], false);
    },
  };
}

async function prune(
  edge: FakeEdge,
  { signal, ...options }: PareJobsOptions & { signal?: AbortSignal } = {},
): Promise<string[]> {
  const client = new PareJobs({ baseUrl: "http://edge", fetch: edge.fetch, backoffMs: 1 }, {
    pollMs: 1,
    ...options,
  });
  const source = model(), events: PruneEvent[] = [];
  for await (const event of client.pruneModel(source, { sparsity: 0.5 }, { signal })) events.push(event);
  assert.equal(events.filter(({ type }) => type === "layer").length, source.replaced.length);
  return source.replaced;
}

describe("PareJobs.pruneModel", () => {
  it("submits one job per round, names shared statistics by one digest, sends targets with their layers, and computes the job's key from its layers", async () => {
    const edge = new FakeEdge(() => "done");
    assert.deepEqual(await prune(edge), ["q", "k", "fc", "out"]);
    const [first, second] = edge.bodies.map(({ layers }) => layers);
    assert.deepEqual([first, second].map((layers) => layers.map(({ name }) => name)), [["q", "k", "fc"], [
      "out",
    ]]);
    assert.equal(first[0].hessian, first[1].hessian);
    assert.equal(first[0].weight, await digestOfBytes(encode({ weight: WEIGHT })));
    assert.equal(first[1].weight, await digestOfBytes(encode({ weight: WEIGHT, target: TARGET })));
    assert.deepEqual(first[0].parameters, { sparsity: 0.5 });
    const again = new FakeEdge(() => "done");
    await prune(again);
    assert.deepEqual(again.keys, edge.keys);
    assert.equal(new Set(edge.keys).size, 2);
  });

  it("replaces each layer as soon as it is done", async () => {
    const edge = new FakeEdge(({ requested, name }) => name === "q" && requested < 3 ? "queued" : "done");
    assert.deepEqual(await prune(edge), ["k", "fc", "q", "out"]);
  });

  it("resubmits a job without progress with the same key", async () => {
    const edge = new FakeEdge(({ submitted }) => submitted < 3 ? "queued" : "done");
    await prune(edge, { stallMs: 5 });
    assert.deepEqual(edge.submissions, [3, 3]);
  });

  it("resubmits a job if the edge was unreachable, and if the edge has lost the job", async () => {
    const fate = ({ job, submitted }: Question) => job === 0 && submitted < 2 ? "queued" : "done";
    const edge = new FakeEdge(fate), lostJob = new FakeEdge(fate);
    edge.unreachable = 2;
    lostJob.hasLostJob = true;
    for (const one of [edge, lostJob]) {
      await prune(one);
      assert.equal(one.submissions[0], 2);
    }
  });

  it("submits the layers that failed transiently again, in another job", async () => {
    const edge = new FakeEdge(({ job, requested, name }) =>
      requested === 0 ? "queued" : job === 0 && name === "k" ? "no_device" : "done"
    );
    assert.deepEqual(await prune(edge), ["q", "fc", "k", "out"]);
    assert.deepEqual(edge.bodies[1].layers.map(({ name }) => name), ["k"]);
  });

  it("submits a new job if an old job with the same key has failed or its results are no longer stored", async () => {
    const failed = new FakeEdge(({ job }) => job < 5 ? "no_device" : "done");
    assert.deepEqual(await prune(failed), ["q", "k", "fc", "out"]);
    assert.equal(new Set(failed.keys).size, failed.keys.length);
    const lost = new FakeEdge(() => "done");
    lost.lostResults = 2;
    assert.deepEqual((await prune(lost)).toSorted(), ["fc", "k", "out", "q"]);
  });

  it("throws at once if a layer is refused or the job is cancelled, and after three jobs if a layer fails transiently", async () => {
    const refused = new FakeEdge(({ requested, name }) =>
      requested === 0 ? "queued" : name === "k" ? "non_finite" : "done"
    );
    await assert.rejects(prune(refused), {
      name: "JobFailedError",
      message: "job 0: k: non_finite: detail of non_finite",
    });
    assert.equal(refused.keys.length, 1);
    const cancelled = new FakeEdge(({ requested }) => requested === 0 ? "queued" : "cancelled");
    await assert.rejects(prune(cancelled), { name: "JobFailedError", message: /^job 0: .*cancelled/ });
    assert.equal(cancelled.keys.length, 1);
    const hopeless = new FakeEdge(({ requested }) => requested === 0 ? "queued" : "no_device");
    await assert.rejects(prune(hopeless), { name: "JobFailedError", message: /no_device/ });
    assert.equal(hopeless.keys.length, 3);
  });

  it("throws the signal's reason when the signal is aborted", async () => {
    const controller = new AbortController(), reason = new Error("enough");
    setTimeout(() => controller.abort(reason), 20);
    const edge = new FakeEdge(() => "queued");
    await assert.rejects(prune(edge, { signal: controller.signal }), (error) => error === reason);
  });
});
