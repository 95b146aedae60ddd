/**
 * Schemathesis generates requests from the OpenAPI documents of the host and of the edge, valid and invalid ones, and all of its checks
 * hold for the answers: no server error, and no status, header or body that the document does not describe. The edge is Pare's Cloudflare
 * Worker in front of hosts. `PARE_SCHEMATHESIS_SECONDS` is the time for each of them, and `PARE_SCHEMATHESIS_SEED` the seed.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { type Host, serve } from "../../routes/serve.ts";
import { peersSkipReason, VENVS } from "../../scripts/peers/venv.ts";
import { sha256 } from "../../src/protocol/digest.ts";
import { parseKeys } from "../../src/protocol/keys.ts";
import { startDevEdge } from "../edge/local_edge.ts";
import { withTemporaryFolder } from "../support/temporary_folder.ts";

const SECONDS = Deno.env.get("PARE_SCHEMATHESIS_SECONDS") ?? "45";
const SEED = Deno.env.get("PARE_SCHEMATHESIS_SEED");

const KEY = "sesame";
const file = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const skip = await peersSkipReason(VENVS.schemathesis);
if (skip) console.log(`skipped: ${skip}`);

/** What a run of Schemathesis did. */
interface RunFigures {
  readonly server: string;
  readonly cases: number;
  readonly failures: number;
}

/** Attacks the server at `url` and fails if a check fails. The message has the report of Schemathesis with its seed. */
async function attack(server: string, url: string): Promise<void> {
  await withTemporaryFolder(async (folder) => {
    const { code, stdout } = await new Deno.Command(VENVS.schemathesis.python, {
      args: [
        ...["-m", "schemathesis.cli", "--no-color", "--config-file", file("schemathesis.toml")],
        ...["run", `${url}/openapi.json`, "--header", `Authorization: Bearer ${KEY}`, "--checks", "all"],
        ...["--max-time", SECONDS, "--continue-on-failure", "--warnings", "off"],
        ...SEED === undefined ? [] : ["--seed", SEED],
      ],
      cwd: folder,
      env: { SCHEMATHESIS_HOOKS: file("hooks.py"), PYTHONDONTWRITEBYTECODE: "1" },
      stdout: "piped",
      stderr: "inherit",
    }).output();
    const report = new TextDecoder().decode(stdout);
    assert.equal(code, 0, report.slice(-20_000));
    const [, cases] = /(\d+) generated/.exec(report) ?? assert.fail(report);
    await recordFigures({ server, cases: Number(cases), failures: 0 });
  });
}

/** Appends the figures as a line of JSON to the file `PARE_SCHEMATHESIS_FIGURES`, if it is set. */
async function recordFigures(figures: RunFigures): Promise<void> {
  const path = Deno.env.get("PARE_SCHEMATHESIS_FIGURES");
  if (path) await Deno.writeTextFile(path, JSON.stringify(figures) + "\n", { append: true });
}

describe("requests that Schemathesis generates", { skip: skip !== undefined }, () => {
  let host: Host, edge: Awaited<ReturnType<typeof startDevEdge>>;
  before(async () => {
    const digest = (await sha256(new TextEncoder().encode(KEY))).toHex();
    host = await serve({
      backend: "cpu",
      hostname: "127.0.0.1",
      port: 0,
      keys: parseKeys(digest),
      log: () => {},
    });
    edge = await startDevEdge({
      EDGE_HOST: host.url,
      PARE_KEYS: digest,
      // URLs of uploads are signed for this bucket, but nothing is sent to it.
      BLOBS_S3_URL: "http://127.0.0.1:9/bucket",
      BLOBS_ACCESS_KEY_ID: "local",
      BLOBS_SECRET_ACCESS_KEY: "local-secret",
    });
  });
  after(async () => {
    await edge.close();
    await host.shutdown();
  });

  it("are answered by the host as its document says", () => attack("host", host.url));
  it("are answered by the edge as its document says", () => attack("edge", edge.url));
});
