/**
 * Declares `TensorSource`, the interface through which the network reads its weights. A checkpoint on the
 * disk implements it, and so does `withReplacements`, which combines a source with tensors in memory.
 */

import type { Dtype } from "../tensor/dtype.ts";
import { BYTES_PER_ELEMENT } from "../tensor/dtype.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import { tensorBytes } from "../tensor/shape.ts";

/** The dtype and the shape of a tensor. */
export interface TensorShape {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
}

/** Named tensors. Their bytes are read on demand. */
export interface TensorSource {
  has(name: string): boolean;
  /** @throws {ModelError} if there is no such tensor; the message names the most similar one */
  info(name: string): TensorShape;
  /**
   * Reads `byteLength` bytes of a tensor's little-endian data, starting at `byteOffset`. The caller owns the returned
   * array with its whole buffer, and may free it.
   *
   * @throws {ModelError} if there is no such tensor
   */
  read(name: string, byteOffset: number, byteLength: number): Promise<Uint8Array<ArrayBuffer>>;
}

/** Reads a whole tensor. @throws {ModelError} if there is no such tensor */
export async function readTensor(source: TensorSource, name: string): Promise<HostTensor> {
  const { dtype, shape } = source.info(name);
  return { dtype, shape, data: await source.read(name, 0, tensorBytes(dtype, shape)) };
}

/**
 * Reads `count` elements of a tensor, starting at element `first` in row-major order.
 *
 * @returns the elements in the dtype of the tensor
 * @throws {ModelError} if there is no such tensor
 */
export function readElements(
  source: TensorSource,
  name: string,
  first: number,
  count: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const size = BYTES_PER_ELEMENT[source.info(name).dtype];
  return source.read(name, first * size, count * size);
}

/**
 * Returns a source that reads the tensors in `replaced` from memory and all others from `source`. If a tensor
 * is added to `replaced` later, the source reads it from memory from then on.
 */
export function withReplacements(
  source: TensorSource,
  replaced: ReadonlyMap<string, HostTensor>,
): TensorSource {
  return {
    has: (name) => replaced.has(name) || source.has(name),
    info: (name) => replaced.get(name) ?? source.info(name),
    read: (name, byteOffset, byteLength) => {
      const tensor = replaced.get(name);
      if (!tensor) return source.read(name, byteOffset, byteLength);
      return Promise.resolve(tensor.data.slice(byteOffset, byteOffset + byteLength));
    },
  };
}
