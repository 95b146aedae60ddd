/**
 * `pare prune` of a trained model in an edge's jobs, as processes: three hosts, of which one is killed while it has a layer, and an edge that is
 * restarted in the middle of a job, keeping what it has on disk. The result is that of a run in one process, byte for byte.
 */

import assert from "node:assert/strict";
import { after, before, describe, it } from "@std/testing/bdd";
import { type ChildEdge, startEdge } from "../../scripts/processes/child_edge.ts";
import { type ChildHost, startHost } from "../../scripts/processes/child_host.ts";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import { sleep } from "../../src/async/abort.ts";
import { runPare, startPare } from "../cli/run_pare.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";

const SECRET = "a secret of thirty-two bytes: 123";
const HOSTS = 3, LAYERS_A_BLOCK = 6;
/** Longest that anything here is waited for, in milliseconds. */
const PATIENCE = 60_000;
/** A job that is submitted again is taken for abandoned at once: the local runtime does not go on with Workflows after a restart. */
const VARS = { EDGE_HOST_SECRET: SECRET, EDGE_JOB_SILENCE: "0" };

let folder: string, args: string[];
let edge: ChildEdge, hosts: ChildHost[];

before(async () => {
  folder = await Deno.makeTempDir({ prefix: "pare-test-" });
  const { calibration } = await writeSotuTexts(folder);
  args = ["prune", OPT_SOTU, "--calibration", calibration];
  args.push(...["--samples", "4", "--seqlen", "64", "--backend", "cpu"]);
  edge = await startEdge({ folder: `${folder}/edge`, vars: VARS });
  hosts = await Promise.all(
    Array.from({ length: HOSTS }, () =>
      startHost(["--backend", "cpu", "--edge", edge.url], {
        EDGE_HOST_SECRET: SECRET,
        PARE_BLOB_ORIGINS: edge.url,
      })),
  );
  await until("all hosts registered", async () => {
    const { hosts } = await (await fetch(`${edge.url}/v1/hosts`)).json();
    return hosts.length === HOSTS || undefined;
  });
});
after(async () => {
  await Promise.all(hosts.map((host) => host[Symbol.asyncDispose]()));
  await edge[Symbol.asyncDispose]();
  await Deno.remove(folder, { recursive: true });
});

async function until<T>(what: string, ask: () => Promise<T | undefined> | T | undefined): Promise<T> {
  for (const end = Date.now() + PATIENCE; Date.now() < end;) {
    const found = await ask();
    if (found !== undefined) return found;
    await sleep(2);
  }
  throw new Error(`waited for ${PATIENCE / 1000} s in vain: ${what}`);
}

/** A host that has a layer on its device. */
async function busyHost(): Promise<ChildHost | undefined> {
  const asked = await Promise.all(hosts.map(async (host) => {
    const { queue } = await (await fetch(`${host.url}/readyz`)).json();
    return queue.resident > 0 ? host : undefined;
  }));
  return asked.find((host) => host !== undefined);
}

/** Starts the command and gathers what it says. */
function watched(...args: readonly string[]) {
  const child = startPare(...args), said = { text: "" };
  const ended = (async () => {
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) said.text += text;
    await child.stdout.cancel();
    return (await child.status).code;
  })();
  const done = () =>
    [...said.text.matchAll(/^pruning (\d+)\/24/gm)].map(([, count]) => Number(count)).at(-1) ?? 0;
  return { said, ended, done };
}

describe("pare prune over an edge", { skip: Deno.build.os === "windows" && "it has no SIGKILL" }, () => {
  it("ends in the bytes of a run in one process though a host is killed and the edge restarts", async () => {
    const alone = await runPare(...args, "--out", `${folder}/alone`);
    assert.equal(alone.code, 0, alone.stderr);

    const run = watched(...args, "--out", `${folder}/jobs`, "--server", edge.url);
    const victim = await until("a host has a layer", busyHost);
    Deno.kill(victim.pid, "SIGKILL");
    hosts.splice(hosts.indexOf(victim), 1);
    await until("a block is done", () => run.done() >= LAYERS_A_BLOCK || undefined);

    // Stopped with a layer of the next block's job, so that the edge goes down in the middle of one.
    await until("a host has a layer again", busyHost);
    for (const { pid } of hosts) Deno.kill(pid, "SIGSTOP");
    const port = Number(new URL(edge.url).port);
    await edge[Symbol.asyncDispose]();
    await until("the client misses it", () => run.said.text.includes("trying again") || undefined);
    for (const { pid } of hosts) Deno.kill(pid, "SIGCONT");
    edge = await startEdge({ folder: `${folder}/edge`, port, vars: VARS });

    assert.equal(await run.ended, 0, run.said.text);
    assert.match(run.said.text, /^solving in jobs of http.*, at 3 hosts: cpu \(/m);
    // Of the host that was killed, and of the edge that went down.
    assert.match(run.said.text, /layers\.0\.\S+ took 2 attempts/);
    assert.match(run.said.text, /layers\.[1-3]\.\S+ took \d attempts/);
    for (const name of ["model.safetensors", "config.json"]) {
      const [one, other] = await Promise.all(
        ["alone", "jobs"].map((out) => Deno.readFile(`${folder}/${out}/${name}`)),
      );
      assert.deepEqual(other, one, name);
    }
  });
});
