/** A dense weight to be written as its parts, a few rows at a time. Which weights can be is for `survey.ts`. */

import { ModelError } from "../../files/model_error.ts";
import type { TensorSource } from "../tensor_source.ts";
import type { TensorSpec } from "../../safetensors/encode.ts";
import { BYTES_PER_ELEMENT } from "../../tensor/dtype.ts";
import { asBytes, bitmaskRowBytes, countRows, gather, nonZeroBits } from "./bitmask.ts";
import { type PackFormat, partNames, stemOf } from "./format.ts";
import type { Entry, WritePart } from "./rewrite_shards.ts";
import { readStrips } from "./strips.ts";
import type { PackableWeight } from "./survey.ts";
import { completeTwoFour } from "./two_four.ts";

/** The parts of a surveyed weight of `source`. */
export function packedWeight(
  source: TensorSource,
  { name, nonZeros }: PackableWeight,
  format: PackFormat,
): Entry {
  const { dtype, shape } = source.info(name);
  const [rows, cols] = shape;
  const isTwoFour = format === "sparse-24";
  const kept = isTwoFour ? rows * cols / 2 : nonZeros;
  const parts = partNames(stemOf(name));
  const specs: TensorSpec[] = [
    { name: parts.compressed, dtype, shape: isTwoFour ? [rows, cols / 2] : [kept] },
    { name: parts.bitmask, dtype: "U8", shape: [rows, bitmaskRowBytes(cols)] },
    { name: parts.shape, dtype: "I64", shape: isTwoFour ? [2, 1] : [2] },
  ];
  if (!isTwoFour) specs.push({ name: parts.rowOffsets, dtype: "I64", shape: [rows] });
  return {
    name,
    specs,
    async produce(write) {
      await write(parts.shape, 0, asBytes(BigInt64Array.of(BigInt(rows), BigInt(cols))));
      const written = await writeRows(source, name, format, write);
      if (written !== kept) throw new ModelError(`${name}: changed while it was packed`);
    },
  };
}

/** Writes the parts but the shape. The entries kept. */
async function writeRows(
  source: TensorSource,
  name: string,
  format: PackFormat,
  write: WritePart,
): Promise<number> {
  const { dtype, shape: [, cols] } = source.info(name);
  const parts = partNames(stemOf(name)), rowBytes = bitmaskRowBytes(cols);
  let kept = 0; // in the rows before
  for await (const { firstRow, words } of readStrips(source, name)) {
    const bits = nonZeroBits(words, cols);
    if (format === "sparse-24") completeTwoFour(bits, cols);
    const counts = countRows(bits, rowBytes);
    const begin = kept;
    const offsets = BigInt64Array.from(counts, (count) => BigInt((kept += count) - count));
    const values = gather(words, cols, bits, kept - begin);
    await write(parts.compressed, begin * BYTES_PER_ELEMENT[dtype], asBytes(values));
    await write(parts.bitmask, firstRow * rowBytes, bits);
    if (format === "bitmask") {
      await write(parts.rowOffsets, firstRow * BYTES_PER_ELEMENT.I64, asBytes(offsets));
    }
  }
  return kept;
}
