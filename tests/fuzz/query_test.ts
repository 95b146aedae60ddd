/** Fuzzes the parameters of a layer, and the documents that contain them. */

import { describe } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import { invalidParameters } from "../../src/protocol/refusal.ts";
import { searchParamsOf } from "../../src/protocol/search_params.ts";
import { METHOD_NAMES } from "../../src/protocol/methods.ts";
import { layerQuerySchema, type ParsedLayerQuery, resolveParameters } from "../../src/protocol/parameters.ts";
import { fuzz, type Outcome } from "./property.ts";

/** Generates texts of numbers, valid and invalid. */
const numberText = fc.oneof(
  fc.integer({ min: -1, max: 300 }).map(String),
  fc.double({ min: -0.1, max: 1.1, noNaN: true }).map(String),
  fc.constantFrom(
    "",
    " 1",
    "1 ",
    "+1",
    "1.",
    ".5",
    "0x10",
    "1e-3",
    "1e400",
    ...["-0", "NaN", "Infinity", "٣", "1_0", "1,0"],
  ),
);

/** Generates queries in which most values have the right type, so that some queries are valid. */
const query = fc.record({
  method: fc.constantFrom(...METHOD_NAMES, "Wanda", ""),
  sparsity: numberText,
  pattern: fc.oneof(fc.constantFrom("unstructured", "2:4", "1:4", "4:8", "4:2", "0:4", "2:4 "), fc.string()),
  blocksize: numberText,
  damping: fc.oneof(fc.constantFrom("auto", "Auto"), numberText),
  bits: fc.oneof(fc.integer({ min: 1, max: 9 }).map(String), numberText),
  group_size: fc.oneof(fc.constantFrom("0", "8", "32"), numberText),
  symmetric: fc.constantFrom("true", "false", "1", "TRUE", ""),
  order: fc.constantFrom("natural", "activation", "random"),
  refit: numberText,
  effort: fc.constantFrom("fast", "default", "best", "worst"),
  error: fc.constantFrom("true", "false", "no"),
  dtype: fc.constantFrom("same", "F32", "F16", "BF16", "F64", "constructor"),
  hessian: fc.oneof(fc.constant(`sha256:${"a".repeat(64)}`), fc.string()),
}, { requiredKeys: [] });

/** Generates a few parameters, so that not every query has an invalid one, and sometimes an unknown one. */
const fewParameters = fc.tuple(
  query,
  fc.subarray("method sparsity pattern bits group_size damping blocksize refit dtype order".split(" "), {
    maxLength: 3,
  }),
  fc.option(
    fc.tuple(fc.oneof(fc.constantFrom("__proto__", "Sparsity", "toString", ""), fc.string()), fc.string()),
    { freq: 9 },
  ),
).map(([all, names, unknown]): Record<string, string> => {
  const entries = Object.entries(all).filter(([name]) => names.includes(name));
  return Object.fromEntries(unknown ? [...entries, unknown] : entries);
});

function checkInvariants(parsed: ParsedLayerQuery): void {
  const { sparsity, pattern, blocksize, damping, quantization, refitSteps } = resolveParameters(parsed);
  assert.ok(sparsity >= 0 && sparsity < 1);
  assert.ok(Number.isInteger(blocksize) && blocksize >= 1 && blocksize <= 256);
  if (pattern.kind === "n:m") {
    assert.ok(pattern.keep >= 1 && pattern.keep < pattern.group);
    assert.equal(blocksize % pattern.group, 0);
  }
  assert.ok(damping === "auto" || (damping >= 0 && damping <= 1));
  assert.ok(Number.isInteger(refitSteps) && refitSteps >= 0 && refitSteps <= 1000);
  if (!quantization) return;
  assert.ok(Number.isInteger(quantization.bits) && quantization.bits >= 2 && quantization.bits <= 8);
  if (quantization.groupSize > 0) assert.equal(blocksize % quantization.groupSize, 0);
}

function parseQuery(text: Record<string, string>): Outcome {
  const { data, error } = layerQuerySchema.safeParse(text);
  if (error) {
    const refusal = invalidParameters(error, text);
    assert.equal(refusal.code, "invalid_parameter");
    assert.ok((refusal.members.errors as unknown[]).length > 0);
    return "refused";
  }
  checkInvariants(data);
  const again = Object.fromEntries(searchParamsOf(data as Parameters<typeof searchParamsOf>[0]));
  // The text of -0 is 0, so the values are compared as JSON, which does not distinguish the two.
  assert.equal(JSON.stringify(layerQuerySchema.parse(again)), JSON.stringify(data));
  return "accepted";
}

describe("fuzzing the query", () => {
  fuzz(
    "query parameters",
    fc.oneof(query as fc.Arbitrary<Record<string, string>>, fewParameters),
    parseQuery,
  );
});
