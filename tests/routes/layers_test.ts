/** Tests `POST /v1/layers` against the published algorithm in float64, for every form of a layer's tensors. */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { decodeAnswer } from "../../src/client/answers/layer_answer.ts";
import { METHOD_NAMES } from "../../src/protocol/methods.ts";
import { reportSchema } from "../../src/protocol/resources/layers.ts";
import { bytesToFloats, type FloatDtype } from "../../src/tensor/dtype.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { formatDigest, sha256 } from "../../src/protocol/digest.ts";
import { correlatedHessian, gram, quadraticForm } from "../reference/hessian.ts";
import { referenceChange, referenceStep } from "../reference/target_step.ts";
import { referenceFactor, referenceMagnitude, referenceSparseGpt } from "../reference/sparsegpt.ts";
import { assertClose } from "../support/assert_close.ts";
import { assertSame } from "../support/assert_same.ts";
import { normals } from "../../scripts/fixtures/random.ts";
import { bytes, file, floats, packBits, packUpper } from "../layer/bodies.ts";
import { answerOf, startHost } from "./host.ts";

const ROWS = 24, COLS = 100;
/** The tolerance of each dtype. For 16-bit dtypes it is about twice the unit roundoff, because the reference in float64 does not round. */
const ROUNDING: Readonly<Record<FloatDtype, number>> = { F32: 1e-4, F16: 1e-3, BF16: 8e-3 };

const hessian = correlatedHessian(COLS, { seed: 1 });
const weights = normals(ROWS * COLS, 2);
const weight = floats("F32", [ROWS, COLS], weights);
const whole = floats("F32", [COLS, COLS], hessian);
const packed = floats("F32", [(COLS * (COLS + 1)) / 2], packUpper(hessian, COLS));

// Tiles of 32 columns make every matrix span several tiles.
const host = await startHost({ limits: { tileEdge: 32 } });
after(() => host.close());

/** Returns the target of weights that differ from those of the layer by normal numbers times `change`. */
function wantedOutputs(change: number): Float32Array<ArrayBuffer> {
  const wanted = normals(ROWS * COLS, 5).map((value, i) => weights[i] + change * value);
  return Float32Array.from({ length: ROWS * COLS }, (_, i) => {
    let sum = 0;
    for (let k = 0; k < COLS; k++) sum += wanted[i - i % COLS + k] * hessian[k * COLS + i % COLS];
    return sum;
  });
}

/** Returns the weights of an answer, with zeros in the columns that it has lost. */
function answeredWeights(
  { weight: { dtype, data }, kept }: { weight: HostTensor; kept?: HostTensor },
): Float32Array {
  const values = bytesToFloats(data, dtype as FloatDtype);
  if (!kept) return values;
  const columns = new Uint32Array(kept.data.slice().buffer), placed = new Float32Array(ROWS * COLS);
  values.forEach((value, i) =>
    placed[Math.floor(i / columns.length) * COLS + columns[i % columns.length]] = value
  );
  return placed;
}

/** Checks the loss and the relative error of an answer with the float64 errors of its own weights. */
function assertErrors(answer: Awaited<ReturnType<typeof answerOf>>, before: Float32Array): void {
  const after = answeredWeights(answer), form = (m: Float64Array) => quadraticForm(m, hessian, ROWS, COLS);
  const loss = form(Float64Array.from(before, (value, i) => value - after[i]));
  assertClose([answer.report.loss], [loss], 1e-3);
  assertClose([answer.report.relative_error], [loss / form(Float64Array.from(before))], 1e-3);
}

describe("POST /v1/layers", () => {
  async function prune(tensors: Record<string, HostTensor>, query = "") {
    const live = host.liveBytes();
    const response = await host.send("POST", `/v1/layers?blocksize=16&${query}`, file(tensors));
    const answer = await answerOf(response);
    assert.equal(host.liveBytes(), live, "device bytes");
    return { ...answer, headers: response.headers };
  }

  function reference(values: ArrayLike<number>, statistics: ArrayLike<number> = hessian, damping = 0.01) {
    return referenceSparseGpt(
      { rows: ROWS, cols: COLS, weight: values, hessian: statistics },
      referenceFactor(statistics, COLS, damping),
      { sparsity: 0.5, blocksize: 16 },
    );
  }

  for (const dtype of ["F32", "F16", "BF16"] as const) {
    for (const [form, statistics] of Object.entries({ hessian: whole, hessian_upper: packed })) {
      it(`prunes a layer in ${dtype} with statistics in the tensor ${form}`, async () => {
        const sent = floats(dtype, [ROWS, COLS], weights), before = bytesToFloats(sent.data, dtype);
        const expected = reference(before);
        const answer = await prune({ weight: sent, [form]: statistics });
        assert.deepEqual([answer.weight.dtype, answer.weight.shape], [dtype, [ROWS, COLS]]);
        assertSame(answer.mask.data, packBits(expected.mask, ROWS, COLS));
        assertClose(bytesToFloats(answer.weight.data, dtype), expected.q, ROUNDING[dtype]);
        assertErrors(answer, before);
      });
    }

    it(`prunes a layer with calibration inputs in ${dtype}`, async () => {
      const tokens = 150, inputs = floats(dtype, [tokens, COLS], normals(tokens * COLS, 3));
      const x = Float64Array.from(bytesToFloats(inputs.data, dtype));
      const expected = reference(weights, gram(x, tokens, COLS));
      const answer = await prune({ inputs, weight });
      assertSame(answer.mask.data, packBits(expected.mask, ROWS, COLS));
      assertClose(bytesToFloats(answer.weight.data, "F32"), expected.q, ROUNDING.F32);
    });
  }

  it("weighs the calibration inputs with token_weights", async () => {
    const tokens = 150,
      x = Float32Array.from(normals(tokens * COLS, 3), (value, i) => i < COLS ? 100 * value : value);
    const scaled = Float64Array.from(x, (value, at) => {
      const row = x.subarray(at - at % COLS, at - at % COLS + COLS);
      return value / Math.sqrt(row.reduce((sum, entry) => sum + entry ** 2, 0) / COLS);
    });
    const expected = reference(weights, gram(scaled, tokens, COLS));
    const answer = await prune({ inputs: floats("F32", [tokens, COLS], x), weight }, "token_weights=unit");
    assertSame(answer.mask.data, packBits(expected.mask, ROWS, COLS));
    assertClose(bytesToFloats(answer.weight.data, "F32"), expected.q, ROUNDING.F32);
  });

  it("converts the answer to the requested dtype", async () => {
    const expected = reference(weights);
    for (const dtype of ["F32", "F16", "BF16"] as const) {
      const answer = await prune({ weight, hessian: whole }, `dtype=${dtype}`);
      assert.equal(answer.weight.dtype, dtype);
      assertClose(bytesToFloats(answer.weight.data, dtype), expected.q, ROUNDING[dtype]);
    }
  });

  it("keeps n of every m columns with an n:m pattern", async () => {
    const expected = referenceSparseGpt(
      { rows: ROWS, cols: COLS, weight: weights, hessian },
      referenceFactor(hessian, COLS, 0.01),
      { sparsity: 0.5, groups: { keep: 2, group: 4 }, blocksize: 16 },
    );
    const answer = await prune({ weight, hessian: whole }, "pattern=2:4");
    assertSame(answer.mask.data, packBits(expected.mask, ROWS, COLS));
    assert.equal(answer.report.pattern, "2:4");
    assert.equal(answer.report.zeros, ROWS * COLS / 2);
  });

  it("prunes by magnitude, with and without statistics", async () => {
    const layer = { rows: ROWS, cols: COLS, weight: weights, hessian };
    const expected = referenceMagnitude(layer, { sparsity: 0.3 });
    const forms: Record<string, HostTensor>[] = [{ weight }, { weight, hessian: whole }];
    for (const tensors of forms) {
      const answer = await prune(tensors, "method=magnitude&sparsity=0.3");
      assertSame(answer.mask.data, packBits(expected.mask, ROWS, COLS));
      assert.equal(answer.report.damping, null);
      if ("hessian" in tensors) assertClose([answer.report.loss], [expected.loss], 1e-4);
      else assert.equal(answer.report.loss, null);
    }
  });

  it("prunes the entries that the request's mask prunes", async () => {
    const kept = Uint8Array.from({ length: ROWS * COLS }, (_, i) => i % 7 === 0 ? 0 : 1);
    const masks = [bytes("U8", [ROWS, 13], packBits(kept, ROWS, COLS)), bytes("BOOL", [ROWS, COLS], kept)];
    const answers = [];
    for (const mask of masks) {
      const answer = await prune({ weight, mask, hessian: whole }, "sparsity=0.5");
      const values = bytesToFloats(answer.weight.data, "F32");
      kept.forEach((keep, i) => keep || assert.equal(values[i], 0));
      assert.equal(answer.report.zeros, ROWS * COLS / 2);
      answers.push(answer.weight.data);
    }
    assert.deepEqual(answers[0], answers[1]);
  });

  for (const method of METHOD_NAMES) {
    for (const further of ["", "&bits=4"]) {
      it(`prunes exactly the entries of a mask without a sparsity (method=${method}${further})`, async () => {
        const kept = Uint8Array.from({ length: ROWS * COLS }, (_, i) => i % 7 === 0 || i < COLS ? 0 : 1);
        const tensors = { weight, mask: bytes("BOOL", [ROWS, COLS], kept), hessian: whole };
        const query = { method, ...further && { bits: 4 } };
        const answer = await prune(tensors, `method=${method}${further}`);
        assertSame(answer.mask.data, packBits(kept, ROWS, COLS));
        assert.equal(answer.report.zeros, kept.filter((keep) => keep === 0).length);
        decodeAnswer(answer.body, { query, tensors });
        const pattern = await prune(tensors, `method=${method}${further}&pattern=2:4`);
        assert.ok(pattern.report.zeros >= ROWS * COLS / 2);
      });
    }
  }

  const roundings = METHOD_NAMES.flatMap((method) => [
    `method=${method}&sparsity=0.5`,
    `method=${method}&sparsity=0&dtype=BF16`,
    `method=${method}&bits=4`,
    ...["obc", "magnitude", "wanda"].includes(method) ? [] : [`method=${method}&bits=4&order=activation`],
  ]).concat("method=obc&pattern=columns&sparsity=0.3", "refit=5", "method=wanda&refit=5", "target_step=0.5");
  for (const query of roundings) {
    for (const dtype of ["BF16", "F16", "F32"] as const) {
      it(`reports the loss of the answered weights (${dtype}, ${query})`, async () => {
        const given = floats(dtype, [ROWS, COLS], weights), target = query.includes("target");
        const validation = packUpper(correlatedHessian(COLS, { seed: 3 }), COLS);
        const tensors: Record<string, HostTensor> = { weight: given, hessian: whole };
        if (target) tensors.target = floats("F32", [ROWS, COLS], wantedOutputs(0.3));
        const heldOut = { validation_hessian_upper: floats("F32", [validation.length], validation) };
        for (const all of [tensors, { ...tensors, ...heldOut }]) {
          assertErrors(await prune(all, query), bytesToFloats(given.data, dtype));
        }
      });
    }
  }

  it("moves the weights towards a target, with statistics in the body and stored ones", async () => {
    const target = wantedOutputs(0.3);
    const layer = { rows: ROWS, cols: COLS, weight: weights, hessian, target };
    const expected = reference(referenceStep(layer, 0.25, 0.01));
    const tensors = { weight, target: floats("F32", [ROWS, COLS], target) };
    const body = file({ hessian: whole }), digest = formatDigest(await sha256(body));
    const answer = await prune({ ...tensors, hessian: whole }, "target_step=0.25");
    assertSame(answer.mask.data, packBits(expected.mask, ROWS, COLS));
    assertClose(bytesToFloats(answer.weight.data, "F32"), expected.q, 1e-3);
    const change = referenceChange(layer, bytesToFloats(answer.weight.data, "F32"));
    assertClose([answer.report.target_change!.result!], [change], 1e-3);
    assert.equal((await host.send("PUT", `/v1/hessians/${digest}`, body)).status, 201);
    for (const isReused of [false, true]) {
      const query = `/v1/layers?blocksize=16&target_step=0.25&hessian=${digest}`;
      const stored = await answerOf(await host.send("POST", query, file(tensors)));
      assertSame(stored.weight.data, answer.weight.data);
      assert.equal(stored.report.factor_reused, isReused);
    }
    assert.equal((await host.request(`/v1/hessians/${digest}`, { method: "DELETE" })).status, 204);
  });

  it("sends its report in the file and in the headers", async () => {
    const { report, headers } = await prune(
      { weight, hessian: whole },
      "sparsity=0.25&damping=0.02&error=false",
    );
    const parsed = reportSchema.parse(report);
    assert.deepEqual(JSON.parse(headers.get("Pare-Report")!), report);
    assert.deepEqual(
      [parsed.method, parsed.rows, parsed.cols, parsed.pattern, parsed.sparsity, parsed.zeros],
      ["sparsegpt", ROWS, COLS, "unstructured", 0.25, ROWS * COLS / 4],
    );
    assert.deepEqual([parsed.damping, parsed.relative_error, parsed.backend, parsed.factor_reused], [
      0.02,
      null,
      "cpu",
      false,
    ]);
    assert.ok(parsed.loss! > 0);
    const { read, factor, solve, total } = parsed.seconds;
    assert.ok(read > 0 && factor > 0 && solve > 0 && total >= read + factor + solve);
    assert.match(headers.get("Server-Timing")!, /^read;dur=[\d.]+, factor;dur=/);
    assert.equal(headers.get("Content-Type"), "application/vnd.safetensors");
  });

  it("sends the length of the answer in its headers", async () => {
    const { body, headers } = await prune({ weight, hessian: whole });
    assert.equal(headers.get("Content-Length"), String(body.length));
  });

  it("answers the same request with the same bits", async () => {
    for (const query of ["", "pattern=4:8", "method=magnitude", "dtype=BF16"]) {
      const [first, second] = [
        await prune({ weight, hessian: whole }, query),
        await prune({ weight, hessian: whole }, query),
      ];
      assertSame(first.weight.data, second.weight.data);
      assertSame(first.mask.data, second.mask.data);
    }
  });

  it("accepts a body of type application/octet-stream", async () => {
    const response = await host.send("POST", "/v1/layers", file({ weight, hessian: whole }), {
      "Content-Type": "application/octet-stream; charset=binary",
    });
    assert.equal((await answerOf(response)).report.zeros, ROWS * COLS / 2);
  });
});
