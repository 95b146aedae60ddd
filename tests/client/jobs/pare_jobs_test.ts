/** The SDK over the jobs of an edge whose answers are written: one job a round, found again by its layers, tried again where that may help. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { PruneEvent } from "../../../src/client/events.ts";
import { PareJobs, type PareJobsOptions } from "../../../src/client/jobs/pare_jobs.ts";
import type { LayerGroup, ModelSource } from "../../../src/client/model_source.ts";
import type { JobState, LayerState } from "../../../src/protocol/jobs.ts";
import { encode } from "../../../src/safetensors/encode.ts";
import { f32, report } from "../fake_host.ts";

const WEIGHT = f32([2, 3], [1, 2, 3, 4, 5, 6]), HESSIAN = f32([6], [1, 0, 0, 1, 0, 1]);
const MASK = { dtype: "U8" as const, shape: [2, 1], data: Uint8Array.of(7, 7) };
const RESULT = "sha256:" + "b".repeat(64);

/** What becomes of a layer: its code where it fails. */
type Fate = "done" | "queued" | string;
/** A question to the edge: which job, and how often it was asked after. */
interface Question {
  readonly job: number;
  readonly asked: number;
  readonly submitted: number;
  readonly name: string;
}

/** An edge that has every blob. Jobs are numbered by their keys as they come. */
class FakeEdge {
  readonly keys: string[] = [];
  readonly bodies: { layers: { name: string; weight: string; hessian: string; parameters: object }[] }[] = [];
  readonly submissions: number[] = [];
  /** Questions after a job that get no answer. */
  unreachable = 0;
  /** The next question after a job finds none. */
  forgetful = false;
  /** Results that are asked for and not there. */
  lostResults = 0;
  readonly #asked: number[] = [];

  constructor(readonly fate: (question: Question) => Fate) {}

  readonly fetch = async (request: Request): Promise<Response> => {
    const { pathname } = new URL(request.url);
    if (request.method === "HEAD") return new Response();
    if (pathname === `/v1/blobs/${RESULT}`) {
      if (this.lostResults-- > 0) return Response.json({ code: "not_found" }, { status: 404 });
      return new Response(
        encode({ weight: WEIGHT, mask: MASK }, { report: JSON.stringify(report(2, 3)) }),
      );
    }
    if (request.method === "POST") {
      const key = request.headers.get("Idempotency-Key")!;
      if (!this.keys.includes(key)) {
        this.keys.push(key);
        this.bodies.push(await request.json());
        this.submissions.push(0);
        this.#asked.push(0);
      }
      const job = this.keys.indexOf(key);
      this.submissions[job]++;
      return this.#answer(job);
    }
    if (this.unreachable-- > 0) throw new TypeError("connection refused");
    if (this.forgetful) {
      this.forgetful = false;
      return Response.json({ code: "not_found" }, { status: 404 });
    }
    const job = Number(pathname.split("/").at(-1));
    this.#asked[job]++;
    return this.#answer(job);
  };

  #answer(job: number): Response {
    const layers = this.bodies[job].layers.map(({ name }): LayerState => {
      const fate = this.fate({ job, asked: this.#asked[job], submitted: this.submissions[job], name });
      const state: JobState = fate === "done" || fate === "queued" ? fate : "failed";
      const result = fate === "done" ? RESULT : null, told = fate === "done" ? report(2, 3) : null;
      const error = state === "failed" ? { code: fate, detail: `detail of ${fate}` } : null;
      return { name, state, attempts: 1, report: told, result, error };
    });
    const states = layers.map(({ state }) => state);
    const open = states.some((state) => state === "queued");
    const state = open ? "running" : states.includes("failed") ? "failed" : "done";
    return Response.json({ id: String(job), state, layers });
  }
}

/** Two rounds: one of two groups, one of one. */
function model(): ModelSource & { readonly replaced: string[] } {
  const replaced: string[] = [];
  const replace = (name: string) => Promise.resolve(void replaced.push(name));
  const group = (block: number, names: readonly string[], hasMoreInRound: boolean): LayerGroup => (
    {
      block,
      hessian: HESSIAN,
      layers: names.map((name) => ({ name, weight: WEIGHT })),
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
  it("makes one job of a round, with shared statistics named once, under a key that follows from it", async () => {
    const edge = new FakeEdge(() => "done");
    assert.deepEqual(await prune(edge), ["q", "k", "fc", "out"]);
    const [first, second] = edge.bodies.map(({ layers }) => layers);
    assert.deepEqual([first, second].map((layers) => layers.map(({ name }) => name)), [["q", "k", "fc"], [
      "out",
    ]]);
    assert.equal(first[0].hessian, first[1].hessian);
    assert.deepEqual(first[0].parameters, { sparsity: 0.5 });
    const again = new FakeEdge(() => "done");
    await prune(again);
    assert.deepEqual(again.keys, edge.keys);
    assert.equal(new Set(edge.keys).size, 2);
  });

  it("replaces layers as they are done", async () => {
    const edge = new FakeEdge(({ asked, name }) => name === "q" && asked < 3 ? "queued" : "done");
    assert.deepEqual(await prune(edge), ["k", "fc", "q", "out"]);
  });

  it("submits a job that stands still again, under its key", async () => {
    const edge = new FakeEdge(({ submitted }) => submitted < 3 ? "queued" : "done");
    await prune(edge, { stallMs: 5 });
    assert.deepEqual(edge.submissions, [3, 3]);
  });

  it("submits again when the edge could not be reached, or knows nothing of the job", async () => {
    const fate = ({ job, submitted }: Question) => job === 0 && submitted < 2 ? "queued" : "done";
    const edge = new FakeEdge(fate), forgetful = new FakeEdge(fate);
    edge.unreachable = 2;
    forgetful.forgetful = true;
    for (const one of [edge, forgetful]) {
      await prune(one);
      assert.equal(one.submissions[0], 2);
    }
  });

  it("has the layers that failed of what may pass done by another job", async () => {
    const edge = new FakeEdge(({ job, asked, name }) =>
      asked === 0 ? "queued" : job === 0 && name === "k" ? "no_device" : "done"
    );
    assert.deepEqual(await prune(edge), ["q", "fc", "k", "out"]);
    assert.deepEqual(edge.bodies[1].layers.map(({ name }) => name), ["k"]);
  });

  it("makes a new job where an old one, of the same key, had failed or its results are gone", async () => {
    const failed = new FakeEdge(({ job }) => job < 5 ? "no_device" : "done");
    assert.deepEqual(await prune(failed), ["q", "k", "fc", "out"]);
    assert.equal(new Set(failed.keys).size, failed.keys.length);
    const lost = new FakeEdge(() => "done");
    lost.lostResults = 2;
    assert.deepEqual((await prune(lost)).toSorted(), ["fc", "k", "out", "q"]);
  });

  it("ends with a refusal at once, and with what goes on failing after some jobs", async () => {
    const refused = new FakeEdge(({ asked, name }) =>
      asked === 0 ? "queued" : name === "k" ? "non_finite" : "done"
    );
    await assert.rejects(prune(refused), {
      name: "JobFailedError",
      message: "job 0: k: non_finite: detail of non_finite",
    });
    assert.equal(refused.keys.length, 1);
    const hopeless = new FakeEdge(({ asked }) => asked === 0 ? "queued" : "no_device");
    await assert.rejects(prune(hopeless), { name: "JobFailedError", message: /no_device/ });
    assert.equal(hopeless.keys.length, 3);
  });

  it("ends with the reason when it is aborted", async () => {
    const controller = new AbortController(), reason = new Error("enough");
    setTimeout(() => controller.abort(reason), 20);
    const edge = new FakeEdge(() => "queued");
    await assert.rejects(prune(edge, { signal: controller.signal }), (error) => error === reason);
  });
});
