/** Tests `pare prune --remote`, with the host as a process of its own. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import { startHost } from "../../scripts/processes/child_host.ts";
import { assertSame } from "../support/assert_same.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";
import { contents } from "./run_contents.ts";
import { serveLoopback } from "../support/serve_loopback.ts";
import { actDuring, runPare, startPare, succeeded } from "./run_pare.ts";

const folder = temporaryFolder();
const text = (await writeSotuTexts(folder)).calibration;

function pruneArgs(out: string, ...options: readonly string[]): string[] {
  const windows = ["--samples", "8", "--seqlen", "64", "--method", "sparsegpt", "--pattern", "2:4"];
  return ["prune", OPT_SOTU, "--out", out, "--calibration", text, ...windows, ...options];
}

describe("pare prune --remote", { skip: Deno.build.os === "windows" && "Windows has no SIGKILL" }, () => {
  for (
    const [what, hostCount, options, loss] of [
      [
        "at a host that starts again",
        1,
        [],
        /^the host does not have the hidden states before block \d: running/m,
      ],
      [
        "with targets and a reconstruction at two hosts, one of which is lost",
        2,
        ["--samples", "20", "--seqlen", "32", "--target", "dense", "--reconstruct", "1"],
        /^http\S+ is lost \(.*\); its windows go to another host/m,
      ],
    ] as const
  ) {
    it(`writes the bytes of a run on this machine after the client was killed, ${what}`, async () => {
      const expected = `${folder}/alone ${hostCount}`, out = `${folder}/remote ${hostCount}`;
      await succeeded(runPare(...pruneArgs(expected, ...options, "--backend", "cpu")));
      await using cleanup = new AsyncDisposableStack();
      const start = async (...flags: string[]) =>
        cleanup.use(await startHost(["--backend", "cpu", ...flags]));
      const first = await start(), { port } = new URL(first.url), urls = [first.url];
      if (hostCount === 2) urls.push((await start()).url);
      const servers = urls.flatMap((url) => ["--server", url]);
      /** Runs the command, and calls `act` when so many layers are pruned. */
      const run = (layers: number, act: (client: Deno.ChildProcess) => unknown) => {
        const client = startPare(...pruneArgs(out, ...options, ...servers, "--remote"));
        return actDuring(client, (text) => text.includes(`\npruning ${layers}/24`), () => act(client));
      };
      const killed = await run(7, (client) => client.kill("SIGKILL"));
      assert.equal(killed.signal, "SIGKILL", killed.stderr);
      const { code, stderr } = await run(14, async () => {
        Deno.kill(first.pid, "SIGKILL");
        await first.ended;
        if (hostCount === 1) await start("--port", port);
      });
      assert.equal(code, 0, stderr);
      assert.match(
        stderr,
        hostCount === 1 ? /^pruning whole blocks at 1 host: cpu/m : /^solving at 2 hosts: cpu/m,
      );
      assert.match(stderr, loss);
      assertSame(contents(out), contents(expected));
    });
  }

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
    await using server = serveLoopback(({ url }) => {
      const { pathname } = new URL(url);
      return Response.json(pathname === "/v1/hosts" ? { hosts: [] } : { jobs: [], cursor: null });
    });
    const { code, stderr } = await runPare(
      ...pruneArgs(`${folder}/refused`, "--server", server.url, "--jobs", "--remote"),
    );
    assert.equal(code, 2, stderr);
    assert.ok(stderr.includes(`error: option --remote: ${server.url} lists no hosts`), stderr);
  });
});
