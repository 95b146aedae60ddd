/** Presents some weights of a checkpoint in F32, so that their results are stored in F32 too. */

import { BYTES_PER_ELEMENT, bytesToFloats, floatsToBytes, isFloatDtype } from "../../tensor/dtype.ts";
import type { TensorSource } from "./tensor_source.ts";

/** @param names the tensors to present in F32, which must have a float dtype */
export function widenedSource(source: TensorSource, names: ReadonlySet<string>): TensorSource {
  return {
    has: (name) => source.has(name),
    info(name) {
      const info = source.info(name);
      return names.has(name) ? { dtype: "F32", shape: info.shape } : info;
    },
    async read(name, byteOffset, byteLength) {
      const { dtype } = source.info(name);
      if (!names.has(name) || !isFloatDtype(dtype)) return await source.read(name, byteOffset, byteLength);
      const share = BYTES_PER_ELEMENT[dtype] / BYTES_PER_ELEMENT.F32;
      const stored = await source.read(name, byteOffset * share, byteLength * share);
      return floatsToBytes(bytesToFloats(stored, dtype), "F32");
    },
  };
}
