/**
 * Tests `deno task edge:dev`, which runs an edge (Pare's Cloudflare Worker) and a host on this machine. The
 * task must start, serve and stop, and no child process may remain.
 */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { describe, it } from "@std/testing/bdd";
import { startEdgeWithHost } from "../../scripts/processes/edge_with_host.ts";
import { descendants, memoryBytes } from "../../scripts/processes/process_tree.ts";
import { sleep } from "../../src/base/waiting.ts";
import { decodeAnswer } from "../../src/client/answers/layer_answer.ts";
import { sha256 } from "../../src/protocol/digest.ts";
import { safetensorsHeaders } from "../routes/host.ts";
import { withTemporaryFolder } from "../support/temporary_folder.ts";

const SCRIPT = fileURLToPath(new URL("../../scripts/edge_dev.ts", import.meta.url));
const LAYER = new URL("../fixtures/layers/layer.safetensors", import.meta.url);

/** Reads the output up to the last line of the welcome text. */
async function readWelcome(stdout: ReadableStream<Uint8Array>): Promise<string> {
  let text = "";
  for await (const chunk of decode(stdout)) {
    text += chunk;
    if (text.includes("Ctrl-C stops both.")) return text;
  }
  throw new Error(`the process ended without a welcome text: ${text}`);
}

function decode(bytes: ReadableStream<Uint8Array>) {
  return bytes.pipeThrough(new TextDecoderStream()).values({ preventCancel: true });
}

describe("deno task edge:dev", () => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    it(`serves the HTTP API, and leaves no process behind after ${signal}`, async () => {
      await withTemporaryFolder(async (folder) => {
        const child = new Deno.Command(Deno.execPath(), {
          args: ["run", "-A", "--quiet", "--no-check", SCRIPT, "--port", "0", "--backend", "cpu"]
            .concat("--state", folder),
          stdin: "null",
          stdout: "piped",
          stderr: "piped",
        }).spawn();
        const errorText = new Response(child.stderr).text();
        try {
          const [, edge] = /^edge {2}(http:\S+),/m.exec(await readWelcome(child.stdout)) ?? [];
          const health = await fetch(`${edge}/healthz`);
          assert.deepEqual([health.status, (await health.json()).status], [200, "up"]);
          const { paths } = await (await fetch(`${edge}/openapi.json`)).json();
          for (const path of ["/v1/layers", "/v1/jobs", "/v1/uploads"]) assert.ok(path in paths, path);
          const { hosts } = await (await fetch(`${edge}/v1/hosts`)).json();
          assert.deepEqual(hosts.map((host: { backend: string }) => host.backend), ["cpu"]);
          const body = await Deno.readFile(LAYER);
          const answer = await fetch(`${edge}/v1/layers?sparsity=0.5`, {
            method: "POST",
            headers: safetensorsHeaders(body.length),
            body,
          });
          assert.equal(decodeAnswer(await answer.bytes(), { query: {} }).report.zeros, 64 * 96 / 2);
        } finally {
          const started = descendants(child.pid);
          child.kill(signal);
          assert.equal((await child.status).code, 0, await errorText);
          if (Deno.build.os === "linux") {
            const names = started.map(({ name }) => name);
            assert.ok(names.includes("workerd") && names.includes("deno"), names.join());
          }
          // Helper processes end a moment after the processes that started them.
          const alive = () => started.filter(({ pid }) => memoryBytes(pid, "VmRSS") > 0);
          for (let tries = 0; alive().length > 0 && tries < 100; tries++) await sleep(20);
          assert.deepEqual(alive(), []);
        }
      });
    });
  }

  it("serves with the API keys of PARE_KEYS", async () => {
    const key = "mine", hex = (await sha256(new TextEncoder().encode(key))).toHex();
    await withTemporaryFolder(async (folder) => {
      await using pair = await startEdgeWithHost({ backend: "cpu", folder, vars: { PARE_KEYS: hex } });
      const hosts = `${pair.edge.url}/v1/hosts`;
      const refused = await fetch(hosts);
      assert.deepEqual([refused.status, (await refused.json()).code], [401, "unauthorized"]);
      const allowed = await fetch(hosts, { headers: { Authorization: `Bearer ${key}` } });
      assert.deepEqual([allowed.status, (await allowed.json()).hosts.length], [200, 1]);
    });
  });
});
