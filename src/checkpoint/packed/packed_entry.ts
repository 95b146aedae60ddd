/**
 * Writes a dense weight as the parts of a packed weight, which are the tensors that `format.ts` lists. The
 * weight is read and written in strips, which are ranges of whole rows.
 */

import { ModelError } from "../../files/model_error.ts";
import type { TensorSource } from "../tensor_source.ts";
import type { TensorSpec } from "../../safetensors/encode.ts";
import { BYTES_PER_ELEMENT } from "../../tensor/dtype.ts";
import { asBytes, bitmaskRowBytes, countRows, nonZeroBits, packValues } from "./bitmask.ts";
import { type PackFormat, partNames, stemOf } from "./format.ts";
import type { ShardEntry, WritePart } from "./rewrite_shards.ts";
import { readStrips } from "./row_strips.ts";
import type { PackableWeight } from "./find_packable_weights.ts";
import { completeTwoFour } from "./complete_two_four.ts";

/**
 * Returns the parts of the packed weight `name` of `source`: their names, dtypes and shapes, and a function
 * that writes them. `findPackableWeights` has counted the elements that are not 0.
 */
export function packedEntry(
  source: TensorSource,
  { name, nonZeros }: PackableWeight,
  format: PackFormat,
): ShardEntry {
  const info = source.info(name), [rows, cols] = info.shape;
  const parts = partNames(stemOf(name)), specs = packedSpecs({ ...info, name }, nonZeros, format);
  const valueCount = specs[0].shape.reduce((product, size) => product * size);
  return {
    name,
    specs,
    async writeTo(write) {
      await write(parts.shape, 0, asBytes(BigInt64Array.of(BigInt(rows), BigInt(cols))));
      const written = await writeRows(source, name, format, write);
      if (written !== valueCount) throw new ModelError(`${name}: changed while it was packed`);
    },
  };
}

/** Returns the names, dtypes and shapes of the parts of a weight, the stored elements first. @param nonZeros the elements that are not 0 */
export function packedSpecs(
  { name, dtype, shape: [rows, cols] }: TensorSpec,
  nonZeros: number,
  format: PackFormat,
): TensorSpec[] {
  const isTwoFour = format === "sparse-24", parts = partNames(stemOf(name));
  const specs: TensorSpec[] = [
    { name: parts.compressed, dtype, shape: isTwoFour ? [rows, cols / 2] : [nonZeros] },
    { name: parts.bitmask, dtype: "U8", shape: [rows, bitmaskRowBytes(cols)] },
    { name: parts.shape, dtype: "I64", shape: isTwoFour ? [2, 1] : [2] },
  ];
  if (!isTwoFour) specs.push({ name: parts.rowOffsets, dtype: "I64", shape: [rows] });
  return specs;
}

/** Writes all parts except the shape. @returns the number of stored entries */
async function writeRows(
  source: TensorSource,
  name: string,
  format: PackFormat,
  write: WritePart,
): Promise<number> {
  const { dtype, shape: [, cols] } = source.info(name);
  const parts = partNames(stemOf(name)), rowBytes = bitmaskRowBytes(cols);
  let valueCount = 0; // the number of stored entries in all rows so far
  for await (const { firstRow, words } of readStrips(source, name)) {
    const bits = nonZeroBits(words, cols);
    if (format === "sparse-24") completeTwoFour(bits, cols);
    const counts = countRows(bits, rowBytes);
    const begin = valueCount;
    const offsets = BigInt64Array.from(counts, (count) => BigInt((valueCount += count) - count));
    const values = packValues(words, cols, bits, valueCount - begin);
    await write(parts.compressed, begin * BYTES_PER_ELEMENT[dtype], asBytes(values));
    await write(parts.bitmask, firstRow * rowBytes, bits);
    if (format === "bitmask") {
      await write(parts.rowOffsets, firstRow * BYTES_PER_ELEMENT.I64, asBytes(offsets));
    }
  }
  return valueCount;
}
