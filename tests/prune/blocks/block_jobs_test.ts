/**
 * Tests BlockJobs, which prunes the blocks of a model by jobs of an edge. The edge is simulated. Its answers for the blocks
 * are those of a host in this process.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { digestOfBytes } from "../../../src/client/digests.ts";
import { JobFailedError } from "../../../src/client/jobs/prune_by_job.ts";
import { BlockHost } from "../../../src/client/blocks/block_host.ts";
import { decodeBlock, encodeBlock } from "../../../src/protocol/blocks/block_answer.ts";
import { BlockJobs } from "../../../src/prune/blocks/block_jobs.ts";
import { RemoteBlocks } from "../../../src/prune/blocks/remote_blocks.ts";
import type { OpenDestination } from "../../../src/prune/run/job.ts";
import { pruneModel } from "../../../src/prune/run/prune_model.ts";
import type { HostTensor } from "../../../src/tensor/host_tensor.ts";
import { EDGE, fakeEdge, type JobSolver } from "../../client/jobs/fake_edge.ts";
import { problem } from "../../client/fake_host.ts";
import { assertSame } from "../../support/assert_same.ts";
import { readFamilyFixture } from "../../support/family_fixtures.ts";
import { openLocalHost } from "../../support/local_host.ts";

const { windows, variants: [{ model, config }] } = await readFamilyFixture("gpt2");
const BLOCKS = model.spec.blockCount, options = { config, format: "dense" } as const;

/** Prunes the model, and returns the new weights. `changes` replaces functions of the destination. */
async function prune(pruner: RemoteBlocks, changes: Partial<OpenDestination> = {}) {
  const replaced = new Map<string, HostTensor>();
  const replace = (name: string, weight: HostTensor) => Promise.resolve(void replaced.set(name, weight));
  const destination = {
    fill: (run: (open: OpenDestination) => Promise<void>) => run({ replace, ...changes }),
  };
  await pruneModel({ model, windows, queryOf: () => ({ sparsity: 0.5 }), destination }, { pruner });
  return replaced;
}

describe("BlockJobs", () => {
  let expected: ReadonlyMap<string, HostTensor>, answers: Uint8Array<ArrayBuffer>[];
  before(async () => {
    await using host = await openLocalHost("cpu");
    answers = [];
    const application = async (request: Request) => {
      const response = await host.transport.application!(request);
      if (request.method === "POST") answers.push(await response.clone().bytes());
      return response;
    };
    expected = await prune(
      new RemoteBlocks(new BlockHost({ ...host.transport, application }, "run"), options),
    );
    assert.equal(answers.length, BLOCKS);
    assert.ok(BLOCKS >= 2);
  });
  after(() => answers.splice(0));

  /**
   * Starts an edge. `fault` may return another outcome for a block than that of the host.
   * @param deleted the digest of a result that the edge has deleted. Its first job is then one of an earlier process
   */
  function edgeWith(
    fault: (block: number, job: number) => ReturnType<JobSolver> | undefined,
    deleted?: string,
  ) {
    const edge = fakeEdge(problem(500, "unknown"), (_body, { name }) => {
      const block = Number(name.split(".").at(-1));
      return fault(block, edge.jobs.length) ?? { bytes: answers[block] };
    });
    // The answer to a submission has no results yet.
    const fetch = async (request: Request) => {
      const response = await edge.answer(request), isOld = deleted !== undefined && edge.jobs.length === 1;
      if (isOld && request.url.endsWith(deleted)) return new Response(null, { status: 404 });
      if (isOld || request.method !== "POST" || !request.url.endsWith("/v1/jobs")) return response;
      const { layers, ...job } = await response.json();
      const open = { state: "queued", result: null, error: null };
      return Response.json({
        ...job,
        ...{ state: "queued", ended: null },
        layers: layers.map((layer: object) => ({ ...layer, ...open })),
      });
    };
    const transport = { baseUrl: EDGE, fetch, backoffMs: 1 };
    return {
      ...edge,
      pruner: new RemoteBlocks(new BlockJobs(transport, { name: "gpt2", pollMs: 1 }), options),
    };
  }
  const failure = (code: string) => ({ error: { code, detail: "it is" } });
  /** Whether each block of each job was submitted with a result. */
  const given = (jobs: ReturnType<typeof edgeWith>["jobs"]) =>
    jobs.map((blocks) => blocks.map(({ result }) => result !== undefined));
  const none = Array(BLOCKS).fill(false), onlyFirst = [true, ...none.slice(1)];

  it("gives the weights of the host with one job", async () => {
    const { pruner, jobs, log } = edgeWith(() => undefined);
    assertSame(await prune(pruner), expected);
    assert.deepEqual(given(jobs), [none]);
    assert.deepEqual(
      jobs[0].map(({ name }) => name),
      Array.from({ length: BLOCKS }, (_, i) => `transformer.h.${i}`),
    );
    assert.equal(log.filter((line) => line === "POST /v1/uploads").length, BLOCKS + 1);
  });

  it("continues behind the pruned blocks after a transient failure, at most twice", async () => {
    const { pruner, jobs } = edgeWith((block, job) =>
      block > 0 && job === 1 ? failure("no_device") : undefined
    );
    assertSame(await prune(pruner), expected);
    assert.deepEqual(given(jobs), [none, onlyFirst]);
    const failing = edgeWith((block) => block > 0 ? failure("no_device") : undefined);
    await assert.rejects(prune(failing.pruner), JobFailedError);
  });

  it("throws the error of a block that is refused", async () => {
    const { pruner } = edgeWith((block) => block > 0 ? failure("non_finite") : undefined);
    await assert.rejects(prune(pruner), (error) => error instanceof JobFailedError && !error.isTransient);
  });

  it("cancels a job with a wrong result, and continues behind the right ones", async () => {
    const { layers: [layer, ...others], ...block } = decodeBlock(answers[1]);
    const weight = { ...layer.weight, data: new Uint8Array(layer.weight.data.length).fill(0xff) };
    const parts = encodeBlock({ ...block, layers: [{ ...layer, weight }, ...others] });
    const wrong = { bytes: new Uint8Array(await new Blob(parts).arrayBuffer()) };
    const { pruner, jobs, log } = edgeWith((block, job) => block === 1 && job === 1 ? wrong : undefined);
    assertSame(await prune(pruner), expected);
    assert.deepEqual(given(jobs), [none, onlyFirst]);
    assert.equal(log.filter((line) => line === "DELETE /v1/jobs/j1").length, 1);
  });

  it("has the blocks pruned again whose results the edge has deleted", async () => {
    const { pruner, jobs } = edgeWith(() => undefined, await digestOfBytes(answers[1]));
    assertSame(await prune(pruner), expected);
    assert.deepEqual(given(jobs), [none, onlyFirst]);
  });

  it("downloads only the blocks that an earlier process has not stored", async () => {
    const { pruner, log } = edgeWith(() => undefined);
    const first = decodeBlock(answers[0]).layers.map(({ name }) => name);
    const readFinished = (name: string) => Promise.resolve(expected.get(name)!);
    const replaced = await prune(pruner, { finished: new Set(first), readFinished });
    assertSame(replaced, new Map([...expected].filter(([name]) => !first.includes(name))));
    assert.equal(log.filter((line) => line === "GET /v1/blobs/DIGEST").length, BLOCKS - 1);
  });
});
