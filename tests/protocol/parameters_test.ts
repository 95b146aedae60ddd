/** Tests the schema of a layer's parameters: defaults, text and typed values, bounds, and the rules that connect parameters. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { LayerQuery } from "../../src/protocol/layer_query.ts";
import { layerQuerySchema, resolveParameters } from "../../src/protocol/parameters.ts";
import { searchParamsOf } from "../../src/protocol/search_params.ts";

const DIGEST = `sha256:${"0f".repeat(32)}`;

function resolve(query: Record<string, unknown>) {
  return resolveParameters(layerQuerySchema.parse(query));
}

/** Returns the names of the invalid parameters of `query`. */
function invalidNames(query: Record<string, unknown>): string[] {
  const { error } = layerQuerySchema.safeParse(query);
  return (error?.issues ?? []).map((issue) =>
    issue.code === "unrecognized_keys" ? issue.keys.join() : issue.path.join(".")
  );
}

describe("layer parameters", () => {
  it("have the contract's defaults", () => {
    assert.deepEqual(resolve({}), {
      method: "sparsegpt",
      sparsity: 0.5,
      prunesMaskOnly: true,
      pattern: { kind: "unstructured" },
      blocksize: 128,
      damping: 0.01,
      relativeError: true,
      refitSteps: 0,
      effort: "default",
      token_weights: "none",
      quantization: undefined,
      group_size: 0,
      symmetric: false,
      ranges: "search",
      scale_dtype: "F32",
      order: "natural",
      error: true,
      dtype: "same",
    });
  });

  it("take their block size from the columns of a quantisation group", () => {
    assert.equal(resolve({ bits: 4, group_size: 48 }).blocksize, 96);
    assert.equal(resolve({ bits: 4, group_size: 200 }).blocksize, 200);
    assert.equal(resolve({ bits: 4, group_size: 64, pattern: "2:4" }).blocksize, 128);
    assert.equal(resolve({ bits: 4, group_size: 32, scale_bits: 6 }).blocksize, 256);
    const given = { bits: "4", group_size: "64", symmetric: "true" };
    const quantization = { bits: 4, groupSize: 64, symmetric: true, order: "natural" };
    const searched = { ...quantization, ranges: "search", scaleDtype: "F32", scaleBits: undefined };
    assert.deepEqual(resolve(given).quantization, searched);
    const published = { ...searched, ranges: "minmax", scaleDtype: "F16" };
    assert.deepEqual(resolve({ ...given, ranges: "minmax", scale_dtype: "F16" }).quantization, published);
  });

  it("take the group of the pattern columns, which only obc can remove, and which excludes what it makes useless", () => {
    const columns = { method: "obc", pattern: "columns" };
    assert.deepEqual(resolve(columns).pattern, { kind: "columns", group: 1 });
    assert.deepEqual(resolve({ ...columns, column_group: "64" }).pattern, { kind: "columns", group: 64 });
    assert.equal(resolve({ ...columns, damping: "auto" }).damping, "auto");
    for (
      const [parameter, query] of [
        ["method", { ...columns, method: undefined }],
        ["target_step", { ...columns, target_step: "auto" }],
        ["bits", { ...columns, bits: 4 }],
        ["refit", { ...columns, refit: 3 }],
        ["column_group", { ...columns, column_group: 0 }],
        ["column_group", { column_group: 2 }],
        ["column_group", { pattern: "2:4", column_group: 4 }],
      ] as const
    ) {
      assert.deepEqual(invalidNames(query), [parameter]);
    }
  });

  it("take the number of refit steps from the method", () => {
    assert.equal(resolve({ method: "alps" }).refitSteps, 10);
    assert.equal(resolve({ method: "adaprune" }).refitSteps, 10);
    assert.equal(resolve({ method: "alps", refit: 0 }).refitSteps, 0);
    assert.equal(resolve({ method: "magnitude", refit: "3" }).refitSteps, 3);
    assert.equal(resolve({ method: "alps", effort: "best" }).effort, "best");
  });

  it("may be given as text or as values", () => {
    const values = {
      method: "magnitude",
      sparsity: 0.25,
      pattern: "unstructured",
      blocksize: 64,
      damping: 1e-3,
      error: false,
      dtype: "BF16",
      hessian: DIGEST,
    };
    const text = Object.fromEntries(Object.entries(values).map(([name, value]) => [name, String(value)]));
    assert.deepEqual(resolve(text), resolve(values));
    assert.equal(resolve({ sparsity: "1e-1" }).sparsity, 0.1);
    assert.equal(resolve({ sparsity: ".5" }).sparsity, 0.5);
  });

  it("take their sparsity and block size from an n:m pattern", () => {
    for (
      const [pattern, sparsity, blocksize] of [["2:4", 0.5, 128], ["1:4", 0.75, 128], [
        "2:3",
        1 / 3,
        126,
      ]] as const
    ) {
      const resolved = resolve({ pattern });
      assert.ok(Math.abs(resolved.sparsity - sparsity) < 1e-12);
      assert.equal(resolved.blocksize, blocksize);
    }
    assert.equal(resolve({ pattern: "100:128" }).blocksize, 128);
    assert.equal(resolve({ pattern: "50:100" }).blocksize, 100);
    assert.equal(resolve({ pattern: "2:4", blocksize: 256 }).blocksize, 256);
    assert.deepEqual(invalidNames({ pattern: "2:3", sparsity: "0.333333" }), []);
  });

  it("are named in the error if they are invalid", () => {
    const cases: [Record<string, unknown>, string[]][] = [
      [{ method: "oracle" }, ["method"]],
      [{ sparsity: "1" }, ["sparsity"]],
      [{ sparsity: "-0.1" }, ["sparsity"]],
      [{ sparsity: "" }, ["sparsity"]],
      [{ sparsity: "0x1" }, ["sparsity"]],
      [{ sparsity: "NaN" }, ["sparsity"]],
      [{ sparsity: ["0.1", "0.2"] }, ["sparsity"]],
      [{ pattern: "4:2" }, ["pattern"]],
      [{ pattern: "2:4", sparsity: 0.3 }, ["sparsity"]],
      [{ pattern: "2:4", blocksize: 30 }, ["blocksize"]],
      [{ blocksize: 257 }, ["blocksize"]],
      [{ blocksize: 0 }, ["blocksize"]],
      [{ blocksize: 12.5 }, ["blocksize"]],
      [{ damping: -1 }, ["damping"]],
      [{ damping: 2 }, ["damping"]],
      [{ damping: "Infinity" }, ["damping"]],
      [{ bits: 1 }, ["bits"]],
      [{ bits: 9 }, ["bits"]],
      [{ group_size: -1, bits: 4 }, ["group_size"]],
      [{ symmetric: "1" }, ["symmetric"]],
      [{ refit: 1001 }, ["refit"]],
      [{ error: "no" }, ["error"]],
      [{ dtype: "F64" }, ["dtype"]],
      [{ hessian: "sha256:0" }, ["hessian"]],
      [{ hessian: DIGEST.toUpperCase() }, ["hessian"]],
      [{ block_size: 64 }, ["block_size"]],
      [{ effort: "more", method: "alps" }, ["effort"]],
      [{ order: "random", bits: 4 }, ["order"]],
    ];
    for (const [query, names] of cases) assert.deepEqual(invalidNames(query), names, JSON.stringify(query));
  });

  it("are refused in combinations that mean nothing, and the error names the parameter to change", () => {
    const cases: [Record<string, unknown>, string[]][] = [
      [{ effort: "best" }, ["effort"]],
      [{ token_weights: "unit", hessian: `sha256:${"0".repeat(64)}` }, ["token_weights"]],
      [{ method: "adaprune", refit: 0 }, ["refit"]],
      [{ group_size: 128 }, ["group_size"]],
      [{ symmetric: true }, ["symmetric"]],
      [{ order: "activation" }, ["order"]],
      [{ bits: 4, order: "activation", group_size: 64 }, ["order"]],
      [{ bits: 4, order: "activation", pattern: "2:4" }, ["order"]],
      [{ bits: 4, group_size: 66, pattern: "2:4" }, ["group_size"]],
      [{ bits: 4, group_size: 48, blocksize: 64 }, ["blocksize"]],
      [{ bits: 4, group_size: 257 }, ["group_size"]],
      [{ bits: 4, group_size: 64, blocksize: 128, pattern: "2:4", symmetric: true }, []],
      [{ bits: 4, order: "activation" }, []],
      [{ scale_bits: 6 }, ["scale_bits"]],
      [{ bits: 4, scale_bits: 6 }, ["scale_bits"]],
      [{ bits: 4, group_size: 96, scale_bits: 6 }, ["scale_bits"]],
      [{ bits: 4, group_size: 32, scale_bits: 3 }, ["scale_bits"]],
      [{ bits: 4, group_size: 32, scale_bits: 6, blocksize: 128 }, ["blocksize"]],
      [{ bits: 4, group_size: 32, scale_bits: 3, symmetric: true }, []],
    ];
    for (const [query, names] of cases) assert.deepEqual(invalidNames(query), names, JSON.stringify(query));
  });
});

it("searchParamsOf() omits undefined parameters, and the schema parses its result", () => {
  const query: LayerQuery = { method: "magnitude", pattern: "2:4", error: false, blocksize: undefined };
  const params = searchParamsOf(query);
  assert.equal(params.toString(), "method=magnitude&pattern=2%3A4&error=false");
  const { method, pattern, error } = layerQuerySchema.parse(Object.fromEntries(params));
  assert.deepEqual({ method, pattern, error }, { method: "magnitude", pattern: "2:4", error: false });
});
