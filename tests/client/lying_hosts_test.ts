/** Tests that no call of the SDK returns another layer than the requested one. Every call gets every lie of a host. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { MalformedAnswerError } from "../../src/client/errors.ts";
import { PareJobs } from "../../src/client/jobs/pare_jobs.ts";
import { pruneByJob } from "../../src/client/jobs/prune_by_job.ts";
import type { LayerTensors } from "../../src/client/layer_file.ts";
import type { ModelPruner } from "../../src/client/model_pruner.ts";
import { Pare } from "../../src/client/pare.ts";
import { PareHosts } from "../../src/client/pare_hosts.ts";
import { f32, FakeHost, modelOf, noContent, problem, type Received, solved } from "./fake_host.ts";
import { EDGE, fakeEdge, solvedFile } from "./jobs/fake_edge.ts";
import { type Change, lieAbout, lieAboutBlock, LIES } from "./lies.ts";
import { blockCalls } from "./blocks/block_calls.ts";

const TENSORS: LayerTensors = {
  weight: f32([2, 4], [1, 2, 3, 4, 5, 6, 7, 8]),
  hessian_upper: f32([10], [1, 0, 0, 0, 1, 0, 0, 1, 0, 1]),
};

const layersOf = (change: Change) => async (received: Received) => {
  if (received.method !== "POST") return noContent(received);
  return new Response(change(new Uint8Array(await solved(received).arrayBuffer())));
};

/** Makes an edge whose hosts change the results of jobs. It answers single layers in the same way. */
function lyingEdge(change: Change) {
  return fakeEdge(layersOf(change), (...layer) => ({ bytes: change(solvedFile(...layer).bytes) }));
}

/** A model of two layers that share their statistics. */
const MODEL = modelOf({
  hessian: TENSORS.hessian_upper!,
  layers: ["q", "k"].map((name) => ({ name, weight: TENSORS.weight })),
});

async function prune(pruner: ModelPruner): Promise<void> {
  for await (const _ of pruner.pruneModel(MODEL));
}

/** The calls of the SDK that receive a layer. */
const CALLS: Readonly<Record<string, (change: Change) => Promise<unknown>>> = {
  "Pare.pruneLayer": (change) => pareOf(change).pruneLayer(TENSORS),
  "Pare.pruneModel": (change) => prune(pareOf(change)),
  "PareHosts.pruneModel": (change) => {
    const { fetch } = new FakeHost(layersOf(change));
    return prune(new PareHosts([{ baseUrl: "http://a", fetch }, { baseUrl: "http://b", fetch }]));
  },
  "PareJobs.pruneModel": (change) =>
    prune(new PareJobs({ baseUrl: EDGE, fetch: lyingEdge(change).answer }, { pollMs: 1 })),
  "pruneByJob": async (change) => {
    const edge = { baseUrl: EDGE, fetch: lyingEdge(change).answer };
    for await (const _ of pruneByJob(edge, [{ name: "q", tensors: TENSORS }], { pollMs: 1 }));
  },
  "Pare.pruneLayer over the body limit of an edge": (change) => {
    const tooLarge = problem(413, "unknown"), { answer } = lyingEdge(change);
    const fetch = (request: Request) => request.url.endsWith("/v1/layers") ? tooLarge() : answer(request);
    return new Pare({ baseUrl: EDGE, fetch }).pruneLayer(TENSORS);
  },
};

function pareOf(change: Change): Pare {
  return new Pare({ baseUrl: "http://fake", fetch: new FakeHost(layersOf(change)).fetch });
}

const ALL = [
  ...Object.entries(CALLS).map(([name, call]) => ({ name, call, lieAbout })),
  ...Object.entries(await blockCalls()).map(([name, call]) => ({ name, call, lieAbout: lieAboutBlock })),
];

for (const { name, call, lieAbout } of ALL) {
  describe(name, () => {
    it("accepts an honest answer", () => call((honest) => honest).then(() => {}));

    for (const [what, lie] of Object.entries(LIES)) {
      it(`refuses an answer with ${what}`, async () => {
        await assert.rejects(call((honest) => lieAbout(honest, lie)), MalformedAnswerError);
      });
    }

    it("refuses an answer that is not a safetensors file", async () => {
      await assert.rejects(call(() => new TextEncoder().encode("<html>")), MalformedAnswerError);
    });

    if (!name.startsWith("RemoteBlocks")) {
      it("refuses an answer that is longer than it can be", async () => {
        await assert.rejects(call(() => new Uint8Array(2 ** 25)), /longer than \d+ bytes/);
      });
    }
  });
}
