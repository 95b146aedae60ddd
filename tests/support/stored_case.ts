/** The description of a small checkpoint with stored weights (`stored_cases.ts`), and its tensors of given or random values. */

import type { FloatDtype } from "../../src/tensor/dtype.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { uniform } from "../../scripts/fixtures/random.ts";

export interface StoredCase {
  readonly title: string;
  /** The content of config.json. */
  readonly config: {
    readonly quantization_config?: Readonly<Record<string, unknown>>;
    /** The description of MLX. */
    readonly quantization?: Readonly<Record<string, unknown>>;
    readonly dtype?: string;
  };
  readonly tensors: Readonly<Record<string, HostTensor>>;
  readonly weights: Readonly<Record<string, HostTensor>>;
}

/** Returns a tensor with these values, rounded to `dtype` from f32. */
export function tensorOf(dtype: FloatDtype, shape: readonly number[], values: readonly number[]): HostTensor {
  const data = dtype === "F32"
    ? new Float32Array(values)
    : dtype === "F16"
    ? Float16Array.from(new Float32Array(values))
    : Uint16Array.from(values, nearestBfloat16);
  return { dtype, shape, data: new Uint8Array(data.buffer) };
}

/** Returns the bits of the BF16 number next to a value in f32. Of two numbers that are equally near, it is the one with an even last bit. */
function nearestBfloat16(exact: number): number {
  const bits = new Uint32Array(1), float = new Float32Array(bits.buffer);
  float[0] = exact;
  const value = float[0], below = bits[0] >>> 16;
  const [low, high] = [below, below + 1].map((half) => {
    bits[0] = half << 16;
    return Math.abs(float[0] - value);
  });
  return low < high || low === high && below % 2 === 0 ? below : below + 1;
}

export function integers(
  data: Int8Array | Uint8Array | Int32Array | Uint32Array,
  shape: readonly number[],
  dtype: HostTensor["dtype"],
) {
  return { dtype, shape, data: new Uint8Array(data.buffer as ArrayBuffer) };
}

/** Returns the number of elements of a tensor. */
export const count = (shape: readonly number[]) => shape.reduce((product, extent) => product * extent, 1);

/** Returns random integers from 0 to `limit − 1`. */
export function randomIntegers(length: number, limit: number, seed: number): number[] {
  const next = uniform(seed);
  return Array.from({ length }, () => Math.floor(next() * limit));
}

/** Returns random scales with signs, as numbers of `dtype`, and the tensor with them. */
export function randomScales(
  dtype: FloatDtype,
  shape: readonly number[],
  seed: number,
): [number[], HostTensor] {
  const next = uniform(seed), values = Array.from({ length: count(shape) }, () => (next() - 0.3) / 64);
  const tensor = tensorOf(dtype, shape, values);
  if (dtype === "F32") return [[...new Float32Array(tensor.data.buffer)], tensor];
  if (dtype === "F16") return [[...new Float16Array(tensor.data.buffer)], tensor];
  const wide = Uint32Array.from(new Uint16Array(tensor.data.buffer), (half) => half << 16);
  return [[...new Float32Array(wide.buffer)], tensor];
}
