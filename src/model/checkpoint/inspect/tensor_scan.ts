/**
 * Counts the zeros and the non-finite values of a tensor, and the groups that break an n:m pattern. The bytes
 * of the tensor may arrive in chunks of any whole number of elements.
 */

import type { Dtype } from "../../../tensor/dtype.ts";
import type { Pattern } from "../../../tensor/pattern.ts";

/** The pattern n:m: at most `keep` of every `group` consecutive inputs. */
export type GroupPattern = Pattern & { readonly kind: "n:m" };

/** The pattern of a matrix, and the axis along which its inputs lie. */
export interface ScanPattern {
  readonly pattern: GroupPattern;
  /** 1 for a weight (out, in). 0 for a weight that is stored transposed, (in, out). */
  readonly inputAxis: 0 | 1;
}

/** The findings of a scan. A position belongs to the first finding of its kind, and is null if there is none. */
export interface ScanResult {
  /** The number of entries that are +0 or −0. */
  readonly zeros: number;
  /** The number of entries that are NaN or infinite. */
  readonly nonFinite: number;
  /** The position of the first of them in row-major order. */
  readonly firstNonFinite: number | null;
  /** The number of groups that keep too many entries. Null if no pattern was checked. */
  readonly violations: number | null;
  /** The output and the first input of the first such group. */
  readonly firstViolation: readonly [output: number, input: number] | null;
}

/** The bits of a number without its sign, and the bits of its exponent, which are all 1 if it is not finite. */
const MASKS = {
  F16: { magnitude: 0x7fff, exponent: 0x7c00 },
  BF16: { magnitude: 0x7fff, exponent: 0x7f80 },
  F32: { magnitude: 0x7fffffff, exponent: 0x7f800000 },
} as const;

/** The dtypes that can be scanned. F64 is scanned as F32 after a conversion that keeps zeros and non-finite values. */
export type ScannableDtype = keyof typeof MASKS | "F64";

/** Whether tensors of this dtype can be scanned. `openDense` refuses other dtypes of weights. */
export function isScannable(dtype: Dtype): dtype is ScannableDtype {
  return dtype === "F64" || Object.hasOwn(MASKS, dtype);
}

export class TensorScan {
  readonly #dtype: ScannableDtype;
  readonly #groups: GroupCounter | undefined;
  #position = 0;
  #zeros = 0;
  #nonFinite = 0;
  #firstNonFinite: number | null = null;

  /** @param wanted the pattern to check. The tensor must then be a matrix */
  constructor(dtype: ScannableDtype, shape: readonly number[], wanted?: ScanPattern) {
    this.#dtype = dtype;
    this.#groups = wanted && new GroupCounter(shape, wanted);
  }

  /** Scans the next entries, which are little-endian. */
  add(bytes: Uint8Array): void {
    const words = toWords(bytes, this.#dtype), groups = this.#groups;
    const { magnitude, exponent } = MASKS[this.#dtype === "F64" ? "F32" : this.#dtype];
    let zeros = 0;
    for (let i = 0; i < words.length; i++) {
      const value = words[i] & magnitude;
      if (value === 0) zeros++;
      else if ((value & exponent) === exponent) {
        this.#nonFinite++;
        this.#firstNonFinite ??= this.#position + i;
      }
    }
    if (groups) { for (let i = 0; i < words.length; i++) groups.add((words[i] & magnitude) !== 0); }
    this.#zeros += zeros;
    this.#position += words.length;
  }

  /** The findings. They are complete when all entries were added. */
  get result(): ScanResult {
    return {
      zeros: this.#zeros,
      nonFinite: this.#nonFinite,
      firstNonFinite: this.#firstNonFinite,
      violations: this.#groups?.violations ?? null,
      firstViolation: this.#groups?.firstViolation ?? null,
    };
  }
}

/** Counts the entries that each group keeps. Entries arrive in row-major order. */
class GroupCounter {
  violations = 0;
  firstViolation: readonly [number, number] | null = null;
  readonly #pattern: GroupPattern;
  readonly #isTransposed: boolean;
  readonly #inputs: number;
  readonly #outputs: number;
  /** The kept entries of the open group of each output. Only one group is open unless the matrix is transposed. */
  readonly #kept: Uint8Array;
  #output = 0;
  #input = 0;

  constructor([rows, cols]: readonly number[], { pattern, inputAxis }: ScanPattern) {
    this.#pattern = pattern;
    this.#isTransposed = inputAxis === 0;
    this.#inputs = this.#isTransposed ? rows : cols;
    this.#outputs = this.#isTransposed ? cols : rows;
    this.#kept = new Uint8Array(this.#isTransposed ? cols : 1);
  }

  add(isKept: boolean): void {
    const slot = this.#isTransposed ? this.#output : 0, next = this.#input + 1, { group } = this.#pattern;
    if (isKept) this.#kept[slot]++;
    if (next % group === 0 || next === this.#inputs) this.#close(slot, next);
    if (this.#isTransposed) {
      if (++this.#output < this.#outputs) return;
      this.#output = 0;
      this.#input = next;
    } else {
      this.#input = next % this.#inputs;
      if (this.#input === 0) this.#output++;
    }
  }

  /** Checks the group that ends before the input `end`. An incomplete group of g entries may keep ⌈n·g/m⌉. */
  #close(slot: number, end: number): void {
    const { keep, group } = this.#pattern, size = (end - 1) % group + 1;
    if (this.#kept[slot] > Math.ceil(keep * size / group)) {
      this.violations++;
      this.firstViolation ??= [this.#output, end - size];
    }
    this.#kept[slot] = 0;
  }
}

/** Views entries as words. The bytes are copied only if they are not aligned. */
function toWords(bytes: Uint8Array, dtype: ScannableDtype): Uint16Array | Uint32Array {
  const size = dtype === "F64" ? 8 : dtype === "F32" ? 4 : 2;
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  if (dtype === "F64") {
    const values = new Float64Array(buffer, byteOffset, byteLength / size);
    return Uint32Array.from(values, (value) => value === 0 ? 0 : Number.isFinite(value) ? 1 : 0x7f800000);
  }
  const count = byteLength / size;
  return size === 2 ? new Uint16Array(buffer, byteOffset, count) : new Uint32Array(buffer, byteOffset, count);
}
