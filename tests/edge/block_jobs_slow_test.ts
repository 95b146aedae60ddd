/**
 * Tests whole models as jobs of an edge, which is Pare's Cloudflare Worker in front of GPU hosts. The edge and its hosts run in
 * processes of their own. The results must have the same bytes as those of a run in one process.
 */

import assert from "node:assert/strict";
import { after, before, describe, it } from "@std/testing/bdd";
import { fileURLToPath } from "node:url";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import { type ChildEdge, startEdge } from "../../scripts/processes/child_edge.ts";
import type { ChildHost } from "../../scripts/processes/child_host.ts";
import { Jobs } from "../../src/client/jobs/jobs.ts";
import { StatesLostError } from "../../src/edge/jobs/host_answer.ts";
import { askHost } from "../../src/edge/jobs/host_tasks.ts";
import { readTensor } from "../../src/model/checkpoint/tensor_source.ts";
import type { Model } from "../../src/model/model.ts";
import { BlockJobs } from "../../src/prune/blocks/block_jobs.ts";
import { RemoteBlocks } from "../../src/prune/blocks/remote_blocks.ts";
import { linearLayers } from "../../src/prune/block_plan.ts";
import { pruneInMemory } from "../../src/prune/run/in_memory.ts";
import type { Job } from "../../src/protocol/messages.ts";
import { contents } from "../cli/run_contents.ts";
import { runPare, startPare, succeeded } from "../cli/run_pare.ts";
import { assertSame } from "../support/assert_same.ts";
import { readFamilyFixture } from "../support/family_fixtures.ts";
import { openLocalHost } from "../support/local_host.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";
import { busyHost, SECRET, startEdgeHost, until } from "./edge_hosts.ts";

const LLAMA = fileURLToPath(new URL("../fixtures/models/llama-sotu", import.meta.url));

/**
 * The local runtime does not resume Workflows, so the edge restarts a job that is submitted again after 15 seconds without
 * progress. A client submits a job again after every 10 seconds without a change.
 */
const VARS = { EDGE_HOST_SECRET: SECRET, EDGE_JOB_SILENCE: "15" };

const folder = temporaryFolder(), { calibration } = await writeSotuTexts(folder);
const args = ["prune", LLAMA, "--calibration", calibration, "--samples", "8", "--seqlen", "64"];

let edge: ChildEdge, hosts: ChildHost[];
before(async () => {
  edge = await startEdge({ folder: `${folder}/edge`, vars: VARS });
  hosts = await Promise.all([1, 2].map(() => addHost()));
});
after(async () => {
  await Promise.all(hosts.map((host) => host[Symbol.asyncDispose]()));
  await edge[Symbol.asyncDispose]();
});

async function addHost(): Promise<ChildHost> {
  const host = await startEdgeHost(edge.url);
  await until("the host is registered", async () => {
    const { hosts } = await (await fetch(`${edge.url}/v1/hosts`)).json();
    return hosts.some(({ url }: { url: string }) => url === host.url) || undefined;
  });
  return host;
}

/** Returns the newest job of the edge, if there is one. */
async function newestJob(): Promise<Job | undefined> {
  const jobs = new Jobs({ baseUrl: edge.url }), [newest] = (await jobs.list({ limit: 1 })).jobs;
  return newest && await jobs.get(newest.id);
}

/** Waits until `count` blocks of the newest job are done. */
async function blocksDone(count: number): Promise<void> {
  await until(`${count} blocks are done`, async () => {
    const job = await newestJob();
    return job && job.layers.filter(({ state }) => state === "done").length >= count || undefined;
  });
}

async function weightsOf({ spec, weights }: Model) {
  return await Promise.all(
    linearLayers(spec).map(async ({ name }) => [name, await readTensor(weights, name)] as const),
  );
}

describe("a model as a job", { skip: Deno.build.os === "windows" && "Windows has no SIGKILL" }, () => {
  it("has the bytes of a run in one process although the client, a host and the edge are killed", async () => {
    await succeeded(runPare(...args, "--backend", "cpu", "--out", `${folder}/alone`));

    const command = [...args, "--out", `${folder}/job`, "--server", edge.url, "--jobs", "--remote"];
    const client = startPare(...command);
    await until("the job is submitted", newestJob);
    client.kill("SIGKILL");
    await Promise.all([client.stdout.cancel(), client.stderr.cancel(), client.status]);

    // The client has ended, and the job continues. The host that has the states is killed while it prunes a block.
    await blocksDone(1);
    const victim = await busyHost(hosts);
    Deno.kill(victim.pid, "SIGKILL");
    await victim.ended;
    hosts.splice(hosts.indexOf(victim), 1);
    await blocksDone(2);

    // The hosts are suspended while the edge stops, so that it stops in the middle of the job.
    for (const { pid } of hosts) Deno.kill(pid, "SIGSTOP");
    const port = Number(new URL(edge.url).port), { id, state } = (await newestJob())!;
    assert.equal(state, "running");
    await edge[Symbol.asyncDispose]();
    for (const { pid } of hosts) Deno.kill(pid, "SIGCONT");
    edge = await startEdge({ folder: `${folder}/edge`, port, vars: VARS });
    await until("the host is registered again", async () => {
      const { hosts } = await (await fetch(`${edge.url}/v1/hosts`)).json();
      return hosts.length > 0 || undefined;
    });

    const run = await succeeded(runPare(...command));
    assert.match(run.stderr, /^pruning whole blocks in a job of http.*, at 1 host: cpu/m);
    assert.match(run.stderr, new RegExp(`^job ${id}: 4 blocks$`, "m"));
    assertSame(contents(`${folder}/job`), contents(`${folder}/alone`));
    const { layers } = (await newestJob())!;
    assert.deepEqual(layers.map(({ name }) => name), [0, 1, 2, 3].map((i) => `model.layers.${i}`));
    assert.equal(layers[0].attempts, 1);
    assert.match(run.stderr, /^model\.layers\.[1-3] took \d attempts$/m);
  });

  it("has the bytes of a run in one process for a mixture of experts", async () => {
    const family = "qwen3_moe";
    const { windows, variants: [{ model, config }] } = await readFamilyFixture(family);
    await using local = await openLocalHost("cpu");
    const query = { pattern: "2:4" } as const;
    const alone = await pruneInMemory(model, query, {
      windows,
      backend: local.backend,
      pruner: local.pruner,
    });
    const jobs = new BlockJobs({ baseUrl: edge.url }, { name: family, pollMs: 50 });
    const pruner = new RemoteBlocks(jobs, { config, format: "dense" });
    const pruned = await pruneInMemory(model, query, { windows, pruner });
    assertSame(await weightsOf(pruned), await weightsOf(alone));
    const { name, state, layers } = (await newestJob())!;
    assert.deepEqual([name, state, layers.length], [family, "done", model.spec.blockCount]);
    // The host has deleted the states of all jobs.
    const { hosts: [host] } = await (await fetch(`${edge.url}/v1/hosts`)).json();
    for (const { id } of (await new Jobs({ baseUrl: edge.url }).list()).jobs) {
      const deleting = askHost({ secret: SECRET, fetch }, host, { id: crypto.randomUUID(), states: id });
      await assert.rejects(deleting, StatesLostError, id);
    }
  });

  it("fails with the problem of a block that no host accepts, and names it", async () => {
    const { windows, variants: [{ model, config }] } = await readFamilyFixture("gpt2");
    const server = new BlockJobs({ baseUrl: edge.url }, { pollMs: 50 });
    const wrong = new RemoteBlocks(server, { config: { ...config, vocab_size: 7 }, format: "dense" });
    await assert.rejects(pruneInMemory(model, { sparsity: 0.5 }, { windows, pruner: wrong }), {
      name: "JobFailedError",
      message: /^job \w+: transformer\.h\.0: shape_mismatch: /,
    });
  });
});
