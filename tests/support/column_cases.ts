/** Checkpoints in the formats `gptq` and `awq`, in which each output of a layer is a column of codes, for `stored_cases.ts`. */

import type { FloatDtype } from "../../src/tensor/dtype.ts";
import { integers, randomIntegers, randomScales, type StoredCase, tensorOf } from "./stored_case.ts";

interface ColumnCase {
  readonly format: "gptq" | "gptq_v2" | "awq";
  readonly bits: number;
  readonly groupSize: number;
  readonly hasOrder?: boolean;
  readonly scaleDtype?: FloatDtype;
  readonly seed: number;
}

/** Places the codes of a row of words. `order[i]` is the position of number i in its word. */
function packWords(codes: readonly number[], bits: number, order: readonly number[]): number[] {
  const words: number[] = [];
  for (let at = 0; at < codes.length; at += order.length) {
    const digits = order.map((position, i) => codes[at + i] * 2 ** (bits * position));
    words.push(digits.reduce((sum, digit) => sum + digit));
  }
  return words;
}

function columnCase({ format, bits, groupSize, hasOrder, scaleDtype = "F16", seed }: ColumnCase): StoredCase {
  const [inputs, outputs] = [64, 24], groups = groupSize === -1 ? 1 : inputs / groupSize, perWord = 32 / bits;
  const codes = randomIntegers(inputs * outputs, 2 ** bits, seed), isAwq = format === "awq";
  const zeros = randomIntegers(groups * outputs, 2 ** bits, seed + 1);
  const [scales, scale] = randomScales(scaleDtype, [groups, outputs], seed + 2);
  const random = randomIntegers(inputs, groups, seed + 3);
  const groupOf = Array.from(
    { length: inputs },
    (_, i) => hasOrder ? random[i] : Math.floor(i * groups / inputs),
  );
  const inSequence = Array.from({ length: perWord }, (_, i) => i);
  const order = !isAwq ? inSequence : bits === 4 ? [0, 4, 1, 5, 2, 6, 3, 7] : [0, 2, 1, 3];
  // Words of `gptq` are those of the zeros minus a 1 in every code, so that a code of 0 borrows from the next one.
  const ones = format === "gptq" ? inSequence.reduce((sum, i) => sum + 2 ** (bits * i), 0) : 0;
  const zeroWords = Uint32Array.from(
    packWords(zeros, bits, order),
    (word) => (word - ones + 2 ** 32) % 2 ** 32,
  );
  const columns = Array.from(
    { length: outputs },
    (_, output) =>
      packWords(
        Array.from({ length: inputs }, (_, input) => codes[input * outputs + output]),
        bits,
        inSequence,
      ),
  );
  const words = isAwq
    ? packWords(codes, bits, order)
    : columns[0].flatMap((_, word) => columns.map((column) => column[word]));
  const values = Array.from({ length: outputs * inputs }, (_, i) => {
    const output = Math.floor(i / inputs), input = i % inputs, grid = groupOf[input] * outputs + output;
    return (codes[input * outputs + output] - zeros[grid]) * scales[grid] + 0; // Pare reads 0 in place of −0
  });
  const description = isAwq
    ? { quant_method: "awq", version: "gemm", zero_point: true, bits, group_size: groupSize }
    : {
      quant_method: "gptq",
      checkpoint_format: format,
      bits,
      group_size: groupSize,
      desc_act: hasOrder ?? false,
    };
  return {
    title: `${format}, ${bits} bits in groups of ${groupSize}${hasOrder ? " in activation order" : ""}`,
    config: { dtype: "float16", quantization_config: description },
    tensors: {
      "x.qweight": integers(
        Uint32Array.from(words),
        isAwq ? [inputs, outputs / perWord] : [inputs / perWord, outputs],
        "I32",
      ),
      "x.qzeros": integers(zeroWords, [groups, outputs / perWord], "I32"),
      "x.scales": scale,
      ...hasOrder && { "x.g_idx": integers(Int32Array.from(groupOf), [inputs], "I32") },
    },
    weights: { "x.weight": tensorOf(scaleDtype === "F32" ? "F16" : scaleDtype, [outputs, inputs], values) },
  };
}

export const COLUMN_CASES: readonly StoredCase[] = [
  columnCase({ format: "gptq", bits: 4, groupSize: 16, seed: 30 }),
  columnCase({ format: "gptq", bits: 8, groupSize: -1, seed: 40 }),
  columnCase({ format: "gptq", bits: 4, groupSize: 16, hasOrder: true, scaleDtype: "BF16", seed: 50 }),
  columnCase({ format: "gptq_v2", bits: 8, groupSize: 32, hasOrder: true, seed: 60 }),
  columnCase({ format: "awq", bits: 4, groupSize: 16, seed: 70 }),
  columnCase({ format: "awq", bits: 8, groupSize: 64, scaleDtype: "F32", seed: 80 }),
];
