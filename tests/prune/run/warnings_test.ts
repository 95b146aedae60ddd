import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { tokenWarnings, validationWarnings } from "../../../src/prune/run/warnings.ts";

describe("validationWarnings()", () => {
  const layers = (factors: readonly (number | undefined)[]) =>
    factors.map((factor, i) => ({
      name: `layer${i}`,
      relative_error: 0.01,
      validation_error: factor === undefined ? undefined : 0.01 * factor,
    }));

  it("names the layer with the largest factor if a tenth of the layers exceed 2", () => {
    assert.deepEqual(validationWarnings(layers([1, 1, 3, 1, 1, 1, 5, 1, 1, 1])), [
      "2 of 10 layers have more than 2 times the error on held-out windows than on those that were fitted, and layer6 has " +
      "5.000 times: take more --samples",
    ]);
  });

  it("is silent about fewer layers, and about layers without validation or without an error", () => {
    assert.deepEqual(validationWarnings(layers([...Array(10).fill(1), 9])), []);
    assert.deepEqual(validationWarnings(layers([undefined, undefined])), []);
    assert.deepEqual(validationWarnings([{ name: "a", relative_error: 0, validation_error: 1 }]), []);
    assert.deepEqual(validationWarnings([{ name: "a", relative_error: null, validation_error: null }]), []);
    assert.deepEqual(validationWarnings([]), []);
  });
});

describe("tokenWarnings()", () => {
  const layer = {
    name: "w",
    block: 0,
    linear: { name: "w", inFeatures: 20, outFeatures: 4, bias: false },
    rows: 4,
    cols: 20,
  };
  const warnings = (tokens: number, method: "magnitude" | "sparsegpt") =>
    tokenWarnings({ windows: [new Uint32Array(tokens)], queryOf: () => ({ method }) }, [layer]);

  it("warns if the fitted tokens are fewer than three times the columns of the widest layer with statistics", () => {
    assert.deepEqual(warnings(60, "sparsegpt"), []);
    assert.deepEqual(warnings(59, "sparsegpt"), [
      "59 tokens are fewer than three times 20 inputs: take more --samples",
    ]);
    assert.deepEqual(warnings(1, "magnitude"), []);
  });
});
