/** Tests which answers with sums the client accepts. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { decodeSums } from "../../../src/client/blocks/layer_sums.ts";
import { encode } from "../../../src/tensor/safetensors/encode.ts";
import { floats } from "../../layer/bodies.ts";

const zeros = (...shape: number[]) =>
  floats("F32", shape, new Float32Array(shape.reduce((product, extent) => product * extent, 1)));

it("decodeSums() refuses answers in which a sum or a target of fitted windows is missing or has another shape", () => {
  const sums = { hessian_upper: zeros(3) }, request = { path: "/sums", inFeatures: 2 };
  const targets = { outFeatures: 5, weights: new Map() };
  const wanted = { outFeatures: 5, weights: new Map([["w", zeros(5, 2)]]) };
  const accepted = [
    [sums, undefined],
    [{ ...sums, moments: zeros(5, 2) }, targets],
    [{ ...sums, moments: zeros(2, 2) }, targets],
    [{ ...sums, "target.w": zeros(5, 2) }, wanted],
  ] as const;
  for (const [tensors, targets] of accepted) decodeSums(encode({ ...tensors }), { ...request, targets });
  const refused = [
    [{}, undefined, "hessian_upper is missing"],
    [{ hessian_upper: zeros(4) }, undefined, "hessian_upper is F32 [4], not F32 [3]"],
    [sums, targets, "moments is missing"],
    [{ ...sums, moments: zeros(2, 5) }, targets, "moments is F32 [2,5], not F32 [2,2] or F32 [5,2]"],
    [sums, wanted, "target.w is missing"],
  ] as const;
  for (const [tensors, targets, fault] of refused) {
    assert.throws(() => decodeSums(encode({ ...tensors }), { ...request, targets }), {
      name: "MalformedAnswerError",
      message: `answer of /sums: the tensor ${fault}`,
    });
  }
});
