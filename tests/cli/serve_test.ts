/** Tests `pare serve` as a process: its output when it listens, its shutdown, and its failure to start. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { withTemporaryFolder } from "../support/temporary_folder.ts";
import { runPare, runPareWith, startPare, startPareWith, words } from "./run_pare.ts";

/** Returns the first line of a stream, and a promise of the rest. */
async function firstLine(
  stream: ReadableStream<Uint8Array>,
): Promise<{ line: string; rest: Promise<string> }> {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  const more = async () => {
    const { done, value } = await reader.read();
    text += value ?? "";
    return !done;
  };
  while (!text.includes("\n")) assert.ok(await more(), `ended after: ${text}`);
  const end = text.indexOf("\n");
  const line = text.slice(0, end);
  const readRest = async () => {
    while (await more());
    return text.slice(end + 1);
  };
  return { line, rest: readRest() };
}

describe("pare serve", () => {
  for (const signal of ["SIGINT", "SIGTERM", "SIGUSR1"] as const) {
    it(`prints its address, answers requests, and shuts down in order on ${signal}`, async () => {
      const child = startPare("serve", "--port", "0", "--backend", "cpu", "--json");
      const log = new Response(child.stderr).text();
      const { line, rest } = await firstLine(child.stdout);
      const { url, backend, adapter } = JSON.parse(line);
      assert.match(url, /^http:\/\/127\.0\.0\.1:\d+$/);
      assert.equal(backend, "cpu");
      assert.match(adapter, /WebAssembly/);
      const health = await fetch(`${url}/healthz`);
      assert.equal(health.status, 200);
      await health.body?.cancel();
      child.kill(signal);
      assert.equal((await child.status).code, 0);
      assert.equal(await rest, "");
      const events = (await log).trimEnd().split("\n").map((record) => JSON.parse(record).event);
      assert.deepEqual(events, ["listening", "request", "stopped"]);
    });
  }

  it("says how many keys it accepts", async () => {
    for (const [count, text] of [[1, "1 key"], [2, "2 keys"]] as const) {
      const PARE_KEYS = Array.from({ length: count }, (_, i) => String(i).repeat(64)).join();
      const child = startPareWith({ PARE_KEYS }, "serve", "--port", "0", "--backend", "cpu");
      const { line, rest } = await firstLine(child.stdout);
      assert.ok(line.endsWith(`; ${text})`), line);
      child.kill("SIGTERM");
      await Promise.all([rest, child.stderr.cancel(), child.status]);
    }
  });

  it("exits with 2 and names the variable if PARE_KEYS is malformed, and never prints its value", async () => {
    const { code, stderr } = await runPareWith(
      { PARE_KEYS: "secret" },
      ...words`serve --port 0 --backend cpu`,
    );
    assert.deepEqual([code, stderr], [
      2,
      "error: PARE_KEYS entry 1: must be a sha-256 in hexadecimal, or HEX:SCOPE+SCOPE\n",
    ]);
  });

  it("exits with 2 if it has no keys and its address is not one of loopback", async () => {
    assert.deepEqual(await runPareWith({ PARE_KEYS: "" }, "serve", "--host", "0.0.0.0", "--port", "0"), {
      code: 2,
      stdout: "",
      stderr:
        "error: option --host: address 0.0.0.0: a host without API keys listens on loopback only. Set PARE_KEYS\n",
    });
  });

  it("exits with 2 if its file of keys is missing, malformed or without a key, or if PARE_KEYS is set too", () =>
    withTemporaryFolder(async (folder) => {
      const path = `${folder}/keys`;
      const serveWith = (env: Record<string, string> = {}) =>
        runPareWith({ PARE_KEYS_FILE: path, ...env }, "serve", "--port", "0", "--backend", "cpu");
      assert.match(
        (await serveWith()).stderr,
        new RegExp(`^error: key file ${path} cannot be read: No such file or directory`),
      );
      await Deno.writeTextFile(path, "# none");
      assert.deepEqual(await serveWith(), {
        code: 2,
        stdout: "",
        stderr: `error: key file ${path}: has no key; a host without keys would accept every request\n`,
      });
      const { code, stderr } = await serveWith({ PARE_KEYS: "0".repeat(64) });
      assert.deepEqual([code, stderr], [
        2,
        "error: PARE_KEYS and PARE_KEYS_FILE are both set: set one of them\n",
      ]);
    }));

  it("exits with 2 if its folder of states is a file", async () => {
    const file = fileURLToPath(import.meta.url), words = ["serve", "--port", "0", "--states", file];
    const { code, stderr } = await runPare(...words);
    assert.equal(code, 2);
    assert.match(stderr, /^error: option --states .*serve_test\.ts: cannot be written: .*: is not a folder/);
  });

  it("exits with 3 if it must have a GPU, but computes on the CPU", async () => {
    const stderr = "error: a GPU is required, but the backend cpu was chosen\n", code = 3;
    const words = ["serve", "--port", "0", "--backend", "cpu"];
    assert.deepEqual(await runPare(...words, "--require-gpu"), { code, stdout: "", stderr });
    assert.deepEqual(await runPareWith({ PARE_REQUIRE_GPU: "1" }, ...words), { code, stdout: "", stderr });
    const malformed = await runPareWith({ PARE_REQUIRE_GPU: "yes" }, ...words);
    assert.deepEqual([malformed.code, malformed.stderr], [
      2,
      "error: PARE_REQUIRE_GPU yes: must be 0 or 1\n",
    ]);
  });

  it("exits with 4 and names the port if another program uses it", async () => {
    const taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    try {
      const { code, stderr } = await runPare("serve", "--port", String(taken.addr.port), "--backend", "cpu");
      assert.equal(code, 4);
      assert.match(
        stderr,
        new RegExp(`^error: option --port ${taken.addr.port}: another program uses this port$`, "m"),
      );
    } finally {
      taken.close();
    }
  });
});
