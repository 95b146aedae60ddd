/**
 * Provokes the errors of the HTTP contract that a request causes. After each error the host must still prune a layer, and no device memory
 * may have leaked. The last test checks that every code is provoked here or in another file.
 */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { OutOfDeviceMemoryError } from "../../src/device/backend.ts";
import { formatDigest, sha256 } from "../../src/protocol/digest.ts";
import { type ProblemCode, PROBLEMS } from "../../src/protocol/problem_codes.ts";
import { correlatedHessian } from "../reference/hessian.ts";
import { normals } from "../../scripts/fixtures/random.ts";
import { bytes, file, floats } from "../layer/bodies.ts";
import { toRefusal } from "../../routes/errors.ts";
import { assertProblem } from "./assert_problem.ts";
import { answerOf, safetensorsHeaders, startHost } from "./host.ts";

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

/** The codes that the tests of this file have provoked. */
const provoked = new Set<ProblemCode>();

/** The codes that the tests of other files provoke. */
const PROVOKED_ELSEWHERE: readonly ProblemCode[] = [
  "unauthorized", // keys_test
  "forbidden", // keys_test
  "busy", // device_errors_test
  "no_device", // device_errors_test
  "device_lost", // device_errors_test
  "shutting_down", // serve_test
  "invalid_host", // host_names_test
  "internal", // app_test
  "blob_unavailable", // task_transfers_test
  "idempotency_conflict", // runs_test
  "hub_unreachable", // runs_test
];

describe("toRefusal", () => {
  it("maps an OutOfDeviceMemoryError to too_large, and a plain RangeError to internal", () => {
    assert.equal(toRefusal(new OutOfDeviceMemoryError("no room")).code, "too_large");
    assert.equal(toRefusal(new RangeError("out of range")).code, "internal");
  });
});

const host = await startHost({
  limits: { maxBodyBytes: 100_000, bodyWindowMilliseconds: 100 },
  device: { storeBytes: 20_000 },
});
after(() => host.close());

describe("a host", () => {
  async function assertStillServing() {
    assert.equal((await host.request("/healthz")).status, 200);
    await answerOf(await host.send("POST", LAYERS, GOOD));
  }

  function itAnswers(
    code: ProblemCode,
    description: string,
    request: () => Promise<Response>,
    members: object = {},
  ) {
    it(`answers ${code} to ${description}`, async () => {
      const live = host.liveBytes();
      await assertProblem(await request(), code, members);
      provoked.add(code);
      assert.equal(host.liveBytes(), live, "device bytes");
      await assertStillServing();
      assert.equal(host.liveBytes(), live, "device bytes after the next layer");
    });
  }

  const post = (body: Uint8Array<ArrayBuffer>, query = "", headers: HeadersInit = {}) => () =>
    host.send("POST", LAYERS + query, body, headers);

  itAnswers(
    "malformed_safetensors",
    "a header that is not JSON",
    post(Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x7b)),
  );
  itAnswers("malformed_safetensors", "a header longer than the limit", post(new Uint8Array(64).fill(0xff)), {
    byte: 0,
  });
  itAnswers("malformed_safetensors", "bytes after the last tensor", post(new Uint8Array([...GOOD, 0])));
  itAnswers("truncated_body", "a body that ends before its last tensor", post(GOOD.subarray(0, 500).slice()));
  itAnswers("truncated_body", "an empty body", post(new Uint8Array(0)));
  itAnswers(
    "truncated_body",
    "a body shorter than its Content-Length",
    post(GOOD.subarray(0, -1).slice(), "", { "Content-Length": String(GOOD.length) }),
  );
  itAnswers("truncated_body", "a body whose connection breaks", () => {
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
  itAnswers("too_slow", "a body whose connection becomes idle", () => {
    const body = new ReadableStream({ start: (controller) => controller.enqueue(GOOD.subarray(0, 5000)) });
    return host.request(LAYERS, { method: "POST", body, headers: safetensorsHeaders(GOOD.length) });
  });

  itAnswers("too_slow", "a body that arrives byte by byte", () => {
    let at = 5000;
    const body = new ReadableStream({
      start: (controller) => controller.enqueue(GOOD.subarray(0, at)),
      async pull(controller) {
        await new Promise((resolve) => setTimeout(resolve, 20));
        controller.enqueue(GOOD.subarray(at, ++at));
      },
    });
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
    order: "order=random",
    refit: "refit=",
    effort: "effort=best",
    target_step: "target_step=1.5",
    error: "error=1",
    dtype: "dtype=F64",
    token_weights: `token_weights=unit&hessian=sha256:${"0".repeat(64)}`,
    hessian: "hessian=sha256:abc",
    sparsty: "sparsty=0.5",
    "": "=0.5",
  };
  for (const [parameter, query] of Object.entries(invalid)) {
    it(`answers invalid_parameter to ${query}`, async () => {
      const problem = await assertProblem(await post(GOOD, `?${query}`)(), "invalid_parameter");
      assert.deepEqual(problem.errors!.map((error) => error.parameter), [parameter]);
    });
  }
  itAnswers("invalid_parameter", "a malformed digest", () => host.request("/v1/hessians/abc"));

  itAnswers(
    "hessian_not_found",
    "a layer whose stored statistics do not exist",
    post(GOOD, `?hessian=${NOWHERE.split("/").at(-1)}`),
  );
  itAnswers("hessian_not_found", "a GET of statistics that do not exist", () => host.request(NOWHERE));
  itAnswers(
    "hessian_not_found",
    "a DELETE of statistics that do not exist",
    () => host.request(NOWHERE, { method: "DELETE" }),
  );
  itAnswers("states_not_found", "a GET of states that do not exist", () => host.request("/v1/states/none"));
  itAnswers("not_found", "an unknown path", () => host.request("/v1/layer"));
  itAnswers("method_not_allowed", "a method that the path does not allow", () => host.request(LAYERS));
  itAnswers(
    "digest_mismatch",
    "a body whose digest differs from the one in the path",
    () => host.send("PUT", NOWHERE, file({ hessian })),
  );
  itAnswers("length_required", "a body of unknown length", () => {
    const headers = safetensorsHeaders(0);
    headers.delete("Content-Length");
    return host.request(LAYERS, { method: "POST", body: GOOD, headers });
  });
  itAnswers(
    "too_large",
    "a Content-Length of many digits",
    post(GOOD, "", { "Content-Length": "9".repeat(400) }),
    {
      limit: 100_000,
    },
  );
  itAnswers("too_large", "a body over the limit", post(GOOD, "", { "Content-Length": "100001" }), {
    limit: 100_000,
  });
  itAnswers("too_large", "a body that exceeds the limit after a Content-Length below it", () => {
    const tensors = { weight: floats("F32", [600, N], new Float32Array(600 * N)), hessian };
    return post(file(tensors), "", { "Content-Length": "99999" })();
  });
  itAnswers("too_large", "statistics larger than the store", async () => {
    const body = file({ hessian: floats("F32", [80, 80], correlatedHessian(80, { seed: 3 })) });
    return await host.send("PUT", `/v1/hessians/${formatDigest(await sha256(body))}`, body);
  }, { limit: 20_000 });
  itAnswers(
    "unsupported_media_type",
    "a body of another media type",
    post(GOOD, "", { "Content-Type": "application/x-www-form-urlencoded" }),
  );
  for (const encoding of ["gzip", "identity, br", "x".repeat(5000)]) {
    const headers = { "Content-Encoding": encoding };
    itAnswers(
      "unsupported_media_type",
      `a body with the encoding ${encoding.slice(0, 20)}`,
      post(GOOD, "", headers),
    );
  }
  it("accepts a body with the encoding identity", async () => {
    await answerOf(await post(GOOD, "", { "Content-Encoding": "Identity" })());
  });
  itAnswers("shape_mismatch", "a layer without statistics", post(file({ weight })), {
    tensor: "hessian",
    got: "none",
  });
  itAnswers(
    "shape_mismatch",
    "weights of tokens that were summed already",
    post(GOOD, "?token_weights=unit"),
    {
      tensor: "inputs",
      expected: "the calibration inputs, because token_weights weighs them",
    },
  );
  itAnswers(
    "shape_mismatch",
    "a mask whose shape does not fit the weight",
    post(file({ weight, hessian, mask: bytes("U8", [1], new Uint8Array(1)) })),
    {
      tensor: "mask",
      expected: `U8 [${ROWS}, 6] or BOOL [${ROWS}, ${N}]`,
      got: "U8 [1]",
    },
  );
  itAnswers("shape_mismatch", "a step without a target", post(GOOD, "?target_step=0.5"), {
    tensor: "target",
    expected: `F32 [${ROWS}, ${N}], because target_step needs it`,
    got: "none",
  });
  itAnswers("non_finite", "a target with a NaN", () => {
    const target = floats("F32", [ROWS, N], normals(ROWS * N, 1).with(3 * N + 5, NaN));
    return host.send("POST", LAYERS, file({ weight, hessian, target }));
  }, { tensor: "target", index: [3, 5] });
  itAnswers("shape_mismatch", "stored statistics whose order does not fit the weight", async () => {
    const body = file({ hessian: floats("F32", [20, 20], correlatedHessian(20, { seed: 3 })) });
    const digest = formatDigest(await sha256(body));
    assert.equal((await host.send("PUT", `/v1/hessians/${digest}`, body)).status, 201);
    const response = await host.send("POST", `${LAYERS}?hessian=${digest}`, file({ weight }));
    assert.equal((await host.request(`/v1/hessians/${digest}`, { method: "DELETE" })).status, 204);
    return response;
  }, { tensor: "weight" });
  itAnswers("non_finite", "a weight with a NaN", () => {
    const bad = floats("F32", [ROWS, N], normals(ROWS * N, 1).with(3 * N + 5, NaN));
    return host.send("POST", LAYERS, file({ weight: bad, hessian }));
  }, { tensor: "weight", index: [3, 5] });
  itAnswers("not_symmetric", "statistics that are not symmetric", () => {
    const bad = withElement(statistics, 9 * N + 4, statistics[9 * N + 4] + 10);
    return host.send("POST", LAYERS, file({ weight, hessian: bad }));
  }, { tensor: "hessian", index: [9, 4] });
  itAnswers("not_positive_definite", "statistics that are indefinite with any damping", () => {
    const bad = new Float32Array(N * N).fill(-1);
    for (let i = 0; i < N; i++) bad[i * N + i] = 1;
    return host.send("POST", LAYERS, file({ weight, hessian: floats("F32", [N, N], bad) }));
  }, { damping: 1 });
  itAnswers("not_positive_definite", "statistics with a negative diagonal", () => {
    return host.send("POST", LAYERS, file({ weight, hessian: withElement(statistics, 5 * N + 5, -1) }));
  }, { index: [5, 5] });

  itAnswers("unsupported", "a layer that is too large for obc", () => {
    const wide = floats("F32", [1, 3073], new Float32Array(3073).fill(1));
    return host.send("POST", `${LAYERS}?method=obc`, file({ weight: wide, inputs: wide }));
  }, { parameter: "method", value: "obc" });
});

describe("the tests of the errors", () => {
  it("provoke every code of the contract", () => {
    const codes = Object.keys(PROBLEMS) as ProblemCode[];
    const missing = codes.filter((code) => !provoked.has(code) && !PROVOKED_ELSEWHERE.includes(code));
    assert.deepEqual(missing, []);
  });
});
