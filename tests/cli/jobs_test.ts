/** Tests `pare jobs`, against a stand-in for an edge. `edge_test.ts` tests it against an edge. */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Job, JobSummary } from "../../src/protocol/messages.ts";
import type { JobState } from "../../src/protocol/job_state.ts";
import { problem, report } from "../client/fake_host.ts";
import { serveLoopback } from "../support/serve_loopback.ts";
import { pareJson, runPare, runPareWith } from "./run_pare.ts";

const JOBS = 130;

/** The stand-in knows jobs with the ids 0, 1, … in hexadecimal. The latest is running, and the others are done. */
class FakeEdge implements AsyncDisposable {
  readonly requests: string[] = [];
  readonly keys = new Set<string | null>();
  readonly #cancelled = new Set<number>();
  readonly #server = serveLoopback((request) => this.#answer(request));

  get url(): string {
    return this.#server.url;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve(this.#server[Symbol.asyncDispose]());
  }

  #answer(request: Request): Response {
    const { pathname, search, searchParams } = new URL(request.url);
    this.requests.push(`${request.method} ${pathname}${search}`);
    this.keys.add(request.headers.get("Authorization"));
    if (pathname === "/v1/jobs") return Response.json(this.#page(searchParams));
    const index = parseInt(pathname.split("/").at(-1)!, 16);
    if (index >= JOBS) return problem(404, "not_found")();
    if (request.method === "GET") return Response.json(this.#job(index));
    if (index === JOBS - 1) this.#cancelled.add(index);
    return new Response(null, { status: 204 });
  }

  #page(query: URLSearchParams) {
    const state = query.get("state"), limit = Number(query.get("limit") ?? 20);
    const all = Array.from({ length: JOBS }, (_, i) => this.#summary(JOBS - 1 - i));
    const matching = all.filter((job) => state === null || job.state === state);
    const start = Number(query.get("cursor") ?? 0), end = start + limit;
    return { jobs: matching.slice(start, end), cursor: end < matching.length ? String(end) : null };
  }

  #state(index: number): JobState {
    return this.#cancelled.has(index) ? "cancelled" : index === JOBS - 1 ? "running" : "done";
  }

  #head(index: number) {
    const state = this.#state(index), created = new Date(Date.now() - 90_000).toISOString();
    const ended = state === "running" ? null : new Date(Date.now() - 60_000).toISOString();
    return { id: idOf(index), name: index % 2 ? `opt, block ${index}` : null, state, created, ended };
  }

  #summary(index: number): JobSummary {
    const none = { queued: 0, running: 0, done: 0, failed: 0, cancelled: 0 };
    return { ...this.#head(index), layers: { ...none, done: 1, [this.#state(index)]: 2 } };
  }

  #job(index: number): Job {
    const layer = {
      weight: `sha256:${"0".repeat(64)}`,
      hessian: null,
      parameters: {},
      attempts: 1,
      host: "host-1",
    };
    const open = { ...layer, result: null, report: null, error: null };
    const done = { report: report(2, 3), result: layer.weight };
    const error = { code: "cancelled", detail: "the job was cancelled" };
    const state = this.#state(index);
    return {
      ...this.#head(index),
      layers: [
        { ...open, ...done, name: "q", state: "done" },
        {
          ...open,
          ...state === "done" && done,
          ...state === "cancelled" && { error },
          name: "k",
          state,
          host: null,
        },
      ],
    };
  }
}

function idOf(index: number): string {
  return index.toString(16).padStart(32, "0");
}

let edge: FakeEdge;
before(() => {
  edge = new FakeEdge();
});
after(() => edge[Symbol.asyncDispose]());

describe("pare jobs list", () => {
  it("prints the newest jobs with their layers, age and duration", async () => {
    const { code, stdout, stderr } = await runPare("jobs", "list", "--server", edge.url, "--limit", "2");
    assert.deepEqual([code, stderr], [0, ""]);
    const rows = stdout.split("\n").filter((line) => line.includes(" │ ")).map((line) =>
      line.split("│").map((cell) => cell.trim())
    );
    assert.deepEqual(rows[0].slice(1, -1), ["job", "name", "state", "layers", "age", "took"]);
    assert.deepEqual(rows[1].slice(1, -1), [
      idOf(129),
      "opt, block 129",
      "running",
      "2 running, 1 done",
      "90 s",
      "90 s",
    ]);
    assert.deepEqual(rows[2].slice(1, 4), [idOf(128), "–", "done"]);
    assert.equal(rows.length, 3);
  });

  it("asks for as many pages as --limit needs, with the state and the key of the options", async () => {
    edge.requests.length = 0;
    const env = { PARE_SERVER: edge.url, PARE_API_KEY: "secret" };
    const { stdout } = await runPareWith(env, "jobs", "list", "--state", "done", "--limit", "125", "--json");
    assert.deepEqual(
      JSON.parse(stdout).jobs.map(({ id }: JobSummary) => id),
      Array.from({ length: 125 }, (_, i) => idOf(128 - i)),
    );
    assert.deepEqual(edge.requests, [
      "GET /v1/jobs?state=done&limit=100",
      "GET /v1/jobs?state=done&limit=25&cursor=100",
    ]);
    assert.ok(edge.keys.has("Bearer secret"));
  });

  it("says that there are no such jobs", async () => {
    const { stdout } = await runPare("jobs", "list", "--server", edge.url, "--state", "failed");
    assert.equal(stdout, "there are no such jobs\n");
  });
});

describe("pare jobs show", () => {
  it("prints the state of each layer", async () => {
    const { code, stdout } = await runPare("jobs", "show", idOf(127), "--server", edge.url);
    assert.equal(code, 0);
    assert.match(
      stdout,
      new RegExp(`^job ${idOf(127)} \\(opt, block 127\\): done, submitted 90 s ago, took 30 s\n`),
    );
    assert.match(stdout, /│ q +│ done +│ host-1 │ +1 │/);
    assert.ok(!stdout.includes("problem"), stdout);
    assert.equal((await pareJson<Job>("jobs", "show", idOf(5), "--server", edge.url)).id, idOf(5));
  });

  it("exits with 3 if there is no such job", async () => {
    const { code, stderr } = await runPare("jobs", "show", idOf(999), "--server", edge.url);
    assert.deepEqual([code, stderr], [3, "error: not_found (404): detail of not_found\n"]);
  });
});

describe("pare jobs cancel", () => {
  it("cancels a running job, and says so if the job had ended before", async () => {
    const running = await runPare("jobs", "cancel", idOf(129), "--server", edge.url);
    assert.deepEqual([running.code, running.stdout], [
      0,
      `cancelled job ${idOf(129)}; 1 of 2 layers are done\n`,
    ]);
    const shown = await runPare("jobs", "show", idOf(129), "--server", edge.url);
    assert.match(shown.stdout, /│ k +│ cancelled +│.*│ +cancelled: the job was cancelled │/);
    const ended = await runPare("jobs", "cancel", idOf(7), "--server", edge.url);
    assert.equal(ended.stdout, `job ${idOf(7)} had ended before: done\n`);
  });
});

describe("pare jobs usage", () => {
  for (
    const [args, message] of [
      [["list"], /required option '--server <url>' not specified/],
      [["list", "--server", "local"], /option --server local: must be the URL of an edge/],
      [
        ["show", "../hosts", "--server", "http://127.0.0.1:1"],
        /'\.\.\/hosts' is invalid.*32 hexadecimal digits/,
      ],
      [
        ["list", "--state", "open", "--server", "http://127.0.0.1:1"],
        /queued, running, done, failed, cancelled/,
      ],
      [[], /Usage: pare jobs/],
    ] as const
  ) {
    it(`refuses "jobs ${args.join(" ")}"`, async () => {
      const { code, stderr } = await runPare("jobs", ...args);
      assert.equal(code, 2);
      assert.match(stderr, message);
    });
  }
});
