/**
 * Finds the tensors of a quantised weight by their names, and checks that their dtypes and shapes agree with the shape that the
 * tensor `weight_shape` contains.
 */

import { ModelError } from "../../files/model_error.ts";
import { isFloatDtype } from "../../tensor/dtype.ts";
import { sameShape } from "../../tensor/shape.ts";
import type { Checkpoint } from "../checkpoint.ts";
import type { CodeKind } from "./config.ts";
import { readStoredShape } from "../packed/packed_parts.ts";
import {
  QUANTIZED_SUFFIXES,
  quantizedNames,
  type QuantizedShape,
  quantizedSpecs,
  wordCount,
} from "./layout.ts";

/** A quantised weight whose tensors have been checked. */
export interface QuantizedParts extends QuantizedShape {
  /** The name of the dense weight. */
  readonly weight: string;
  /** The names of the tensors that store the weight. */
  readonly names: ReturnType<typeof quantizedNames>;
}

/** Suffixes of tensors that change the meaning of the codes. Other versions of the library write such tensors. */
const UNSUPPORTED_SUFFIXES = [".weight_g_idx", ".weight_global_scale"];

/**
 * Returns the stem of a tensor's name, which is the name of its weight without `.weight`. Returns undefined if the name does not
 * end with a suffix of the layout.
 */
export function stemOfQuantizedPart(name: string): string | undefined {
  const suffix = Object.values(QUANTIZED_SUFFIXES).find((ending) => name.endsWith(ending));
  return suffix && name.slice(0, -suffix.length);
}

/**
 * Reads the shape, the dtype and the grid of a quantised weight from its tensors, and checks them.
 *
 * @param stem the name of the weight without `.weight`
 * @param kinds the kinds of codes that config.json lists
 * @throws {ModelError} if a tensor is missing, or if its dtype or shape is wrong
 */
export async function readQuantizedParts(
  checkpoint: Checkpoint,
  stem: string,
  kinds: readonly CodeKind[],
): Promise<QuantizedParts> {
  const { folder } = checkpoint, names = quantizedNames(stem), weight = `${stem}.weight`;
  if (checkpoint.has(weight)) throw new ModelError(`${folder}: holds ${weight} both dense and quantised`);
  const unsupported = UNSUPPORTED_SUFFIXES.find((suffix) => checkpoint.has(stem + suffix));
  if (unsupported) throw new ModelError(`${folder}: ${stem}${unsupported} is not supported`);
  const [rows, cols] = await readStoredShape(checkpoint, names.shape);
  const packed = checkpoint.info(names.packed), { dtype, shape: scaleShape } = checkpoint.info(names.scale);
  if (!isFloatDtype(dtype)) {
    throw new ModelError(`${folder}: ${names.scale} must be F32, F16 or BF16, not ${dtype}`);
  }
  const symmetric = !checkpoint.has(names.zeroPoint);
  const fitting = new Set(
    kinds.filter((kind) => kind.symmetric === symmetric).map((kind) => kind.bits)
      .filter((bits) => sameShape(packed.shape, [rows, wordCount(cols, bits)])),
  );
  if (fitting.size !== 1) {
    throw new ModelError(
      `${folder}: ${names.packed} [${packed.shape}] of a weight [${rows}, ${cols}] ` +
        `${
          symmetric ? "without" : "with"
        } a zero point must fit exactly one kind of codes in config.json, which has ` +
        kinds.map((kind) => `${kind.bits} bits ${kind.symmetric ? "symmetric" : "asymmetric"}`).join(", "),
    );
  }
  const [bits] = fitting;
  const groups = scaleShape[1] ?? 0, groupSize = groups === 1 ? 0 : cols / groups;
  if (!Number.isInteger(groupSize)) {
    throw new ModelError(
      `${folder}: ${names.scale} [${scaleShape}] must have a number of columns that divides ${cols}`,
    );
  }
  const parts = { weight, names, rows, cols, dtype, bits, groupSize, symmetric };
  for (const spec of quantizedSpecs(stem, parts)) {
    const info = checkpoint.info(spec.name);
    if (info.dtype === spec.dtype && sameShape(info.shape, spec.shape)) continue;
    if (spec.name === names.shape) continue; // `readStoredShape` has checked it
    throw new ModelError(
      `${folder}: ${spec.name} must be ${spec.dtype} [${spec.shape}], not ${info.dtype} [${info.shape}]`,
    );
  }
  return parts;
}
