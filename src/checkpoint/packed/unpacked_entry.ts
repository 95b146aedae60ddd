/**
 * Writes a packed weight as a dense weight, in strips, which are ranges of whole rows. The bits of the mask
 * are checked against the row offsets, the number of stored entries and the 2:4 pattern. If they disagree, an
 * error names the faulty part of the packed weight.
 */

import { ModelError } from "../../files/model_error.ts";
import type { TensorSource } from "../tensor_source.ts";
import { BYTES_PER_ELEMENT } from "../../tensor/dtype.ts";
import { asBytes, asWords, bitmaskRowBytes, countRows, unpackValues } from "./bitmask.ts";
import type { PackedParts } from "./packed_parts.ts";
import type { ShardEntry, WritePart } from "./rewrite_shards.ts";
import { type RowRange, rowRanges } from "./row_strips.ts";

/** Returns the entry that unpacks a weight of `source`. Its `writeTo` throws a `ModelError` if the bits are inconsistent. */
export function unpackedEntry(source: TensorSource, parts: PackedParts): ShardEntry {
  const { weight, dtype, rows, cols, valueCount, names } = parts;
  return {
    name: weight,
    specs: [{ name: weight, dtype, shape: [rows, cols] }],
    async writeTo(write) {
      let position = 0; // the number of stored entries in all earlier rows
      for (const range of rowRanges(rows, cols, BYTES_PER_ELEMENT[dtype])) {
        position = await writeRows(source, parts, range, position, write);
      }
      if (position !== valueCount) {
        throw new ModelError(
          `${names.compressed}: holds ${valueCount} entries, but ${names.bitmask} has ${position} bits set`,
        );
      }
    },
  };
}

/**
 * Writes the rows of `range`.
 *
 * @param position the number of stored entries before these rows
 * @returns the number of stored entries up to and including these rows
 */
async function writeRows(
  source: TensorSource,
  parts: PackedParts,
  { firstRow, rows }: RowRange,
  position: number,
  write: WritePart,
): Promise<number> {
  const { weight, dtype, cols, valueCount, names: { compressed, bitmask } } = parts;
  const size = BYTES_PER_ELEMENT[dtype], rowBytes = bitmaskRowBytes(cols);
  const bits = await source.read(bitmask, firstRow * rowBytes, rows * rowBytes);
  checkPadding(bits, parts, firstRow);
  const counts = countRows(bits, rowBytes);
  if (parts.format === "bitmask") await checkOffsets(source, parts, firstRow, counts, position);
  else checkTwoFour(bits, parts, firstRow);
  const count = counts.reduce((sum, inRow) => sum + inRow, 0);
  if (position + count > valueCount) {
    throw new ModelError(`${compressed}: holds ${valueCount} entries, fewer than ${bitmask} has bits set`);
  }
  const values = asWords(await source.read(compressed, position * size, count * size), size);
  await write(weight, firstRow * cols * size, asBytes(unpackValues(values, cols, bits)));
  return position + count;
}

function checkPadding(bits: Uint8Array, { names: { bitmask }, cols }: PackedParts, firstRow: number): void {
  const rowBytes = bitmaskRowBytes(cols);
  if (cols % 8 === 0) return;
  for (let at = rowBytes - 1; at < bits.length; at += rowBytes) {
    if (bits[at] >>> cols % 8 === 0) continue;
    const row = firstRow + Math.floor(at / rowBytes);
    throw new ModelError(`${bitmask}: row ${row} has a bit set past its ${cols} columns`);
  }
}

/**
 * Checks that the offset of each row is the number of bits set in all earlier rows. `position` is this number
 * for the first row of the strip.
 */
async function checkOffsets(
  source: TensorSource,
  { names: { rowOffsets } }: PackedParts,
  firstRow: number,
  counts: readonly number[],
  position: number,
): Promise<void> {
  const size = BYTES_PER_ELEMENT.I64;
  const bytes = await source.read(rowOffsets, firstRow * size, counts.length * size);
  const offsets = new BigInt64Array(bytes.slice().buffer);
  for (const [row, count] of counts.entries()) {
    if (offsets[row] !== BigInt(position)) {
      throw new ModelError(
        `${rowOffsets}: row ${firstRow + row} must begin at entry ${position} by the bitmask, not ${
          offsets[row]
        }`,
      );
    }
    position += count;
  }
}

/** Checks that every group of four columns has exactly two bits set. */
function checkTwoFour(bits: Uint8Array, { names: { bitmask }, cols }: PackedParts, firstRow: number): void {
  const rowBytes = bitmaskRowBytes(cols);
  for (const [at, byte] of bits.entries()) {
    const nibbles = cols % 8 !== 0 && at % rowBytes === rowBytes - 1 ? [byte & 15] : [byte & 15, byte >>> 4];
    const wrong = nibbles.findIndex((nibble) => !TWO_OF_FOUR.has(nibble));
    if (wrong === -1) continue;
    const row = firstRow + Math.floor(at / rowBytes), col = at % rowBytes * 8 + wrong * 4;
    throw new ModelError(`${bitmask}: row ${row} must keep two of columns ${col} to ${col + 3}`);
  }
}

const TWO_OF_FOUR = new Set([0b0011, 0b0101, 0b0110, 0b1001, 0b1010, 0b1100]);
