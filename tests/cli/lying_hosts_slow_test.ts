/**
 * Tests commands with hosts and edges that answer nonsense. A wrong layer must never be written, and such an answer is neither a defect of Pare
 * (exit code 1) nor a reason to try again (4).
 */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import { noContent, problem, READY, solved } from "../client/fake_host.ts";
import { serveLoopback } from "../support/serve_loopback.ts";
import { fakeEdge, type JobSolver, solvedFile } from "../client/jobs/fake_edge.ts";
import { lieAbout, lieAboutBlock, LIES } from "../client/lies.ts";
import { openLocalHost } from "../support/local_host.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { type Finished, runPare, runPareWith, succeeded, words } from "./run_pare.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";

const LAYER = new URL("../fixtures/layers/layer.safetensors", import.meta.url).pathname;

const folder = temporaryFolder(), host = await openLocalHost("cpu");
after(() => host[Symbol.asyncDispose]());
const text = (await writeSotuTexts(folder)).calibration;

type Handler = (request: Request) => Response | Promise<Response>;
type Change = (honest: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer>;

const HONEST: Change = (honest) => honest;
const NAN: Change = (honest) => lieAbout(honest, LIES["a NaN"]);
const ZEROS: Change = (honest) => lieAbout(honest, LIES["zeros only"]);

/** Returns the handler of a host that changes its answers. */
function hostWith(change: Change): Handler {
  return async (request) => {
    const { pathname, search } = new URL(request.url);
    if (pathname === "/readyz") return Response.json(READY);
    if (pathname === "/v1/hosts") return problem(404, "not_found")();
    const { method, headers } = request, body = new Uint8Array(await request.arrayBuffer());
    const received = { method, path: pathname + search, headers, body };
    if (method !== "POST") return noContent(received);
    if (body.length === 0) return problem(415, "unsupported_media_type")();
    return new Response(change(new Uint8Array(await solved(received).arrayBuffer())));
  };
}

/** Runs `body` with a server on the loopback interface. */
async function withServer<T>(handler: Handler, body: (url: string) => Promise<T>): Promise<T> {
  await using server = serveLoopback(handler);
  return await body(server.url);
}

function layer(url: string, out: string): Promise<Finished> {
  return runPare("layer", LAYER, "--out", `${folder}/${out}`, "--server", url);
}

function prune(url: string, out: string, ...options: readonly string[]): Promise<Finished> {
  const args = words`
    prune ${OPT_SOTU} --out ${folder}/${out} --calibration ${text} --samples 2 --seqlen 32
    --max-layer 1 --backend cpu --server ${url}
  `;
  return runPare(...args, ...options);
}

/** Checks that a command was refused, and that it wrote nothing to `out`. */
async function assertRefused({ code, stderr }: Finished, out: string, message: RegExp): Promise<void> {
  assert.equal(code, 3, stderr);
  assert.match(stderr, message);
  assert.doesNotMatch(stderr, /defect of Pare|trying again/);
  await assert.rejects(Deno.stat(`${folder}/${out}`), Deno.errors.NotFound);
}

describe("pare layer with a host that lies", () => {
  it("writes an honest answer", () =>
    withServer(hostWith(HONEST), async (url) => {
      await succeeded(layer(url, "honest"));
    }));

  it("refuses a NaN, zeros only, and an answer that is not a layer", async () => {
    for (
      const [change, message] of [
        [NAN, /weight \[63,95\] is not finite/],
        [ZEROS, /every weight is 0/],
        [() => new TextEncoder().encode("<html>"), /it is not a safetensors file/],
        [() => new Uint8Array(3 << 20), /longer than \d+ bytes/],
      ] as const
    ) {
      await withServer(
        hostWith(change),
        async (url) => assertRefused(await layer(url, "none"), "none", message),
      );
    }
  });

  it("refuses a redirect, and does not send the layer there", async () => {
    const received: string[] = [];
    const other: Handler = ({ url }) => {
      received.push(url);
      return new Response();
    };
    await withServer(
      other,
      (target) =>
        withServer(
          () => new Response(null, { status: 307, headers: { Location: `${target}/v1/layers` } }),
          async (url) =>
            assertRefused(await layer(url, "none"), "none", new RegExp(`redirects to ${target}/v1/layers`)),
        ),
    );
    assert.deepEqual(received, []);
  });

  it("refuses an error page with the status 500, and quotes only its start without control characters", () =>
    withServer(() => new Response(`\u001b[2J${"x".repeat(3_000_000)}`, { status: 500 }), async (url) => {
      const finished = await layer(url, "none");
      await assertRefused(finished, "none", /^error: unknown \(500\): \\u001b\[2Jxxx/);
      assert.ok(finished.stderr.length < 400);
    }));

  it("refuses a port to which the runtime sends no requests, without another attempt", async () => {
    await assertRefused(
      await layer("http://127.0.0.1:6000", "none"),
      "none",
      /sends no requests to this port/,
    );
  });
});

/** The lies that a run gets, and the error of the command. `lying_hosts_test.ts` of the SDK tells all lies to all calls. */
const TOLD: Readonly<Record<string, RegExp>> = {
  "a NaN": /is not finite/,
  "zeros only": /every weight is 0|is 0, although its mask keeps/,
  "one more zero, which the mask and the report confirm": /but the query asks for/,
  "zeros in other places": /is not 0, although its mask prunes it/,
  "another dtype": /the tensor weight is .* instead of/,
  "another shape": /the tensor weight is .* instead of/,
  "the values of another layer": /its relative error is .*, but its report says/,
  "values times 1.5": /its relative error is .*, but its report says/,
};

/** The options of a run at a host, and the answers about which the host lies. */
const RUNS = [
  { options: [], path: "/v1/layers", lieAbout },
  { options: ["--remote"], path: "/v1/blocks/prune", lieAbout: lieAboutBlock },
] as const;

describe("pare prune with a host that lies", () => {
  for (const { options, path, lieAbout } of RUNS) {
    it(`refuses every lie about ${path}, and publishes no checkpoint`, async () => {
      for (const [what, message] of Object.entries(TOLD)) {
        const liar: Handler = async (request) => {
          const response = await host.transport.application!(request);
          if (request.method !== "POST" || !request.url.includes(path) || !response.ok) return response;
          return new Response(lieAbout(await response.bytes(), LIES[what]));
        };
        await withServer(liar, async (url) => {
          const { code, stderr } = await prune(url, "lied", ...options);
          assert.equal(code, 3, `${what}: ${stderr}`);
          assert.match(stderr, message);
          assert.match(stderr, /error: model\.decoder\.layers\.0\./); // the message names the layer
          await assert.rejects(Deno.stat(`${folder}/lied/model.safetensors`), Deno.errors.NotFound);
        });
      }
    });
  }

  it("refuses a server whose description is none, or too long", async () => {
    for (const body of ["<html>", "{}", JSON.stringify({ ...READY, backend: "x".repeat(40 << 20) })]) {
      const handler: Handler = ({ url }) =>
        new Response(body, { status: url.endsWith("/v1/hosts") ? 404 : 200 });
      await withServer(handler, async (url) => {
        await assertRefused(await prune(url, "none"), "none", /is not the description of a host|longer than/);
      });
    }
  });
});

describe("pare prune with an edge whose hosts lie", () => {
  it("refuses a NaN and zeros only, after three jobs", async () => {
    for (const [change, message] of [[NAN, /is not finite/], [ZEROS, /every weight is 0/]] as const) {
      let answer: Handler = () => new Response(null, { status: 503 });
      await withServer((request) => answer(request), async (url) => {
        const lie: JobSolver = (...layer) => ({ bytes: change(solvedFile(...layer).bytes) });
        const edge = fakeEdge(problem(500, "unknown"), lie, { url });
        answer = edge.answer;
        const { code, stderr } = await prune(url, "by_jobs");
        assert.equal(code, 3, stderr);
        assert.match(stderr, message);
        assert.equal(edge.jobs.length, 3);
        await assert.rejects(Deno.stat(`${folder}/by_jobs/model.safetensors`), Deno.errors.NotFound);
      });
    }
  });
});

describe("a key that the server does not accept", () => {
  it("is reported with the names of its option and its variable, before the calibration", async () => {
    const requests: string[] = [];
    const handler: Handler = ({ method, url }) => {
      requests.push(`${method} ${new URL(url).pathname}`);
      if (url.endsWith("/readyz")) return Response.json(READY);
      return problem(401, "unauthorized")();
    };
    await withServer(handler, async (url) => {
      const message =
        /^error: unauthorized \(401\): .*\. The key is the value of --api-key or PARE_API_KEY$/m;
      const finished = await prune(url, "none", "--calibration", `${folder}/empty.txt`);
      await assertRefused(finished, "none", message);
      assert.doesNotMatch(finished.stderr, /empty\.txt/);
      await assertRefused(await prune(url, "none", "--jobs"), "none", message);
      const listed = await runPareWith({ PARE_SERVER: url }, "jobs", "list");
      assert.match(listed.stderr, message);
    });
    assert.deepEqual(requests, [
      ...["GET /v1/hosts", "GET /readyz", "POST /v1/layers"],
      ...["GET /v1/hosts", "GET /v1/jobs"],
      "GET /v1/jobs",
    ]);
  });

  before(() => Deno.writeTextFile(`${folder}/empty.txt`, ""));
});
