/** Tests `pare prune --remote`, with the host as a process of its own. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";
import { contents } from "./run_contents.ts";
import { runPare, startPare } from "./run_pare.ts";

const folder = temporaryFolder();
const text = (await writeSotuTexts(folder)).calibration;

function pruneArgs(out: string, ...options: readonly string[]): string[] {
  const windows = ["--samples", "8", "--seqlen", "64", "--pattern", "2:4"];
  return ["prune", OPT_SOTU, "--out", out, "--calibration", text, ...windows, ...options];
}

interface HostProcess {
  readonly url: string;
  /** Kills the process. */
  kill(): Promise<void>;
}

/** Starts `pare serve` on the CPU, and waits until it listens. @param port 0 chooses a free port */
async function startHost(port = 0): Promise<HostProcess> {
  const child = startPare("serve", "--backend", "cpu", "--port", String(port));
  child.stdout.pipeTo(new WritableStream()).catch(() => {});
  const reader = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
  let printed = "", url: string | undefined;
  while (url === undefined) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`pare serve has ended: ${printed}`);
    printed += value;
    [url] = /http:\/\/127\.0\.0\.1:\d+/.exec(printed) ?? [];
  }
  const drained = (async () => {
    while (!(await reader.read()).done);
  })();
  return {
    url,
    async kill() {
      child.kill("SIGKILL");
      await child.status;
      await drained;
    },
  };
}

describe("pare prune --remote", { skip: Deno.build.os === "windows" && "Windows has no SIGKILL" }, () => {
  it("writes the same bytes as a run on this machine, also after the host and the client were killed", async () => {
    const expected = `${folder}/local`, out = `${folder}/remote`;
    const local = await runPare(...pruneArgs(expected, "--backend", "cpu"));
    assert.equal(local.code, 0, local.stderr);
    let host = await startHost();
    const port = Number(new URL(host.url).port), args = pruneArgs(out, "--server", host.url, "--remote");
    try {
      const client = startPare(...args), reader = client.stderr.pipeThrough(new TextDecoderStream()).getReader();
      let printed = "", restarted: Promise<void> | undefined;
      for (let next = await reader.read(); !next.done; next = await reader.read()) {
        printed += next.value;
        const done = Number([...printed.matchAll(/^pruning (\d+)\/24/gm)].at(-1)?.[1] ?? 0);
        if (done >= 7) {
          restarted ??= (async () => {
            await host.kill();
            host = await startHost(port);
          })();
        }
        if (done >= 20) {
          client.kill("SIGKILL");
          break;
        }
      }
      await reader.cancel();
      await client.stdout.cancel();
      await client.status;
      await restarted;
      assert.match(printed, /the host does not have the hidden states before block \d: running the blocks before it again/);
      const remote = await runPare(...args);
      assert.equal(remote.code, 0, remote.stderr);
      assert.match(remote.stderr, /^pruning whole blocks at 1 host: cpu/m);
      assert.deepEqual({ ...contents(out), "pare.json": undefined }, { ...contents(expected), "pare.json": undefined });
    } finally {
      await host.kill();
    }
  });

  it("refuses options that do not fit", async () => {
    const cases = [
      [["--remote"], "needs exactly one --server, got 0"],
      [["--remote", "--server", "http://a", "--server", "http://b"], "needs exactly one --server, got 2"],
      [["--remote", "--server", "http://a", "--plan"], "does not work with --plan"],
      [["--remote", "--server", "http://a", "--allocate", "owl"], "does not work with --allocate owl"],
      [["--remote", "--server", "http://a", "--activations", "disk"], "does not work with --activations disk"],
    ] as const;
    for (const [options, message] of cases) {
      const { code, stderr } = await runPare(...pruneArgs(`${folder}/refused`, ...options));
      assert.equal(code, 2, stderr);
      assert.ok(stderr.includes(`error: option --remote: ${message}`), stderr);
    }
  });
});
