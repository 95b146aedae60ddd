/** Computes the results that the self-check expects of its layers, with the float64 code of `tests/reference`. */

import { LAYER_CASES, type LayerCase } from "../../../src/host/self_check/layer_cases.ts";
import { hashBits, type ResultFingerprint, sumElements } from "../../../src/host/self_check/fingerprint.ts";
import { generator, type Values } from "../../../src/device/kernels/kernel_case.ts";
import { referenceGptq } from "../../reference/gptq.ts";
import { referenceObc } from "../../reference/obc.ts";
import {
  type ReferenceFactor,
  referenceFactor,
  type ReferenceLayer,
  referenceSparseGpt,
} from "../../reference/sparsegpt.ts";
import { referenceWanda } from "../../reference/wanda.ts";
import { shorten } from "./expected.ts";

/** The relative change of the weights that must not change the mask. It is larger than rounding errors. */
const DISTURBANCE = 2 ** -20;

/** Returns the fingerprints of all layers, by the names of the cases and their outputs. */
export function expectedLayers(): Record<string, Record<string, ResultFingerprint>> {
  return Object.fromEntries(LAYER_CASES.map((layerCase) => [layerCase.name, expectedOutputs(layerCase)]));
}

/** @throws {Error} if rounding errors could change the mask */
function expectedOutputs(layerCase: LayerCase): Record<string, ResultFingerprint> {
  const operands = layerCase.operands(), results = solve(layerCase, operands.weight, operands.hessian);
  for (const seed of [1, 2, 3]) {
    const next = generator(seed);
    const change = (value: number) => value * (1 + DISTURBANCE * (next() / 2 ** 31 - 1));
    const disturbed = solve(layerCase, operands.weight.map(change), operands.hessian);
    if (disturbed.mask.some((word, i) => word !== results.mask[i])) {
      throw new Error(`${layerCase.name}: rounding errors could change the mask. Choose other operands.`);
    }
  }
  return Object.fromEntries(
    Object.entries(layerCase.outputs).map(([output, { binding, roundings }]): [string, ResultFingerprint] => {
      const values = results[binding];
      if (roundings === undefined) {
        const exact: Values = binding === "mask" ? Uint32Array.from(values) : Float32Array.from(values);
        return [output, hashBits(exact)];
      }
      const largest = Math.max(...Array.from(values, Math.abs));
      return [output, { largest: shorten(largest), sums: sumElements(values).map(shorten) }];
    }),
  );
}

function solve(
  layerCase: LayerCase,
  weight: Float32Array,
  hessian: Float32Array,
): Record<string, Float64Array> {
  const { rows, cols, parameters } = layerCase, layer: ReferenceLayer = { rows, cols, weight, hessian };
  const { solution, damping } = solveReference(layer, parameters);
  const words = Math.ceil(cols / 32), mask = new Uint32Array(rows * words);
  solution.mask.forEach((kept, i) => {
    const column = i % cols;
    if (kept) mask[Math.floor(i / cols) * words + (column >> 5)] |= 1 << (column & 31);
  });
  return {
    weight: Float64Array.from(solution.q),
    mask: Float64Array.from(mask),
    loss: Float64Array.of(solution.loss),
    relative_error: Float64Array.of(solution.relativeError),
    damping: Float64Array.of(damping),
  };
}

/** Solves the layer with the published algorithm of its method. */
function solveReference(layer: ReferenceLayer, parameters: LayerCase["parameters"]) {
  const { method, pattern, sparsity, blocksize, damping, quantization } = parameters;
  const groups = pattern.kind === "n:m" ? { keep: pattern.keep, group: pattern.group } : undefined;
  if (method === "wanda") return { solution: referenceWanda(layer, { sparsity, groups }), damping: 0 };
  if (method === "obc") return { solution: referenceObc(layer, { sparsity, groups, damping }), damping };
  const { factor, damping: raised } = factorWithRetries(layer, damping);
  const options = { sparsity, groups, blocksize };
  const solution = quantization
    ? referenceGptq(layer, factor, { ...options, ...quantization })
    : referenceSparseGpt(layer, factor, options);
  return { solution, damping: raised };
}

/** Factors the statistics with ten times more damping after each failure. */
function factorWithRetries(
  layer: ReferenceLayer,
  damping: number,
): { factor: ReferenceFactor; damping: number } {
  try {
    return { factor: referenceFactor(layer.hessian, layer.cols, damping), damping };
  } catch (error) {
    if (damping >= 1) throw error;
    return factorWithRetries(layer, Math.min(1, 10 * damping));
  }
}
