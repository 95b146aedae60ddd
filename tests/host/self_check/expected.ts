/** Computes the numbers that the self-check expects from a device, with the float64 code of `tests/reference`. */

import { ALL_CASES } from "../../../src/host/self_check/cases.ts";
import { hashBits, type ResultFingerprint, sumElements } from "../../../src/host/self_check/fingerprint.ts";
import { type CheckCase, expectedName, roundedOperands } from "../../../src/host/self_check/run_case.ts";
import { generator, type Values } from "../../../src/device/kernels/kernel_case.ts";
import { BF16, decodeFloat16, encodeFloat16 } from "../../reference/float16.ts";
import { runReference } from "../../reference/run_reference.ts";

/** Kernels whose exact outputs depend on comparisons of rounded numbers. */
const DECIDING = ["prune_block_n_m", "quantize_block", "remove_weights", "fit_grids", "encode_codes"];
/** The relative change of the operands that must change no decision. It is far larger than rounding errors. */
const DISTURBANCE = 2 ** -18;

/** Returns the committed fingerprints, by the names of the cases and their outputs. */
export function expectedFingerprints(): Record<string, Record<string, ResultFingerprint>> {
  const rounded = ALL_CASES.filter(roundedOperands).map((checkCase) => withRoundedOperands(checkCase));
  return Object.fromEntries(
    [...ALL_CASES, ...rounded].map((checkCase) => [checkCase.name, expectedOutputs(checkCase)]),
  );
}

/** Returns `checkCase` as an adapter computes it that rounds the operands to bfloat16. */
function withRoundedOperands(checkCase: CheckCase): CheckCase {
  const round = (values: Values) =>
    Float32Array.from(values, (value) => decodeFloat16(encodeFloat16(value, BF16), BF16));
  return {
    ...checkCase,
    name: expectedName(checkCase, { rounds: "bfloat16" }),
    buffers: () => {
      const buffers = checkCase.buffers();
      const names = Object.keys(checkCase.steps[0].kernel.bindings).slice(
        0,
        roundedOperands(checkCase)?.count,
      );
      return { ...buffers, ...Object.fromEntries(names.map((name) => [name, round(buffers[name])])) };
    },
  };
}

/** Computes the fingerprints of one case. @throws {Error} if rounding errors could change a decision of the kernel */
function expectedOutputs(checkCase: CheckCase): Record<string, ResultFingerprint> {
  const before = checkCase.buffers(), { name, subject } = checkCase;
  const outputs = fingerprints(checkCase, before, compute(checkCase, before));
  if (DECIDING.includes(subject)) {
    for (const seed of [1, 2, 3]) {
      const disturbed = fingerprints(checkCase, before, compute(checkCase, disturb(before, seed)));
      for (const [output, hash] of Object.entries(outputs)) {
        if (typeof hash === "string" && hash !== disturbed[output]) {
          throw new Error(`${name}: rounding errors could change ${output}. Choose other operands.`);
        }
      }
    }
  }
  return outputs;
}

/** The contents of all buffers. References compute floats in float64. */
type Results = Readonly<Record<string, Float32Array | Float64Array | Uint32Array>>;

/** Runs the references of all steps, one after the other. */
function compute({ steps }: CheckCase, before: Readonly<Record<string, Values>>): Results {
  let contents: Results = before;
  for (const { kernel, params, buffers } of steps) {
    const names = Object.entries(buffers);
    const operands = Object.fromEntries(names.map(([binding, buffer]) => [binding, contents[buffer]]));
    const after = runReference(kernel, operands, params);
    contents = {
      ...contents,
      ...Object.fromEntries(names.map(([binding, buffer]) => [buffer, after[binding]])),
    };
  }
  return contents;
}

/** Changes every float a little, except whole numbers, because zero points and codes must stay exact. */
function disturb(before: Readonly<Record<string, Values>>, seed: number): Record<string, Values> {
  const next = generator(seed);
  const change = (value: number) =>
    Number.isInteger(value) ? value : value * (1 + DISTURBANCE * (next() / 2 ** 31 - 1));
  return Object.fromEntries(
    Object.entries(before).map((
      [name, values],
    ) => [name, values instanceof Float32Array ? values.map(change) : values]),
  );
}

function fingerprints(
  { outputs }: CheckCase,
  before: Readonly<Record<string, Values>>,
  after: Results,
): Record<string, ResultFingerprint> {
  return Object.fromEntries(
    Object.entries(outputs).map(([output, { binding, roundings, includes }]): [string, ResultFingerprint] => {
      const values = after[binding];
      const rounded = before[binding] instanceof Float32Array
        ? Float32Array.from(values)
        : Uint32Array.from(values);
      if (roundings === undefined) return [output, hashBits(rounded, includes)];
      const floats = before[binding] instanceof Float32Array ? values : new Float32Array(rounded.buffer);
      const included = Array.from(floats, (value, i) => !includes || includes(i) ? value : 0);
      const magnitude = (isComputed: (i: number) => boolean) =>
        included.reduce((most, value, i) => isComputed(i) ? Math.max(most, Math.abs(value)) : most, 0);
      // Elements that the kernel leaves alone have no rounding errors.
      const largest = magnitude((i) => !Object.is(values[i], before[binding][i])) || magnitude(() => true);
      return [output, { largest: shorten(largest), sums: sumElements(included).map(shorten) }];
    }),
  );
}

/** Rounds to ten significant digits. A float has seven. */
export function shorten(value: number): number {
  return Number(value.toPrecision(10));
}
