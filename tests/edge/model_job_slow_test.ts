/**
 * Tests that `pare prune` prunes a trained model by the jobs of an edge, which is Pare's Cloudflare Worker in
 * front of GPU hosts. The edge and three hosts run in processes of their own. One host is killed while it has
 * a layer, and the edge is restarted in the middle of a job with its data on disk. The pruned model must have
 * the same bytes as that of a run in one process.
 */

import assert from "node:assert/strict";
import { after, before, describe, it } from "@std/testing/bdd";
import { type ChildEdge, startEdge } from "../../scripts/processes/child_edge.ts";
import type { ChildHost } from "../../scripts/processes/child_host.ts";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import { runPare, startPare, succeeded, words } from "../cli/run_pare.ts";
import { assertSame } from "../support/assert_same.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";
import { busyHost, SECRET, startEdgeHost, until } from "./edge_hosts.ts";

const HOSTS = 3, LAYERS_PER_BLOCK = 6;
/**
 * The edge restarts a running job as soon as the job is submitted again (`EDGE_JOB_SILENCE`). This is needed
 * because the local runtime does not resume Workflows after a restart.
 */
const VARS = { EDGE_HOST_SECRET: SECRET, EDGE_JOB_SILENCE: "0" };

const folder = temporaryFolder(), { calibration } = await writeSotuTexts(folder);
const args = words`
  prune ${OPT_SOTU} --calibration ${calibration} --method sparsegpt --samples 4 --seqlen 64 --backend cpu
`;
let edge: ChildEdge, hosts: ChildHost[];

before(async () => {
  edge = await startEdge({ folder: `${folder}/edge`, vars: VARS });
  hosts = await Promise.all(Array.from({ length: HOSTS }, () => startEdgeHost(edge.url)));
  await until("all hosts registered", async () => {
    const { hosts } = await (await fetch(`${edge.url}/v1/hosts`)).json();
    return hosts.length === HOSTS || undefined;
  });
});
after(async () => {
  await Promise.all(hosts.map((host) => host[Symbol.asyncDispose]()));
  await edge[Symbol.asyncDispose]();
});

/**
 * Starts the command. `output.text` collects its standard error, `ended` resolves to its exit code, and `prunedLayers` returns the
 * number of pruned layers that it has reported.
 */
function startCommand(...args: readonly string[]) {
  const child = startPare(...args), output = { text: "" };
  const ended = (async () => {
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) output.text += text;
    await child.stdout.cancel();
    return (await child.status).code;
  })();
  const prunedLayers = () =>
    [...output.text.matchAll(/^pruning (\d+)\/24/gm)].map(([, count]) => Number(count)).at(-1) ?? 0;
  return { output, ended, prunedLayers };
}

describe("pare prune over an edge", { skip: Deno.build.os === "windows" && "Windows has no SIGKILL" }, () => {
  it("writes the same bytes as a run in one process although a host is killed and the edge restarts", async () => {
    await succeeded(runPare(...args, "--out", `${folder}/alone`));

    const run = startCommand(...args, "--out", `${folder}/jobs`, "--server", edge.url);
    const victim = await busyHost(hosts);
    Deno.kill(victim.pid, "SIGKILL");
    hosts.splice(hosts.indexOf(victim), 1);
    await until("a block is done", () => run.prunedLayers() >= LAYERS_PER_BLOCK || undefined);

    // The hosts are suspended while one has a layer of the next block's job, so that the edge stops in the middle of that job.
    await busyHost(hosts);
    for (const { pid } of hosts) Deno.kill(pid, "SIGSTOP");
    const port = Number(new URL(edge.url).port);
    await edge[Symbol.asyncDispose]();
    await until("the client retries", () => run.output.text.includes("trying again") || undefined);
    for (const { pid } of hosts) Deno.kill(pid, "SIGCONT");
    edge = await startEdge({ folder: `${folder}/edge`, port, vars: VARS });

    assert.equal(await run.ended, 0, run.output.text);
    assert.match(run.output.text, /^solving in jobs of http.*, at 3 hosts: cpu \(/m);
    // The loss of the host caused a second attempt at a layer of the first block. The restart of the edge
    // caused further attempts at a layer of a later block.
    assert.match(run.output.text, /layers\.0\.\S+ took 2 attempts/);
    assert.match(run.output.text, /layers\.[1-3]\.\S+ took \d attempts/);
    for (const name of ["model.safetensors", "config.json"]) {
      const [one, other] = await Promise.all(
        ["alone", "jobs"].map((out) => Deno.readFile(`${folder}/${out}/${name}`)),
      );
      assertSame(other, one, name);
    }
  });
});
