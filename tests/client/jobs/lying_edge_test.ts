/** Tests answers of an edge about a job that contradict themselves or the submission. A client must refuse them, and must not wait for ever. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { JobFailedError, pruneByJob } from "../../../src/client/jobs/prune_by_job.ts";
import { PareJobs } from "../../../src/client/jobs/pare_jobs.ts";
import { f32, modelOf, problem } from "../fake_host.ts";
import { EDGE, fakeEdge, solvedFile } from "./fake_edge.ts";

const WEIGHT = f32([2, 4], [1, 2, 3, 4, 5, 6, 7, 8]);

/** A job as the fake edge answers it. */
interface JobAnswer {
  readonly layers: readonly Readonly<Record<string, unknown>>[];
}

/** Changes a job of which all layers are done. */
type Change = (job: JobAnswer) => object;

const change = (members: object): Change => (job) => ({
  ...job,
  layers: job.layers.map((layer) => ({ ...layer, ...members })),
});

const LIES: Readonly<Record<string, Change>> = {
  "no layers": (job) => ({ ...job, layers: [] }),
  "a layer of another name": change({ name: "other" }),
  "a layer twice": (job) => ({ ...job, layers: [...job.layers, ...job.layers] }),
  "a layer that is done without a result": change({ result: null }),
  "a layer that has failed without an error": change({ state: "failed", result: null, report: null }),
  "a layer that is still running, although the job has ended": change({
    state: "running",
    result: null,
    report: null,
  }),
  "an id that is not a text": (job) => ({ ...job, id: 7 }),
};

function edgeWith(changeJob: Change) {
  const edge = fakeEdge(problem(500, "unknown"), solvedFile, {
    changeJob: (job) => changeJob(job as JobAnswer),
  });
  return { baseUrl: EDGE, fetch: edge.answer, backoffMs: 1 };
}

for (const [what, lie] of Object.entries(LIES)) {
  describe(`a job with ${what}`, () => {
    it("is refused by pruneByJob()", async () => {
      const layers = [{ name: "q", tensors: { weight: WEIGHT } }];
      await assert.rejects(Array.fromAsync(pruneByJob(edgeWith(lie), layers, { pollMs: 1 })), {
        name: "MalformedAnswerError",
      });
    });

    it("is refused by PareJobs", async () => {
      const source = modelOf({ layers: [{ name: "q", weight: WEIGHT }] });
      const events = new PareJobs(edgeWith(lie), { pollMs: 1 }).pruneModel(source, { method: "magnitude" });
      await assert.rejects(Array.fromAsync(events), { name: "MalformedAnswerError" });
    });
  });
}

it("the message of a job with many failures is short and printable", () => {
  const failures = Array.from({ length: 1000 }, (_, i) => ({
    name: `layer ${i}`,
    code: "busy",
    detail: "\u001b".repeat(1000),
  }));
  const { message } = new JobFailedError("j", failures);
  assert.ok(message.length < 30_000, `${message.length} characters`);
  assert.doesNotMatch(message, /\p{Cc}/u);
});
