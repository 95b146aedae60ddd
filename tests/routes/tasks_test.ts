/**
 * Tests tasks: their authorisation, their transfers, and their failures. A task is a request by which an edge, the public server in front of
 * hosts, makes a host fetch a layer from a blob store, prune it and write the result back.
 */

import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "@std/testing/bdd";
import { formatDigest, sha256 } from "../../src/protocol/digest.ts";
import { signTicket } from "../../src/protocol/edge/tickets.ts";
import { file, floats, packUpper } from "../layer/bodies.ts";
import { correlatedHessian } from "../reference/hessian.ts";
import { type BlobServer, startBlobServer } from "../support/blob_server.ts";
import { normals } from "../support/random.ts";
import { answerOf, startHost, type TestHost } from "./host.ts";

const SECRET = "a secret of thirty-two bytes: 123";
const HOST_ID = "host-under-test";
const ROWS = 24, COLS = 40;

const WEIGHT = file({ weight: floats("F32", [ROWS, COLS], normals(ROWS * COLS, 1)) });
const HESSIAN = file({
  hessian_upper: floats(
    "F32",
    [COLS * (COLS + 1) / 2],
    packUpper(correlatedHessian(COLS, { seed: 3 }), COLS),
  ),
});

describe("tasks", () => {
  let host: TestHost, small: TestHost, store: BlobServer, count = 0;
  before(async () => {
    store = startBlobServer();
    const edge = { secret: SECRET, hostId: HOST_ID, blobOrigins: [store.origin] };
    host = await startHost({ edge, keys: [{ digest: new Uint8Array(32), scopes: new Set() }] });
    small = await startHost({ edge, device: { storeBytes: 16 } });
  });
  after(async () => {
    await Promise.all([host.close(), small.close(), store[Symbol.asyncDispose]()]);
  });
  beforeEach(() => {
    store.requests.length = 0;
    store.faults.length = 0;
  });

  async function putBlob(path: string, bytes: Uint8Array<ArrayBuffer>) {
    store.blobs.set(path, bytes);
    return { url: store.origin + path, sha256: formatDigest(await sha256(bytes)) };
  }

  async function taskOf(changes: Record<string, unknown> = {}) {
    return {
      id: `task-${++count}`,
      weight: await putBlob("/weight", WEIGHT),
      hessian: await putBlob("/hessian", HESSIAN),
      result: { url: `${store.origin}/result` },
      parameters: { sparsity: 0.5 },
      ...changes,
    };
  }

  interface SendOptions {
    readonly to?: TestHost;
    readonly wait?: number;
    readonly ticket?: string;
    readonly audience?: string;
    /** The body that the ticket is signed for, if it is not the sent body. */
    readonly signed?: string;
    readonly path?: string;
    readonly now?: number;
  }

  /** Sends a task as an edge does, with the deviations in `options`. */
  async function send(task: unknown, options: SendOptions = {}): Promise<Response> {
    const { to = host, wait = 30, audience = HOST_ID, path = "/v1/tasks", now = Date.now() } = options;
    const body = new TextEncoder().encode(JSON.stringify(task));
    const signed = options.signed === undefined ? body : new TextEncoder().encode(options.signed);
    const ticket = options.ticket ??
      await signTicket(SECRET, { audience, method: "POST", path, body: signed }, now);
    return await to.request("/v1/tasks", {
      method: "POST",
      headers: {
        Authorization: ticket,
        "Content-Type": "application/json",
        "Content-Length": String(body.length),
        Prefer: `wait=${wait}`,
      },
      body,
    });
  }

  const codeOf = async (response: Response) => [response.status, (await response.json()).code];

  it("write the answer of POST /v1/layers, and return its digest and report", async () => {
    const response = await send(await taskOf());
    const answer = await response.json();
    assert.equal(response.status, 200, JSON.stringify(answer));
    const written = store.blobs.get("/result")!;
    assert.deepEqual(answer.result, { sha256: formatDigest(await sha256(written)), bytes: written.length });
    const { weight, mask, report } = await answerOf(new Response(written));
    assert.deepEqual(answer.report, report);

    const plain = await startHost();
    try {
      const { sha256: digest } = (await taskOf()).hessian;
      await (await plain.send("PUT", `/v1/hessians/${digest}`, HESSIAN)).body?.cancel();
      const direct = await answerOf(
        await plain.send("POST", `/v1/layers?sparsity=0.5&hessian=${digest}`, WEIGHT),
      );
      assert.deepEqual({ weight, mask }, { weight: direct.weight, mask: direct.mask });
    } finally {
      await plain.close();
    }
  });

  it("fetch statistics once for layers that share them, and reuse their factor", async () => {
    const other = file({ hessian: floats("F32", [COLS, COLS], correlatedHessian(COLS, { seed: 9 })) });
    const hessian = await putBlob("/other", other);
    const reused = [];
    for (let layer = 0; layer < 2; layer++) {
      const { report } = await (await send(await taskOf({ hessian }))).json();
      reused.push(report.factor_reused);
    }
    assert.deepEqual(reused, [false, true]);
    assert.equal(store.requests.filter((request) => request === "GET /other").length, 1);
  });

  it("solve layers whose statistics exceed the host's store or are in the weight's file", async () => {
    assert.equal((await send(await taskOf(), { to: small })).status, 200);
    const stored = await answerOf(new Response(store.blobs.get("/result")));
    assert.equal((await send(await taskOf())).status, 200);
    const large = await answerOf(new Response(store.blobs.get("/result")));
    assert.deepEqual(stored.weight, large.weight);
    const whole = file({
      weight: floats("F32", [ROWS, COLS], normals(ROWS * COLS, 1)),
      hessian_upper: floats(
        "F32",
        [COLS * (COLS + 1) / 2],
        packUpper(correlatedHessian(COLS, { seed: 3 }), COLS),
      ),
    });
    const task = await taskOf({ weight: await putBlob("/whole", whole), hessian: undefined });
    assert.equal((await send(task)).status, 200);
    assert.deepEqual((await answerOf(new Response(store.blobs.get("/result")))).weight, large.weight);
  });

  it("run only once if the same task is sent again", async () => {
    const release = Promise.withResolvers<void>(), task = await taskOf({ hessian: undefined });
    const whole = { ...task, parameters: { method: "magnitude" } };
    store.faults.push(async () => {
      await release.promise;
      return new Response(WEIGHT);
    });
    const first = await send(whole, { wait: 0 });
    assert.deepEqual([first.status, await first.json()], [202, { state: "running" }]);
    release.resolve();
    const [second, third] = await Promise.all([send(whole), send(whole)]);
    assert.deepEqual([second.status, third.status], [200, 200]);
    assert.deepEqual(await second.json(), await third.json());
    assert.deepEqual(store.requests, ["GET /weight", "PUT /result"]);
  });

  it("are refused unless their ticket was made for exactly this request", async () => {
    const task = await taskOf(), text = JSON.stringify(task);
    const refused: SendOptions[] = [
      { ticket: "Bearer key" },
      { ticket: "Pare-Ticket 1.2.3" },
      { signed: text + " " },
      { audience: "another-host" },
      { path: "/v1/tasks/x" },
      { now: Date.now() - 61_000 },
      { now: Date.now() + 120_000 },
    ];
    for (const options of refused) {
      assert.deepEqual(await codeOf(await send(task, options)), [401, "unauthorized"]);
    }
    const body = new TextEncoder().encode(text);
    const ticket = await signTicket(
      SECRET,
      { audience: HOST_ID, method: "POST", path: "/v1/tasks", body },
      Date.now(),
    );
    assert.equal((await send(task, { ticket })).status, 200);
    assert.deepEqual(await codeOf(await send(task, { ticket })), [401, "unauthorized"]);
    const cancel = await host.request(`/v1/tasks/${task.id}`, { method: "DELETE" });
    assert.deepEqual(await codeOf(cancel), [401, "unauthorized"]);
  });

  it("fetch from and write to the configured origins only, and do not follow redirects", async () => {
    const task = await taskOf();
    const elsewhere = { url: "http://169.254.169.254/latest", sha256: task.weight.sha256 };
    assert.deepEqual(await codeOf(await send({ ...task, weight: elsewhere })), [403, "forbidden"]);
    assert.deepEqual(
      await codeOf(await send(await taskOf({ result: { url: elsewhere.url } }))),
      [
        403,
        "forbidden",
      ],
    );
    store.faults.push(() => Response.redirect("http://169.254.169.254/latest", 302));
    const redirected = { ...await taskOf(), hessian: undefined };
    assert.deepEqual(await codeOf(await send(redirected)), [502, "blob_unavailable"]);
  });

  it("fail if a tensor file does not match its digest or cannot be fetched", async () => {
    const wrong = "sha256:" + "1".repeat(64), task = await taskOf();
    const { url } = task.weight;
    assert.deepEqual(await codeOf(await send(await taskOf({ weight: { url, sha256: wrong } }))), [
      409,
      "digest_mismatch",
    ]);
    assert.deepEqual(
      await codeOf(await send(await taskOf({ hessian: { url: task.hessian.url, sha256: wrong } }))),
      [
        409,
        "digest_mismatch",
      ],
    );
    const missing = { url: `${store.origin}/missing`, sha256: wrong };
    assert.deepEqual(await codeOf(await send(await taskOf({ hessian: missing }))), [502, "blob_unavailable"]);
  });

  it("cancel the downloads that they do not read to the end", async () => {
    const open = new Set<string>();
    /** Answers with a file that never ends until its reader cancels the download. */
    const endless = (name: string) => () => {
      open.add(name);
      const body = new ReadableStream({
        pull: (controller) => controller.enqueue(new Uint8Array(64 * 2 ** 10)),
        cancel: () => void open.delete(name),
      });
      return new Response(body, { headers: { "Content-Length": String(2 ** 30) } });
    };
    store.faults.push(endless("statistics"));
    assert.deepEqual(await codeOf(await send(await taskOf())), [400, "malformed_safetensors"]);
    // The store of this host is too small for the statistics. So the host fetches them again to send them with the weight, but by then
    // the blob is gone.
    const stored = () => new Response(HESSIAN), gone = () => new Response("NoSuchKey", { status: 404 });
    store.faults.push(stored, endless("weight"), gone);
    assert.deepEqual(await codeOf(await send(await taskOf(), { to: small })), [502, "blob_unavailable"]);
    for (let tries = 0; open.size > 0 && tries < 100; tries++) await new Promise((r) => setTimeout(r, 20));
    assert.deepEqual([...open], []);
  });

  it("fail when the connection to a blob breaks", async () => {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const origin = `http://127.0.0.1:${listener.addr.port}`;
    const breaking = (async () => {
      const connection = await listener.accept();
      await connection.read(new Uint8Array(4096));
      const head = `HTTP/1.1 200 OK\r\nContent-Length: ${WEIGHT.length}\r\n\r\n`;
      await connection.write(new TextEncoder().encode(head));
      await connection.write(WEIGHT.subarray(0, WEIGHT.length / 2));
      connection.close();
    })();
    const other = await startHost({ edge: { secret: SECRET, hostId: HOST_ID, blobOrigins: [origin] } });
    try {
      const weight = { url: `${origin}/weight`, sha256: "sha256:" + "1".repeat(64) };
      const task = await taskOf({ weight, hessian: undefined, parameters: { method: "magnitude" } });
      assert.deepEqual(await codeOf(await send(task, { to: other })), [502, "blob_unavailable"]);
      await breaking;
      assert.equal(other.liveBytes(), 0);
    } finally {
      listener.close();
      await other.close();
    }
  });

  it("report why the solve failed, and can be sent again", async () => {
    const negative = correlatedHessian(COLS, { seed: 3 });
    for (let j = 0; j < COLS; j++) negative[j * COLS + j] = -1;
    const hessian = await putBlob("/negative", file({ hessian: floats("F32", [COLS, COLS], negative) }));
    const task = await taskOf({ hessian });
    assert.deepEqual(await codeOf(await send(task)), [422, "not_positive_definite"]);
    assert.deepEqual(await codeOf(await send(task)), [422, "not_positive_definite"]);
    assert.deepEqual(await codeOf(await send(await taskOf({ parameters: { sparsity: 2 } }))), [
      400,
      "invalid_parameter",
    ]);
  });

  it("fail when the blob store refuses the result, and leave nothing on the device", async () => {
    const task = await taskOf();
    await (await send(task)).body?.cancel();
    const live = host.liveBytes();
    store.faults.push(() => new Response(WEIGHT), async (request) => {
      await request.bytes();
      return new Response("SlowDown", { status: 503 });
    });
    const response = await send(await taskOf());
    assert.deepEqual([response.status, (await response.json()).detail], [
      502,
      `${store.origin}/result: 503 SlowDown`,
    ]);
    assert.equal(host.liveBytes(), live);
  });

  it("can be cancelled", async () => {
    const task = { ...await taskOf(), hessian: undefined };
    const release = Promise.withResolvers<void>();
    store.faults.push(async () => {
      await release.promise;
      return new Response(WEIGHT);
    });
    assert.equal((await send(task, { wait: 0 })).status, 202);
    const path = `/v1/tasks/${task.id}`;
    const ticket = await signTicket(SECRET, {
      audience: HOST_ID,
      method: "DELETE",
      path,
      body: new Uint8Array(0),
    }, Date.now());
    const response = await host.request(path, { method: "DELETE", headers: { Authorization: ticket } });
    assert.equal(response.status, 204);
    assert.deepEqual(await codeOf(await send(task)), [404, "not_found"]);
    release.resolve();
  });

  it("are answered with 404 by a host without an edge", async () => {
    const plain = await startHost();
    try {
      assert.equal((await send(await taskOf(), { to: plain })).status, 404);
    } finally {
      await plain.close();
    }
  });
});
