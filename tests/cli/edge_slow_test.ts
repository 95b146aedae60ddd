/**
 * Tests `--server` of `pare prune` and `pare shrink` with several hosts and with an edge, a server that passes layers on to hosts. An edge accepts
 * layers in single requests and in jobs, which are lists of layers. Every run must write the same bytes as a run in one process.
 */

import assert from "node:assert/strict";
import { after, describe, it } from "@std/testing/bdd";
import { freePort, startEdge } from "../../scripts/processes/child_edge.ts";
import { type ChildHost, startHost } from "../../scripts/processes/child_host.ts";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import { assertSame } from "../support/assert_same.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import type { JobSummary } from "../../src/protocol/messages.ts";
import { serveLoopback } from "../support/serve_loopback.ts";
import { actDuring, type Finished, pareJson, runPare, startPare, succeeded, words } from "./run_pare.ts";
import { readFolder, temporaryFolder } from "../support/temporary_folder.ts";
import { READY } from "../client/fake_host.ts";

const SECRET = "a secret of thirty-two bytes: 123";
/**
 * The limit for request bodies, in bytes. An attention layer of 192 by 192 with its statistics is below this
 * limit. The other layers of a block are above it.
 */
const BODY_LIMIT = 160_000;

const folder = temporaryFolder();
const { calibration } = await writeSotuTexts(folder);
const args = words`
  prune ${OPT_SOTU} --calibration ${calibration} --samples 2 --seqlen 64 --method sparsegpt
  --backend cpu --max-layer 1
`;
await succeeded(runPare(...args, "--out", `${folder}/local`));
const expected = await weights("local");
const port = freePort();
const edge = await startEdge({
  folder: `${folder}/edge`,
  vars: {
    EDGE_HOST_SECRET: SECRET,
    EDGE_BODY_LIMIT: String(BODY_LIMIT),
    EDGE_HOST: `http://127.0.0.1:${port}`,
  },
});
const env = { EDGE_HOST_SECRET: SECRET, PARE_BLOB_ORIGINS: edge.url };
const hosts = await Promise.all([
  startHost(["--backend", "cpu", "--port", String(port), "--edge", edge.url], env),
  startHost(["--backend", "cpu"]),
]);
after(async () => {
  await Promise.all(hosts.map((host) => host[Symbol.asyncDispose]()));
  await edge[Symbol.asyncDispose]();
});

/** Reads the weight files of a checkpoint, by name. */
async function weights(out: string): Promise<[name: string, bytes: Uint8Array][]> {
  const files = [...await readFolder(`${folder}/${out}`)].filter(([name]) => name.endsWith(".safetensors"));
  assert.ok(files.length > 0, out);
  return files;
}

async function assertWeights(out: string, { code, stderr }: Finished): Promise<void> {
  assert.equal(code, 0, stderr);
  assertSame(await weights(out), expected);
}

/** Reads from the metrics of a host how many requests to a route have succeeded. */
async function countServed(host: ChildHost, method: string, route: string): Promise<number> {
  const text = await (await fetch(`${host.url}/metrics`)).text();
  const lines = text.split("\n").filter((line) =>
    line.startsWith("pare_requests_total{") && line.includes(`route="${route}`) &&
    line.includes(`method="${method}"`) && /status="20\d"/.test(line)
  );
  return lines.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
}

/** Starts a command, kills it once it has printed `text`, and returns the result of a second process of the command. */
async function runAfterKill(command: readonly string[], text: string): Promise<Finished> {
  const child = startPare(...command);
  const isReached = (printed: string) => printed.includes(text);
  const { signal, stderr } = await actDuring(child, isReached, () => child.kill("SIGKILL"));
  assert.equal(signal, "SIGKILL", stderr);
  return await runPare(...command);
}

describe("pare prune --server", () => {
  it("sends layers to every host if several are given", async () => {
    const servers = hosts.flatMap(({ url }) => ["--server", url]);
    const run = await runPare(...args, "--out", `${folder}/several`, ...servers);
    await assertWeights("several", run);
    assert.match(run.stderr, /^solving at 2 hosts: cpu \(/m);
    const counts = await Promise.all(hosts.map((host) => countServed(host, "POST", "/v1/layers")));
    assert.ok(Math.min(...counts) > 0, `layers at each: ${counts}`);
    const reports = await Promise.all(["several", "local"].map(async (out) => {
      const { layers } = JSON.parse(await Deno.readTextFile(`${folder}/${out}/pare.json`));
      return layers.map(({ name }: { name: string }) => name);
    }));
    assert.deepEqual(reports[0], reports[1]);
  });

  it("sends the layers of a killed host to the other hosts", {
    skip: Deno.build.os === "windows" && "Windows has no SIGKILL",
  }, async () => {
    const victim = await startHost(["--backend", "cpu"]);
    const child = startPare(
      ...words`${args} --out ${folder}/lost --server ${hosts[1].url} --server ${victim.url}`,
    );
    const isPruning = (printed: string) => printed.includes("pruning 2/");
    const ended = await actDuring(child, isPruning, () => Deno.kill(victim.pid, "SIGKILL")),
      { stderr } = ended;
    await victim[Symbol.asyncDispose]();
    await assertWeights("lost", { ...ended, stdout: "" });
    assert.match(
      stderr,
      new RegExp(`^${victim.url} is lost \\(.*\\); its layers are sent to the other hosts$`, "m"),
    );
  });

  it("refuses hosts with different adapters before any work", async () => {
    await using other = serveLoopback(() =>
      Response.json({ ...READY, backend: "webgpu", adapter: { name: "another", software: false } })
    );
    const servers = ["--server", hosts[1].url, "--server", other.url];
    const run = await runPare(...args, "--out", `${folder}/none`, ...servers);
    assert.equal(run.code, 2);
    assert.match(run.stderr, /^error: .* solves on cpu \(.*\), http.* on webgpu \(another\): /m);
    await assert.rejects(Deno.stat(`${folder}/none`), Deno.errors.NotFound);
  });
});

describe("pare prune --server EDGE", () => {
  it("sends small layers in requests and uploads layers above the body limit with --no-jobs", async () => {
    const requests = async () => [
      await countServed(hosts[0], "PUT", "/v1/hessians"),
      await countServed(hosts[0], "POST", "/v1/tasks"),
    ];
    const [hessians, tasks] = await requests();
    const run = await runPare(...args, "--out", `${folder}/by-size`, "--no-jobs", "--server", edge.url);
    await assertWeights("by-size", run);
    assert.match(run.stderr, /^solving at 1 host: cpu \(/m);
    // One request stores the Hessian that q, k and v share. The Hessian of out is part of the request of its layer. The layers
    // fc1 and fc2 are above the limit, and the tasks that prune them store the other two Hessians.
    const [hessiansNow, tasksNow] = await requests();
    assert.equal(hessiansNow - hessians, 3);
    assert.ok(tasksNow - tasks >= 2, `tasks ${tasksNow - tasks}`);
  });

  it("continues a run in jobs after the command was killed", {
    skip: Deno.build.os === "windows" && "Windows has no SIGKILL",
  }, async () => {
    const again = await runAfterKill(
      words`${args} --out ${folder}/resumed --server ${edge.url}`,
      "pruning 2/",
    );
    await assertWeights("resumed", again);
    assert.match(again.stderr, /^solving in jobs of http.*, at 1 host: cpu \(/m);
    assert.match(again.stderr, /^pruning [2-5]\/6$/m);
  });

  it("prints the ids of its jobs, which pare jobs lists by the name of the model", async () => {
    const run = await runPare(...args, "--out", `${folder}/listed`, "--server", edge.url);
    await assertWeights("listed", run);
    const [, id] = /^job ([0-9a-f]{32}): 6 layers$/m.exec(run.stderr)!;
    const { jobs } = await pareJson<{ jobs: JobSummary[] }>("jobs", "list", "--server", edge.url);
    const listed = jobs.find((job) => job.id === id)!;
    assert.deepEqual([listed.name, listed.state, listed.layers.done], ["opt-sotu, block 0", "done", 6]);
    const shown = await runPare("jobs", "show", id, "--server", edge.url);
    assert.match(shown.stdout, /^job .* \(opt-sotu, block 0\): done, submitted/);
    assert.match(shown.stdout, /│ model\.decoder\.layers\.0\.fc1\.weight +│ done /);
    const cancelled = await runPare("jobs", "cancel", id, "--server", edge.url);
    assert.equal(cancelled.stdout, `job ${id} had ended before: done\n`);
  });
});

describe("pare shrink --server", () => {
  const shrink = [
    ...["shrink", OPT_SOTU.replace("opt-sotu", "llama-sotu"), "--calibration", calibration, "--samples", "8"],
    ...["--seqlen", "64", "--ffn", "0.25", "--heads", "0.5", "--reconstruct", "1", "--backend", "cpu"],
  ];
  const second = ["--sparsity", "0.5"];

  it("sends layers to every host in both runs, and writes the bytes of a run in one process", async () => {
    await succeeded(runPare(...shrink, ...second, "--out", `${folder}/smaller`));
    const served = () => Promise.all(hosts.map((host) => countServed(host, "POST", "/v1/layers")));
    const before = await served(), servers = hosts.flatMap(({ url }) => ["--server", url]);
    const run = await succeeded(
      runPare(...shrink, ...second, "--out", `${folder}/smaller-at-hosts`, ...servers),
    );
    assertSame(await weights("smaller-at-hosts"), await weights("smaller"));
    assert.equal(run.stderr.match(/^solving at 2 hosts: cpu \(/gm)?.length, 2);
    const counts = (await served()).map((count, i) => count - before[i]);
    assert.ok(Math.min(...counts) > 0, `layers at each: ${counts}`);
    // The first run has two layers in each of 4 blocks, and the second run seven.
    assert.equal(counts[0] + counts[1], 4 * (2 + 7));
  });

  it("continues a run in jobs after the command was killed", {
    skip: Deno.build.os === "windows" && "Windows has no SIGKILL",
  }, async () => {
    assert.equal((await runPare(...shrink, "--out", `${folder}/shrunk`)).code, 0);
    const again = await succeeded(runAfterKill(
      words`${shrink} --out ${folder}/shrunk-in-jobs --server ${edge.url}`,
      "shrinking 3/",
    ));
    assertSame(await weights("shrunk-in-jobs"), await weights("shrunk"));
    assert.match(again.stderr, /^solving in jobs of http.*, at 1 host: cpu \(/m);
    assert.match(again.stderr, /^shrinking [3-7]\/8$/m);
  });
});
