import assert from "node:assert/strict";
import { after, describe, it } from "@std/testing/bdd";
import { denoFileSystem as fs } from "../../src/cli/files/deno_file_system.ts";
import type { EndedCommand, StartCommand } from "../../src/host/runs/run_command.ts";
import { Runs, type RunsOptions } from "../../src/host/runs/runs.ts";
import type { Run } from "../../src/protocol/resources/runs.ts";
import type { ProblemCode } from "../../src/protocol/problem_codes.ts";
import { Refusal } from "../../src/protocol/refusal.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";
import { assertProblem } from "./assert_problem.ts";
import { digestOf, startHost } from "./host.ts";

const folder = temporaryFolder();
const models = `${folder}/models`;
await Deno.mkdir(models);
await Deno.symlink(OPT_SOTU, `${models}/outside`);
await Deno.mkdir(`${models}/inside`);
for (const { name } of Deno.readDirSync(OPT_SOTU)) {
  await Deno.copyFile(`${OPT_SOTU}/${name}`, `${models}/inside/${name}`);
}

/** The commands that the hosts of these tests have started. Each ends when a test ends it, or when it is stopped. */
interface StartedCommand extends PromiseWithResolvers<EndedCommand> {
  readonly args: readonly string[];
  readonly onLine: (line: string) => void;
  readonly signal: AbortSignal;
}
const commands: StartedCommand[] = [];

const start: StartCommand = (args, _folder, onLine, signal) => {
  const ended = Promise.withResolvers<EndedCommand>();
  signal.addEventListener("abort", () => ended.resolve({ code: 143, output: "" }));
  commands.push({ ...ended, args, onLine, signal });
  return ended.promise;
};

const JSON_TYPE = { "Content-Type": "application/json" };
let hosts = 0;

/** Starts a host with runs. @param options replaces settings of its runs */
async function hostWithRuns(options: Partial<RunsOptions> = {}, scopes: readonly string[] = []) {
  commands.length = 0;
  const runs = await Runs.open({
    ...{ fs, folder: `${folder}/runs-${hosts++}`, budgetBytes: 2 ** 30, models, start },
    formats: ["gguf:q4_0"],
    measureHubModel: (name) =>
      Promise.reject(new Refusal("unsupported", `hf:${name}: there is no such model or revision`)),
    freeBytes: () => Promise.resolve(2 ** 40),
    log: () => {},
    ...options,
  });
  const keys = await Promise.all(scopes.map(async (scope, i) => ({
    digest: Uint8Array.fromHex(await digestOf(`key ${i}`.replace(" ", "-"))),
    scopes: new Set([scope as "runs"]),
  })));
  const host = await startHost({ runs, keys });
  after(async () => {
    await runs[Symbol.asyncDispose]();
    await host.close();
  });
  const post = (body: unknown, headers: HeadersInit = {}) =>
    host.request("/v1/runs", {
      method: "POST",
      headers: { ...JSON_TYPE, ...headers },
      body: JSON.stringify(body),
    });
  return { ...host, runs, post };
}

/** Waits until `condition` returns a value. */
async function eventually<T>(condition: () => T | undefined | Promise<T | undefined>): Promise<T> {
  for (const end = Date.now() + 10_000; Date.now() < end;) {
    const value = await condition();
    if (value) return value;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`never true: ${condition}`);
}

const PLAN = JSON.stringify({
  ...{ layers: 24, device: "cpu (x)", seconds: { total: 9 }, memory: { process: 5, device: 5 } },
  disk: { output: 3, unfinished: 4, free: 100 },
});

describe("/v1/runs", () => {
  it("works on one run at a time, shows its plan and its progress, and stops a run that is deleted", async () => {
    const { post, request } = await hostWithRuns();
    const options = { for: "gguf:q4_0", sparsity: 0.25, true_sequential: true, layers: ["-x", "fc2"] };
    const first: Run = await (await post({ model: "inside", ...options })).json();
    const second: Run = await (await post({ model: "inside" })).json();
    const read = async (id: string): Promise<Run> => await (await request(`/v1/runs/${id}`)).json();
    const plan = await eventually(() => commands[0]);
    assert.deepEqual(plan.args, [
      ...["prune", await Deno.realPath(`${models}/inside`), "--json"],
      ...["--out", "result", "--calibration", "pare", "--text", "pare"],
      ...["--sparsity=0.25", "--layers=-x", "--layers=fc2", "--true-sequential", "--for=gguf:q4_0", "--plan"],
    ]);
    plan.resolve({ code: 0, output: PLAN });
    const command = await eventually(() => commands[1]);
    assert.deepEqual(command.args, plan.args.slice(0, -1));
    command.onLine("pruning 6/24 (about 12 s left) layers.0.fc2 relative error 0.1");
    command.onLine("warning: another line");
    const shown = await read(first.id);
    assert.deepEqual([shown.state, shown.plan?.disk_bytes, shown.plan?.seconds], ["running", 7, 9]);
    assert.deepEqual(shown.progress, {
      ...{ phase: "pruning", done: 6, total: 24, time_left: "about 12 s left" },
      detail: "layers.0.fc2 relative error 0.1",
    });
    assert.equal((await read(second.id)).state, "queued");
    assert.equal(commands.length, 2);

    const events = await request(`/v1/runs/${first.id}/events`);
    assert.equal((await request(`/v1/runs/${first.id}`, { method: "DELETE" })).status, 204);
    assert.equal(command.signal.aborted, true);
    const states = [...(await events.text()).matchAll(/"state":"(\w+)"/g)].map(([, state]) => state);
    assert.deepEqual(states, ["running", "cancelled"]);
    await assertProblem(await request(`/v1/runs/${first.id}`), "not_found");
    await eventually(async () => (await read(second.id)).state === "running");
  });

  it("is the same run for the same key and body, refuses another body, and hides runs of other clients", async () => {
    const { post, request } = await hostWithRuns({}, ["runs", "runs", "solve"]);
    const as = (client: number) => ({ Authorization: `Bearer key-${client}`, "Idempotency-Key": "a" });
    const first = await post({ model: "inside" }, as(0)), { id }: Run = await first.json();
    assert.equal(first.headers.get("Location"), `/v1/runs/${id}`);
    assert.equal((await (await post({ model: "inside" }, as(0))).json()).id, id);
    await assertProblem(await post({ model: "inside", bits: 4 }, as(0)), "idempotency_conflict");
    assert.notEqual((await (await post({ model: "inside" }, as(1))).json()).id, id);
    for (const path of ["", "/events", "/files/pare.json"]) {
      const answer = await request(`/v1/runs/${id}${path}`, { headers: as(1) });
      await assertProblem(answer, "not_found");
    }
    await assertProblem(
      await request(`/v1/runs/${id}`, { method: "DELETE", headers: as(1) }),
      "not_found",
    );
    await assertProblem(await post({ model: "inside" }, as(2)), "forbidden");
    await assertProblem(await post({ model: "inside" }), "unauthorized");
  });

  it("takes models from the hub and from the operator's folder, and never from a path", async () => {
    const { post } = await hostWithRuns();
    const expect = async (model: string, code: ProblemCode, detail: RegExp) =>
      assert.match((await assertProblem(await post({ model }), code)).detail, detail);
    for (const path of ["/etc", "../models/inside", "a/../../b", "inside/../../x", "hf:a/b", "-x", ""]) {
      await expect(path, "invalid_parameter", /^model: must have the form OWNER\/NAME/);
    }
    await expect("inside/..", "unsupported", /must not have a part \. or \.\./);
    await expect("outside", "unsupported", /model outside: is a link out of the folder of models/);
    await expect("absent", "unsupported", /model absent: is not in this host's folder of models/);
    await expect("no/body", "unsupported", /hf:no\/body: there is no such model or revision/);
    assert.equal(commands.length, 0);
  });

  it("passes on that the hub cannot be reached, and when to try again", async () => {
    const cause = "hf:a/b: the hub cannot be reached: no data for 60 s";
    const { post } = await hostWithRuns({
      measureHubModel: () => Promise.reject(new Refusal("hub_unreachable", cause, { retryAfter: 60 })),
    });
    const answer = await post({ model: "a/b" });
    assert.equal(answer.headers.get("Retry-After"), "60");
    assert.equal((await assertProblem(answer, "hub_unreachable")).detail, cause);
  });

  it("refuses what the command would read from files, an unknown option, and another type of body", async () => {
    const { post, request } = await hostWithRuns();
    for (const name of ["profile", "out", "text", "server", "remote", "plan", "imatrix", "activations"]) {
      const { detail } = await assertProblem(
        await post({ model: "inside", [name]: "/etc/passwd" }),
        "invalid_parameter",
      );
      assert.match(detail, new RegExp(`${name}: is not a parameter`));
    }
    const body = JSON.stringify({ model: "inside" });
    const asText = await request("/v1/runs", { method: "POST", body });
    await assertProblem(asText, "unsupported_media_type");
    const other = await post({ model: "inside", for: "gguf:f64" });
    assert.match(
      (await assertProblem(other, "invalid_parameter")).detail,
      /for: must be one of gguf:q4_0/,
    );
  });

  it("counts the disk before anything is downloaded", async () => {
    const hub = (bytes: number) => ({
      measureHubModel: () => Promise.resolve({ reference: `hf:a/b@${"1".repeat(40)}`, bytes }),
    });
    const large = await hostWithRuns({ ...hub(2 ** 30), budgetBytes: 2 ** 31 });
    const { detail } = await assertProblem(
      await large.post({ model: "a/b", calibration: "A text." }),
      "too_large",
    );
    assert.match(
      detail,
      /^a run of a\/b needs up to 4294967303 bytes of disk, and the runs of this host may take 2147483648$/,
    );
    assert.equal(commands.length, 0);
    const beside = await hostWithRuns({ ...hub(2 ** 20), budgetBytes: 2 ** 23 });
    assert.equal((await beside.post({ model: "a/b", calibration: "A text." })).status, 202);
    const full = await beside.post({ model: "a/b" });
    assert.match(
      (await assertProblem(full, "busy")).detail,
      /4194297 are free: delete runs that have ended/,
    );
    const disk = await hostWithRuns({ ...hub(2 ** 20), freeBytes: () => Promise.resolve(5) });
    await assertProblem(await disk.post({ model: "a/b" }), "busy");
  });

  it("fails with the message of the command, without the paths of the host, and removes what is unfinished", async () => {
    const { post, request, runs } = await hostWithRuns();
    const { id }: Run = await (await post({ model: "inside" })).json();
    const files = `${folder}/runs-${hosts - 1}/${id}`;
    await Deno.mkdir(`${files}/result`);
    const message = `${models}/inside: has a layer that is not finite`;
    (await eventually(() => commands[0])).resolve({
      code: 3,
      output: JSON.stringify({ error: { message } }),
    });
    const run = await eventually(async () => {
      const shown: Run = await (await request(`/v1/runs/${id}`)).json();
      return shown.state === "failed" ? shown : undefined;
    });
    assert.equal(run.error, "inside: has a layer that is not finite");
    assert.deepEqual([...Deno.readDirSync(files)].map(({ name }) => name).sort(), ["run.json"]);
    const file = await request(`/v1/runs/${id}/files/model.gguf`);
    assert.match((await assertProblem(file, "not_found")).detail, /its state is failed/);
    await runs.delete("", id);
    await assert.rejects(Deno.stat(files), Deno.errors.NotFound);
  });

  it("fails before it prunes if the plan needs more disk than is free", async () => {
    const { post, request } = await hostWithRuns();
    const { id }: Run = await (await post({ model: "inside" })).json();
    const plan = { ...JSON.parse(PLAN), disk: { output: 60, unfinished: 50, free: 100 } };
    (await eventually(() => commands[0])).resolve({ code: 0, output: JSON.stringify(plan) });
    const run = await eventually(async () => {
      const shown: Run = await (await request(`/v1/runs/${id}`)).json();
      return shown.state === "failed" ? shown : undefined;
    });
    assert.equal(run.error, "the run needs 110 bytes on the disk, which has 100 free");
    assert.equal(commands.length, 1);
  });

  it("answers 404 for a host without runs", async () => {
    const host = await startHost();
    after(() => host.close());
    const answer = await host.request("/v1/runs", {
      method: "POST",
      headers: JSON_TYPE,
      body: JSON.stringify({ model: "a/b" }),
    });
    assert.match(
      (await assertProblem(answer, "not_found")).detail,
      /start it with pare serve --runs FOLDER/,
    );
  });
});
