/** Checks that an answer is the requested layer, because a server may be another version, may be broken, or may lie. */

import type { LayerQuery } from "../../protocol/layer_query.ts";
import { DEFAULT_SPARSITY } from "../../protocol/limits.ts";
import { placeColumns } from "../../tensor/columns.ts";
import { parsePattern, type Pattern, prunedPerRow, removedColumns } from "../../tensor/pattern.ts";
import {
  BYTES_PER_ELEMENT,
  bytesToFloats,
  type Dtype,
  type FloatDtype,
  floatsToBytes,
  isFloatDtype,
} from "../../tensor/dtype.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import type { LayerTensors, PrunedLayer } from "../layer_file.ts";
import { checkError } from "./check_error.ts";
import { checkQuantized } from "./check_quantized.ts";
import { errorForms } from "./error_forms.ts";
import { malformedLayer, requireForm } from "./parse_answer.ts";

export interface RequestedLayer {
  readonly query: LayerQuery;
  /** The tensors of the request. If they are unknown, the shape is taken from the report of the answer. */
  readonly tensors?: LayerTensors;
  /**
   * Whether the host has the calibration inputs. The inputs of the request are then random combinations of them (`PROBE`), and the host may
   * have validation statistics and targets too. @default false
   */
  readonly isCalibratedByHost?: boolean;
  /** Whether zeros may be added, because the weight was trained with its zeros before the last solve. @default false */
  readonly mayPruneMore?: boolean;
}

/** Returns how many of `kept` weights may be 0 without rounding. An update cancels a normal number with a probability of about 10⁻⁸. */
export function mostKeptZeros(kept: number): number {
  return Math.floor(kept / 65536);
}

/**
 * Checks an answer: its shapes and dtypes, that every number is finite, and that the mask, the report and the query
 * agree about the pruned entries. If the request has statistics, the error of the weight must be as reported. Whether another
 * choice of zeros or values would have a smaller error is not checked, because the layer would have to be solved again.
 * @throws {MalformedAnswerError} naming the first difference
 */
export function checkPruned(layer: PrunedLayer, requested: RequestedLayer): void {
  const { query, tensors, isCalibratedByHost, mayPruneMore = tensors?.mask !== undefined } = requested;
  const { mask, report } = layer;
  const [rows, cols] = tensors?.weight.shape ?? [report.rows, report.cols];
  const { bits } = query;
  const parsed = parsePattern(query.pattern ?? "unstructured", query.column_group);
  const weight = parsed.kind === "columns" ? placeKept(layer, rows, cols, parsed) : layer.weight;
  requireForm("weight", weight, wantedDtype(query, tensors?.weight.dtype ?? weight.dtype), [rows, cols]);
  requireForm("mask", mask, "U8", [rows, Math.ceil(cols / 8)]);
  if (layer.kept && parsed.kind !== "columns") {
    throw malformedLayer("it has lost columns, but the query asks for none");
  }
  if (!isFloatDtype(weight.dtype)) throw malformedLayer(`the weight is ${weight.dtype}`);
  if (report.rows !== rows || report.cols !== cols) {
    throw malformedLayer(
      `its report is that of a layer [${report.rows},${report.cols}] instead of [${rows},${cols}]`,
    );
  }
  const before = tensors && elements(tensors.weight, weight.dtype);
  const hasNearestRows = mayHaveNearestRows(layer, requested);
  const original = hasNearestRows ? before : undefined;
  const counts = countEntries({ ...layer, weight }, {
    rows,
    cols,
    before,
    original,
    forced: tensors?.mask,
    pattern: parsed,
  });
  if (counts.pruned !== report.zeros) {
    throw malformedLayer(`its mask prunes ${counts.pruned} weights, but its report says ${report.zeros}`);
  }
  const isMaskOnly = tensors?.mask && query.sparsity === undefined && parsed.kind === "unstructured";
  const wanted = isMaskOnly ? countZerosOf(tensors.mask, rows, cols) : countWanted(query, rows, cols);
  const isEnough = counts.pruned > wanted - 1, isExact = !mayPruneMore || isMaskOnly;
  if (!isEnough || isExact && counts.pruned >= wanted + 1) {
    throw malformedLayer(
      `its mask prunes ${counts.pruned} weights, but the query asks for ${Math.round(wanted)}`,
    );
  }
  const isDead = deadInputs(tensors, cols);
  if (counts.hasOnlyZeros && counts.zeros.some((count, col) => count > 0 && !isDead(col))) {
    throw malformedLayer("every weight is 0, although its mask keeps some");
  }
  // A target moves the weights before they are pruned, so a row with nearest weights has other weights than before.
  const areRowsUnknown = hasNearestRows && (isCalibratedByHost || tensors?.target !== undefined);
  if (
    bits === undefined && !areRowsUnknown && counts.scatteredZeros > mostKeptZeros(counts.kept)
  ) {
    throw malformedLayer(`${counts.scatteredZeros} weights are 0, although its mask keeps them`);
  }
  checkQuantized(layer, query);
  const options = { tokenWeights: query.token_weights, areSampled: isCalibratedByHost };
  const forms = tensors && errorForms(tensors, cols, options);
  if (forms) checkError(tensors.weight, weight, report, forms);
}

/**
 * Returns the weight of an answer with its removed columns, which are 0.
 * @throws {MalformedAnswerError} if the columns are not whole sets, differ from the mask, or are more or fewer than the weight has
 */
function placeKept(
  { weight, kept, mask }: PrunedLayer,
  rows: number,
  cols: number,
  { group }: Pattern & { kind: "columns" },
): HostTensor {
  if (!kept) throw malformedLayer('the tensor "kept" is missing');
  const isKept = Array.from({ length: cols }, (_, col) => maskReader(mask, cols)(0, col));
  const columns = Array.from({ length: cols }, (_, col) => col).filter((col) => isKept[col]);
  requireForm("kept", kept, "U32", [columns.length]);
  requireForm("weight", weight, weight.dtype, [rows, columns.length]);
  const said = new Uint32Array(kept.data.slice().buffer);
  if (columns.some((col, i) => col !== said[i])) {
    throw malformedLayer("the mask keeps other columns than kept");
  }
  if (isKept.some((keeps, col) => keeps !== isKept[col - col % group])) {
    throw malformedLayer(`the mask divides a set of ${group} columns`);
  }
  const rowBytes = Math.ceil(cols / 8);
  if (mask.data.some((byte, i) => byte !== mask.data[i % rowBytes])) {
    throw malformedLayer("the mask keeps other columns in other rows");
  }
  return placeColumns(weight, columns, cols);
}

function countZerosOf(mask: HostTensor, rows: number, cols: number): number {
  const keeps = maskReader(mask, cols);
  let zeros = 0;
  for (let row = 0; row < rows; row++) for (let col = 0; col < cols; col++) if (!keeps(row, col)) zeros++;
  return zeros;
}

/** Returns the number of weights of a layer that a query prunes. Without a pattern, it may have a fraction. */
export function countWanted(
  { pattern = "unstructured", column_group, sparsity = DEFAULT_SPARSITY }: LayerQuery,
  rows: number,
  cols: number,
): number {
  const parsed = parsePattern(pattern, column_group);
  if (parsed.kind === "n:m") return rows * prunedPerRow(parsed, cols);
  return parsed.kind === "columns" ? rows * removedColumns(parsed, sparsity, cols) : sparsity * rows * cols;
}

export function wantedDtype({ dtype = "same" }: LayerQuery, before: Dtype): Dtype {
  return dtype === "same" ? before : dtype;
}

interface EntryCounts {
  /** The number of entries that the mask prunes. */
  readonly pruned: number;
  /** The number of kept entries that were normal numbers before. 0 if the weight before is unknown. */
  readonly kept: number;
  /** The number of those entries that are 0 now, by column. */
  readonly zeros: Uint32Array;
  /** The number of those zeros outside of zero columns. A method sets a column to zero if its input was always 0. */
  readonly scatteredZeros: number;
  /** Whether the whole weight is 0. */
  readonly hasOnlyZeros: boolean;
}

/** The shape of a layer, and everything in its request that limits which entries are 0. */
interface EntryRules {
  readonly rows: number;
  readonly cols: number;
  /** The elements of the weight before pruning, in the dtype of the answer. */
  readonly before: Uint16Array | Uint32Array | undefined;
  /** `before`, if some rows have their original weights by the report. They may have values in zero columns. */
  readonly original: Uint16Array | Uint32Array | undefined;
  /** The mask of the request, whose zeros must be pruned. */
  readonly forced: HostTensor | undefined;
  readonly pattern: Pattern;
}

/**
 * Checks each entry of the weight, and counts them.
 * @throws {MalformedAnswerError} if an entry is not finite, a pruned one is not 0, or the mask breaks a rule
 */
function countEntries({ weight, mask }: PrunedLayer, rules: EntryRules): EntryCounts {
  const { rows, cols, before, original, forced, pattern } = rules;
  const dtype = weight.dtype as FloatDtype, words = elements(weight, dtype);
  // A shift drops the sign bit, which is the highest. All bits of the exponent are 1 in a NaN or an infinity.
  const shift = dtype === "F32" ? 1 : 17, exponent = EXPONENT_BITS[dtype];
  const rowBytes = Math.ceil(cols / 8), keepsForced = maskReader(forced, cols);
  const hasValue = new Uint8Array(cols), zeros = new Uint32Array(cols);
  const [keep, group] = pattern.kind === "n:m" ? [pattern.keep, pattern.group] : [cols, cols];
  let pruned = 0, kept = 0, hasOnlyZeros = true;
  for (let row = 0, i = 0; row < rows; row++) {
    const isOriginal = original !== undefined && hasOriginalValues(words, original, i, i + cols, shift);
    for (let col = 0, keptInGroup = 0; col < cols; col++, i++) {
      const word = words[i], isZero = word << shift === 0;
      if ((word & exponent) === exponent) throw malformedLayer(`weight [${row},${col}] is not finite`);
      hasOnlyZeros &&= isZero;
      if (!isZero && !isOriginal) hasValue[col] = 1;
      if (col % group === 0) keptInGroup = 0;
      if ((mask.data[row * rowBytes + (col >> 3)] >> (col & 7) & 1) === 0) {
        if (!isZero) throw malformedLayer(`weight [${row},${col}] is not 0, although its mask prunes it`);
        pruned++;
        continue;
      }
      if (++keptInGroup > keep || !keepsForced(row, col)) {
        const rule = keptInGroup > keep ? "pattern" : "mask of the request";
        throw malformedLayer(`its mask keeps weight [${row},${col}] against the ${rule}`);
      }
      if (!before || (before[i] & exponent) === 0) continue;
      kept++;
      if (isZero) zeros[col]++;
    }
  }
  const scatteredZeros = zeros.reduce((total, count, col) => total + count * hasValue[col], 0);
  return { pruned, kept, zeros, scatteredZeros, hasOnlyZeros };
}

/** Whether all words of a row that are not zero are equal to the original weights. */
function hasOriginalValues(
  words: Uint16Array | Uint32Array,
  original: Uint16Array | Uint32Array,
  start: number,
  end: number,
  shift: number,
): boolean {
  for (let i = start; i < end; i++) if (words[i] << shift !== 0 && words[i] !== original[i]) return false;
  return true;
}

/** Whether some rows have their original weights by the report, which is possible only with validation statistics. */
function mayHaveNearestRows(
  { report }: PrunedLayer,
  { query, tensors, isCalibratedByHost }: RequestedLayer,
): boolean {
  const isValidated = isCalibratedByHost || tensors?.validation_hessian !== undefined ||
    tensors?.validation_hessian_upper !== undefined;
  return (isValidated || query.hessian !== undefined) && (report.nearest_rows ?? 0) > 0;
}

const EXPONENT_BITS: Readonly<Record<FloatDtype, number>> = { F32: 0x7f800000, F16: 0x7c00, BF16: 0x7f80 };

/** Returns the bits of the elements of `tensor` in `dtype`. */
function elements({ dtype, data }: HostTensor, target: FloatDtype): Uint16Array | Uint32Array {
  const bytes = dtype === target || !isFloatDtype(dtype)
    ? data
    : floatsToBytes(bytesToFloats(data, dtype), target);
  const width = BYTES_PER_ELEMENT[target], aligned = bytes.byteOffset % width === 0 ? bytes : bytes.slice();
  const length = Math.floor(aligned.byteLength / width);
  return width === 4
    ? new Uint32Array(aligned.buffer, aligned.byteOffset, length)
    : new Uint16Array(aligned.buffer, aligned.byteOffset, length);
}

/** Returns a function that says whether the mask of a request keeps an entry. Without a mask it keeps all. */
function maskReader(mask: HostTensor | undefined, cols: number): (row: number, col: number) => boolean {
  if (!mask) return () => true;
  const { dtype, data } = mask, rowBytes = Math.ceil(cols / 8);
  if (dtype === "BOOL") return (row, col) => data[row * cols + col] !== 0;
  return (row, col) => (data[row * rowBytes + (col >> 3)] >> (col & 7) & 1) === 1;
}

/** Returns a function that says whether an input was always 0, so that a method may set all its weights to 0. */
function deadInputs(tensors: LayerTensors | undefined, cols: number): (col: number) => boolean {
  const { hessian, hessian_upper: upper, inputs } = tensors ?? {};
  if (hessian) return (col) => isZeroElement(hessian, col * (cols + 1));
  if (upper) return (col) => isZeroElement(upper, col * cols - col * (col - 1) / 2);
  if (!inputs) return () => false;
  return (col) =>
    Array.from({ length: inputs.shape[0] }, (_, row) => row).every((row) =>
      isZeroElement(inputs, row * cols + col)
    );
}

function isZeroElement({ dtype, data }: HostTensor, index: number): boolean {
  const width = BYTES_PER_ELEMENT[dtype];
  return data.subarray(width * index, width * (index + 1)).every((byte) => byte === 0);
}
