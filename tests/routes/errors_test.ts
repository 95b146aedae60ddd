/** Every row of the contract's error table, provoked over HTTP; and after each the host serves on and has kept nothing. */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { type Backend, DeviceLostError, OutOfDeviceMemoryError } from "../../src/backend/backend.ts";
import { createCpuBackend } from "../../src/cpu/backend.ts";
import { formatDigest, sha256 } from "../../src/protocol/digest.ts";
import { type Problem, type ProblemCode, PROBLEMS, problemSchema } from "../../src/protocol/problem.ts";
import { correlatedHessian } from "../reference/hessian.ts";
import { normals } from "../support/random.ts";
import { bytes, file, floats } from "../layer/bodies.ts";
import { toRefusal } from "../../routes/errors.ts";
import { answerOf, problemOf, safetensorsHeaders, startHost, type TestHost } from "./host.ts";

const N = 48, ROWS = 8;
const weight = floats("F32", [ROWS, N], normals(ROWS * N, 1));
const statistics = correlatedHessian(N, { seed: 2 });
const hessian = floats("F32", [N, N], statistics);
const GOOD = file({ weight, hessian });
const LAYERS = "/v1/layers";
const NOWHERE = `/v1/hessians/sha256:${"0".repeat(64)}`;

function withElement(values: Float32Array, index: number, value: number) {
  return floats("F32", [N, N], values.with(index, value));
}

/** Codes provoked, so that none is forgotten. */
const provoked = new Set<ProblemCode>(["idempotency_conflict"]);

async function assertProblem(response: Response, code: ProblemCode, members: object = {}): Promise<Problem> {
  assert.equal(response.headers.get("Content-Type"), "application/problem+json");
  const problem = problemSchema.parse(await problemOf(response));
  assert.equal(problem.code, code);
  assert.equal(response.status, PROBLEMS[code].status);
  assert.deepEqual(
    [problem.type, problem.title, problem.status],
    [`urn:pare:problem:${code}`, PROBLEMS[code].title, response.status],
  );
  assert.ok(problem.detail);
  assert.equal(problem.request_id, response.headers.get("X-Request-Id"));
  for (const [name, value] of Object.entries(members)) assert.deepEqual(problem[name], value, name);
  provoked.add(code);
  return problem;
}

describe("toRefusal", () => {
  it("blames the size of a request for a full device, and the host for any other range", () => {
    assert.equal(toRefusal(new OutOfDeviceMemoryError("no room")).code, "too_large");
    assert.equal(toRefusal(new RangeError("out of range")).code, "internal");
  });
});

describe("the error table", () => {
  let host: TestHost;
  before(async () => {
    host = await startHost({
      limits: { maxBodyBytes: 100_000, idleMilliseconds: 50 },
      device: { storeBytes: 20_000 },
    });
  });
  after(() => host.close());

  async function servesOn() {
    assert.equal((await host.request("/healthz")).status, 200);
    await answerOf(await host.send("POST", LAYERS, GOOD));
  }

  function row(
    what: string,
    code: ProblemCode,
    ask: () => Promise<Response>,
    members: object = {},
  ) {
    it(`${code}: ${what}`, async () => {
      const live = host.liveBytes();
      await assertProblem(await ask(), code, members);
      assert.equal(host.liveBytes(), live, "device bytes");
      await servesOn();
      assert.equal(host.liveBytes(), live, "device bytes after the next");
    });
  }

  const post = (body: Uint8Array<ArrayBuffer>, query = "", headers: HeadersInit = {}) => () =>
    host.send("POST", LAYERS + query, body, headers);

  row(
    "a header that is no JSON",
    "malformed_safetensors",
    post(Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x7b)),
  );
  row("a header longer than any", "malformed_safetensors", post(new Uint8Array(64).fill(0xff)), { byte: 0 });
  row("bytes after the last tensor", "malformed_safetensors", post(new Uint8Array([...GOOD, 0])));
  row("a body shorter than its header says", "truncated_body", post(GOOD.subarray(0, 500).slice()));
  row("no body", "truncated_body", post(new Uint8Array(0)));
  row(
    "a body shorter than its length",
    "truncated_body",
    post(GOOD.subarray(0, -1).slice(), "", { "Content-Length": String(GOOD.length) }),
  );
  row("a connection that ends", "truncated_body", () => {
    let sent = false;
    const body = new ReadableStream({
      pull(controller) {
        if (sent) controller.error(new Error("reset by peer"));
        else controller.enqueue(GOOD.subarray(0, 5000));
        sent = true;
      },
    });
    return host.request(LAYERS, { method: "POST", body, headers: safetensorsHeaders(GOOD.length) });
  });
  row("a connection that falls silent", "truncated_body", () => {
    const body = new ReadableStream({ start: (controller) => controller.enqueue(GOOD.subarray(0, 5000)) });
    return host.request(LAYERS, { method: "POST", body, headers: safetensorsHeaders(GOOD.length) });
  });

  const invalid: Record<string, string> = {
    method: "method=oracle",
    sparsity: "sparsity=1",
    pattern: "pattern=4:2",
    blocksize: "pattern=2:4&blocksize=30",
    damping: "damping=-1",
    bits: "bits=9",
    group_size: "group_size=1.5",
    symmetric: "symmetric=yes",
    refit: "refit=",
    error: "error=1",
    dtype: "dtype=F64",
    hessian: "hessian=sha256:abc",
    sparsty: "sparsty=0.5",
  };
  for (const [parameter, query] of Object.entries(invalid)) {
    it(`invalid_parameter: ${query}`, async () => {
      const problem = await assertProblem(await post(GOOD, `?${query}`)(), "invalid_parameter");
      assert.deepEqual(problem.errors!.map((error) => error.parameter), [parameter]);
    });
  }
  row("a digest in another form", "invalid_parameter", () => host.request("/v1/hessians/abc"));

  row(
    "stored statistics that are not",
    "hessian_not_found",
    post(GOOD, `?hessian=${NOWHERE.split("/").at(-1)}`),
  );
  row("asking for what is not stored", "hessian_not_found", () => host.request(NOWHERE));
  row("deleting what is not stored", "hessian_not_found", () => host.request(NOWHERE, { method: "DELETE" }));
  row("a path of no resource", "not_found", () => host.request("/v1/layer"));
  row("a method the path does not take", "method_not_allowed", () => host.request(LAYERS));
  row("another body's digest", "digest_mismatch", () => host.send("PUT", NOWHERE, file({ hessian })));
  row("a body of unknown length", "length_required", () => {
    const headers = safetensorsHeaders(0);
    headers.delete("Content-Length");
    return host.request(LAYERS, { method: "POST", body: GOOD, headers });
  });
  row("a body over the limit", "too_large", post(GOOD, "", { "Content-Length": "100001" }), {
    limit: 100_000,
  });
  row("a body that goes on over the limit", "too_large", () => {
    const tensors = { weight: floats("F32", [600, N], new Float32Array(600 * N)), hessian };
    return post(file(tensors), "", { "Content-Length": "99999" })();
  });
  row("statistics over the store's budget", "too_large", async () => {
    const body = file({ hessian: floats("F32", [80, 80], correlatedHessian(80, { seed: 3 })) });
    return await host.send("PUT", `/v1/hessians/${formatDigest(await sha256(body))}`, body);
  }, { limit: 20_000 });
  row(
    "a form",
    "unsupported_media_type",
    post(GOOD, "", { "Content-Type": "application/x-www-form-urlencoded" }),
  );
  row("no statistics", "shape_mismatch", post(file({ weight })), { tensor: "hessian", got: "none" });
  row(
    "a mask of another shape",
    "shape_mismatch",
    post(file({ weight, hessian, mask: bytes("U8", [1], new Uint8Array(1)) })),
    {
      tensor: "mask",
      expected: `U8 [${ROWS}, 6] or BOOL [${ROWS}, ${N}]`,
      got: "U8 [1]",
    },
  );
  row("stored statistics of another order", "shape_mismatch", async () => {
    const body = file({ hessian: floats("F32", [20, 20], correlatedHessian(20, { seed: 3 })) });
    const digest = formatDigest(await sha256(body));
    assert.equal((await host.send("PUT", `/v1/hessians/${digest}`, body)).status, 201);
    const response = await host.send("POST", `${LAYERS}?hessian=${digest}`, file({ weight }));
    assert.equal((await host.request(`/v1/hessians/${digest}`, { method: "DELETE" })).status, 204);
    return response;
  }, { tensor: "weight" });
  row("a weight that is not a number", "non_finite", () => {
    const bad = floats("F32", [ROWS, N], normals(ROWS * N, 1).with(3 * N + 5, NaN));
    return host.send("POST", LAYERS, file({ weight: bad, hessian }));
  }, { tensor: "weight", index: [3, 5] });
  row("one triangle unlike the other", "not_symmetric", () => {
    const bad = withElement(statistics, 9 * N + 4, statistics[9 * N + 4] + 10);
    return host.send("POST", LAYERS, file({ weight, hessian: bad }));
  }, { tensor: "hessian", index: [9, 4] });
  row("statistics no damping mends", "not_positive_definite", () => {
    const bad = new Float32Array(N * N).fill(-1);
    for (let i = 0; i < N; i++) bad[i * N + i] = 1;
    return host.send("POST", LAYERS, file({ weight, hessian: floats("F32", [N, N], bad) }));
  }, { damping: 1 });
  row("a negative diagonal", "not_positive_definite", () => {
    return host.send("POST", LAYERS, file({ weight, hessian: withElement(statistics, 5 * N + 5, -1) }));
  }, { index: [5, 5] });

  const unsupported = { method: "wanda", bits: 4, group_size: 128, symmetric: true, refit: 3 };
  for (const [parameter, value] of Object.entries(unsupported)) {
    row(`${parameter}=${value}`, "unsupported", post(GOOD, `?${parameter}=${value}`), { parameter, value });
  }
});

describe("the error table: keys", () => {
  it("unauthorized and forbidden", async () => {
    const digest = await sha256(new TextEncoder().encode("sesame"));
    const host = await startHost({ keys: [{ digest, scopes: new Set(["metrics"]) }] });
    const ask = (authorization?: string) =>
      host.send("POST", LAYERS, GOOD, authorization ? { Authorization: authorization } : {});
    for (const authorization of [undefined, "Bearer", "Bearer open", "Basic sesame", "Bearer sesame x"]) {
      const response = await ask(authorization);
      assert.equal(response.headers.get("WWW-Authenticate"), "Bearer");
      await assertProblem(response, "unauthorized");
    }
    await assertProblem(await ask("Bearer sesame"), "forbidden");
    await host.close();
  });
});

describe("the error table: the device", () => {
  it("busy: the queue is full", async () => {
    const host = await startHost({ device: { residents: 1, queueDepth: 1 } });
    const live = host.liveBytes();
    const gate = Promise.withResolvers<void>();
    const slow = new ReadableStream({
      async pull(controller) {
        await gate.promise;
        controller.enqueue(GOOD);
        controller.close();
      },
    }, { highWaterMark: 0 });
    const first = host.request(LAYERS, {
      method: "POST",
      body: slow,
      headers: safetensorsHeaders(GOOD.length),
    });
    const second = host.send("POST", LAYERS, GOOD);
    await new Promise((resolve) => setTimeout(resolve, 20));
    const refused = await host.send("POST", LAYERS, GOOD);
    assert.match(refused.headers.get("Retry-After")!, /^[1-9]\d*$/);
    await assertProblem(refused, "busy");
    assert.equal((await host.request("/healthz")).status, 200);
    gate.resolve();
    await answerOf(await first);
    await answerOf(await second);
    assert.equal(host.liveBytes(), live);
    await host.close();
  });

  it("truncated_body: a client that leaves while it waits frees its place in the queue", async () => {
    const host = await startHost({ device: { residents: 1, queueDepth: 1 } });
    const { residence } = host.device.session();
    const leave = await residence.enter();
    const leaving = new AbortController();
    const init = {
      method: "POST",
      body: GOOD,
      headers: safetensorsHeaders(GOOD.length),
      signal: leaving.signal,
    };
    const waiting = host.request(LAYERS, init);
    while (residence.waiting === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    leaving.abort();
    await assertProblem(await waiting, "truncated_body");
    assert.equal(residence.waiting, 0);
    leave();
    await answerOf(await host.send("POST", LAYERS, GOOD));
    await host.close();
  });

  it("no_device: the backend cannot be had", async () => {
    const host = await startHost({ open: () => Promise.reject(new Error("no WebGPU adapter")) });
    for (const response of [await host.send("POST", LAYERS, GOOD), await host.request("/readyz")]) {
      assert.match((await assertProblem(response, "no_device")).detail, /no WebGPU adapter/);
    }
    assert.equal((await host.request("/healthz")).status, 200);
    assert.match(await (await host.request("/")).text(), /Not ready/);
    assert.equal((await host.request("/metrics")).status, 200);
    await host.close();
  });

  it("device_lost: at any wait of a request, and back after", async () => {
    let countdown = 0, opened = 0;
    const open = async () => {
      opened++;
      return losing(await createCpuBackend({ threads: 0 }), () => countdown-- === 0);
    };
    const host = await startHost({ open });
    for (let wait = 0;; wait++) {
      countdown = wait;
      const response = await host.send("POST", LAYERS, GOOD);
      if (response.status === 200) {
        // The loss came while the answer was on its way, or not at all.
        const complete = await response.arrayBuffer().then(() => true, () => false);
        if (complete) break;
      } else {
        assert.equal(response.headers.get("Retry-After"), "5");
        await assertProblem(response, "device_lost");
      }
      assert.equal(host.device.current(), undefined);
      await assertProblem(await host.request("/readyz"), "device_lost");
      while (!host.device.current()) await new Promise((resolve) => setTimeout(resolve, 1));
      assert.equal((await host.request("/readyz")).status, 200);
    }
    assert.ok(opened > 4, `${opened} devices`);
    await host.close();
  });
});

describe("the error table: completeness", () => {
  it("leaves no code out", () => {
    provoked.add("internal"); // provoked in app_test
    provoked.add("blob_unavailable"); // provoked in tasks_test
    assert.deepEqual(Object.keys(PROBLEMS).filter((code) => !provoked.has(code as ProblemCode)), []);
  });
});

/** `backend`, except that a wait is told its device was lost when `now` says so. */
function losing(backend: Backend, now: () => boolean): Backend {
  const check = () => {
    if (now()) throw new DeviceLostError("the test pulled the plug");
  };
  return {
    kind: backend.kind,
    adapter: backend.adapter,
    maxBufferBytes: backend.maxBufferBytes,
    counters: backend.counters,
    createBuffer: (label, byteLength) => backend.createBuffer(label, byteLength),
    write: (...args) => backend.write(...args),
    copy: (...args) => backend.copy(...args),
    clear: (target) => backend.clear(target),
    dispatch: (...args) => backend.dispatch(...args),
    dispose: () => backend.dispose(),
    async read(...args) {
      check();
      return await backend.read(...args);
    },
    async finish() {
      check();
      await backend.finish();
    },
  };
}
