/** Tests `pare prune --remote`, with the host as a process of its own. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import { type ChildHost, startHost } from "../../scripts/processes/child_host.ts";
import { assertSame } from "../support/assert_same.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";
import { contents } from "./run_contents.ts";
import { runPare, startPare, succeeded } from "./run_pare.ts";

const folder = temporaryFolder();
const text = (await writeSotuTexts(folder)).calibration;

function pruneArgs(out: string, ...options: readonly string[]): string[] {
  const windows = ["--samples", "8", "--seqlen", "64", "--pattern", "2:4"];
  return ["prune", OPT_SOTU, "--out", out, "--calibration", text, ...windows, ...options];
}

/** Kills the process of a host. */
async function kill({ pid, ended }: ChildHost): Promise<void> {
  Deno.kill(pid, "SIGKILL");
  await ended;
}

describe("pare prune --remote", { skip: Deno.build.os === "windows" && "Windows has no SIGKILL" }, () => {
  it("writes the same bytes as a run on this machine, also after the host and the client were killed", async () => {
    const expected = `${folder}/local`, out = `${folder}/remote`;
    await succeeded(runPare(...pruneArgs(expected, "--backend", "cpu")));
    let host = await startHost(["--backend", "cpu"]);
    const { port } = new URL(host.url), args = pruneArgs(out, "--server", host.url, "--remote");
    try {
      const client = startPare(...args),
        reader = client.stderr.pipeThrough(new TextDecoderStream()).getReader();
      let printed = "", restarted: Promise<void> | undefined;
      for (let next = await reader.read(); !next.done; next = await reader.read()) {
        printed += next.value;
        const done = Number([...printed.matchAll(/^pruning (\d+)\/24/gm)].at(-1)?.[1] ?? 0);
        if (done >= 7) {
          restarted ??= (async () => {
            await kill(host);
            host = await startHost(["--backend", "cpu", "--port", port]);
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
      assert.match(
        printed,
        /the host does not have the hidden states before block \d: running the blocks before it/,
      );
      const remote = await succeeded(runPare(...args));
      assert.match(remote.stderr, /^pruning whole blocks at 1 host: cpu/m);
      assertSame(contents(out), contents(expected));
    } finally {
      await host[Symbol.asyncDispose]();
    }
  });

  it("divides a run with targets and a reconstruction, and continues if the client and a host are killed", async () => {
    const expected = `${folder}/alone`, out = `${folder}/divided`;
    const windows = ["--samples", "40", "--seqlen", "32", "--target", "dense", "--reconstruct", "1"];
    await succeeded(runPare(...pruneArgs(expected, ...windows, "--backend", "cpu")));
    await using first = await startHost(["--backend", "cpu"]);
    await using second = await startHost(["--backend", "cpu"]);
    const servers = [first, second].flatMap(({ url }) => ["--server", url]);
    const args = pruneArgs(out, ...windows, ...servers, "--remote");
    /** Runs the command, and calls `stop` when the number of pruned layers is printed. Returns what is printed. */
    const run = async (layers: number, stop: (client: Deno.ChildProcess) => Promise<void>) => {
      const client = startPare(...args);
      let printed = "", stopped: Promise<void> | undefined;
      for await (const text of client.stderr.pipeThrough(new TextDecoderStream())) {
        printed += text;
        if (printed.includes(`\npruning ${layers}/24`)) stopped ??= stop(client);
      }
      await client.stdout.cancel();
      await stopped;
      return { printed, code: (await client.status).code };
    };
    const killed = await run(7, (client) => Promise.resolve(client.kill("SIGKILL")));
    assert.notEqual(killed.code, 0, killed.printed);
    // The first host has the states of all windows, besides those of its share.
    const { printed, code } = await run(14, () => kill(first));
    assert.equal(code, 0, printed);
    assert.match(printed, /^solving at 2 hosts: cpu/m);
    assert.match(printed, new RegExp(`^${first.url} is lost \\(.*\\); its windows go to another host`, "m"));
    assertSame(contents(out), contents(expected));
  });

  it("refuses options that do not fit", async () => {
    const cases = [
      [["--remote"], "needs a --server, got none"],
      [["--remote", "--server", "http://a", "--plan"], "does not work with --plan"],
      [["--remote", "--server", "http://a", "--allocate", "owl"], "does not work with --allocate owl"],
      [
        ["--remote", "--server", "http://a", "--activations", "disk"],
        "keeps the hidden states at the host, so it does not work with --activations disk",
      ],
    ] as const;
    for (const [options, message] of cases) {
      const { code, stderr } = await runPare(...pruneArgs(`${folder}/refused`, ...options));
      assert.equal(code, 2, stderr);
      assert.ok(stderr.includes(`error: option --remote: ${message}`), stderr);
    }
  });

  it("refuses an edge without hosts, because their device decides whether a run can be continued", async () => {
    const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, ({ url }) => {
      const { pathname } = new URL(url);
      return Response.json(pathname === "/v1/hosts" ? { hosts: [] } : { jobs: [], cursor: null });
    });
    const url = `http://127.0.0.1:${server.addr.port}`;
    const { code, stderr } = await runPare(
      ...pruneArgs(`${folder}/refused`, "--server", url, "--jobs", "--remote"),
    );
    await server.shutdown();
    assert.equal(code, 2, stderr);
    assert.ok(stderr.includes(`error: option --remote: ${url} lists no hosts`), stderr);
  });
});
