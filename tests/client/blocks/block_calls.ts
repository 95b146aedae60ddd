/** The calls that receive a pruned block, from a host or a job whose answers are changed. */

import assert from "node:assert/strict";
import { BlockHost } from "../../../src/client/blocks/block_host.ts";
import { BlockJobs } from "../../../src/prune/blocks/block_jobs.ts";
import { type BlockServer, RemoteBlocks } from "../../../src/prune/blocks/remote_blocks.ts";
import type { Destination } from "../../../src/prune/run/job.ts";
import { pruneModel } from "../../../src/prune/run/prune_model.ts";
import { problem } from "../fake_host.ts";
import { EDGE, fakeEdge } from "../jobs/fake_edge.ts";
import type { Change } from "../lies.ts";
import { readFamilyFixture } from "../../support/family_fixtures.ts";
import { openLocalHost } from "../../support/local_host.ts";

const { windows, variants: [{ model, config }] } = await readFamilyFixture("llama");

/** Prunes the first block. If the answer is refused, none of its weights may have been replaced. */
async function prune(server: BlockHost | BlockServer): Promise<void> {
  let replaced = 0;
  const layers = { has: (name: string) => name.includes(".0.") };
  const replace = () => Promise.resolve(void replaced++);
  const destination: Destination<void> = { fill: (run) => run({ replace }) };
  const pruner = new RemoteBlocks(server, { config, format: "dense" });
  try {
    await pruneModel({ model, windows, layers, queryOf: () => ({ pattern: "2:4" }), destination }, {
      pruner,
    });
  } catch (error) {
    assert.equal(replaced, 0);
    throw error;
  }
  assert.ok(replaced > 0);
}

/** A client that remembers its last request. */
class RecordingHost extends BlockHost {
  last: Parameters<BlockHost["run"]> | undefined;

  override run(...request: Parameters<BlockHost["run"]>): ReturnType<BlockHost["run"]> {
    this.last = request;
    return super.run(...request);
  }
}

/** Returns the calls. A host solves the block once, and repeats its answer with changes. */
export async function blockCalls(): Promise<Readonly<Record<string, (change: Change) => Promise<unknown>>>> {
  await using host = await openLocalHost("cpu");
  let answer: Uint8Array<ArrayBuffer>;
  const application = async (request: Request) => {
    const response = await host.transport.application!(request);
    if (request.method === "POST") answer = await response.clone().bytes();
    return response;
  };
  const honest = new RecordingHost({ ...host.transport, application }, "run");
  await prune(honest);
  const hostWith = (change: Change) => {
    const application = ({ method }: Request) => {
      if (method === "GET") return problem(404, "states_not_found")();
      return method === "POST" ? new Response(change(answer)) : new Response(null, { status: 204 });
    };
    return new BlockHost({ ...host.transport, application }, "run");
  };
  return {
    "BlockHost.run": (change) => hostWith(change).run(...honest.last!),
    "RemoteBlocks at a host": (change) => prune(hostWith(change)),
    "RemoteBlocks at an edge": (change) => {
      const edge = fakeEdge(problem(500, "unknown"), () => ({ bytes: change(answer) }));
      return prune(new BlockJobs({ baseUrl: EDGE, fetch: edge.answer, backoffMs: 1 }, { pollMs: 1 }));
    },
  };
}
