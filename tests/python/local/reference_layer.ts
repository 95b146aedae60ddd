/**
 * Prunes a layer in float64 and prints the weights and the mask as JSON: `reference_layer.ts FILE`. The file has the
 * layer, and the parameters by their names in the contract.
 */

import { referenceGptq } from "../../reference/gptq.ts";
import { referenceFactor, referenceMagnitude, referenceSparseGpt } from "../../reference/sparsegpt.ts";
import { referenceWanda } from "../../reference/wanda.ts";

const { layer, query } = JSON.parse(await Deno.readTextFile(Deno.args[0]));
const [keep, group] = (query.pattern ?? "").split(":").map(Number);
const options = {
  sparsity: query.sparsity ?? 0.5,
  groups: group ? { keep, group } : undefined,
  blocksize: 128,
};
const factor = referenceFactor(layer.hessian, layer.cols, query.damping ?? 0.01);
const rounding = {
  bits: query.bits,
  symmetric: query.symmetric ?? false,
  groupSize: query.group_size ?? 0,
  ranges: "search" as const,
};
const solve = {
  magnitude: () => referenceMagnitude(layer, options),
  wanda: () => referenceWanda(layer, options),
  sparsegpt: () => referenceSparseGpt(layer, factor, options),
};
const chosen = solve[(query.method ?? "sparsegpt") as keyof typeof solve]();
const isOnePass = (query.method ?? "sparsegpt") === "sparsegpt";
const { q, mask } = !query.bits
  ? chosen
  : isOnePass
  ? referenceGptq(layer, factor, { ...options, ...rounding })
  : referenceGptq({ ...layer, weight: chosen.q }, factor, {
    ...options,
    ...rounding,
    fixedMask: chosen.mask,
  });
console.log(JSON.stringify({ q: [...q], mask: [...mask] }));
