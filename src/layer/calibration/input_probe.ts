/**
 * Random combinations of the inputs of a layer, by which a client without the statistics H can estimate errors of the layer. With random
 * signs R, (tokens, k), and the inputs X, (tokens, n), they are P = Rᵀ·X/√k. The expectation of Pᵀ·P is H = Xᵀ·X, so that ‖M·Pᵀ‖² estimates
 * tr(M·H·Mᵀ) for every matrix M (Hutchinson).
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { createBufferOf } from "../../device/host_memory.ts";
import { productTN } from "../../device/kernels/product.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";

/** P, (k, n) f32, in device memory, where k is at most 32. The signs depend only on the order of the tokens. */
export class InputProbe {
  readonly #sums: DeviceBuffer;
  #tokens = 0;

  /**
   * Allocates P, which is 0 until something is added.
   * @param label the name of the device buffer in error messages
   * @throws {OutOfDeviceMemoryError} if the device does not have enough memory
   */
  constructor(
    private readonly backend: Backend,
    label: string,
    private readonly rows: number,
    private readonly size: number,
  ) {
    this.#sums = backend.createBuffer(`probe of ${label}`, 4 * rows * size);
    this.clear();
  }

  /** Queues P = 0. */
  clear(): void {
    this.backend.clear(this.#sums);
  }

  /** Queues P = Rᵀ/√k, as for H = I. */
  setIdentity(): void {
    const { rows, size } = this, identity = signs(0, size, rows), values = new Float32Array(identity.length);
    for (let i = 0; i < values.length; i++) {
      values[(i % rows) * size + Math.floor(i / rows)] = identity[i] / Math.sqrt(rows);
    }
    const probe = createBufferOf(this.backend, "probe of the identity", values);
    this.backend.copy(probe, 0, this.#sums, 0, this.#sums.byteLength);
    probe.destroy();
  }

  /** Queues P += Rᵀ·X/√k for `rows` inputs of X, (rows, n) f32, of which the first element is at `offset`. */
  add(x: DeviceBuffer, offset: number, rows: number): void {
    const { rows: m, size: n } = this;
    const random = createBufferOf(this.backend, "signs of a probe", signs(this.#tokens, rows, m));
    const offsets = { a_offset: 0, lda: m, b_offset: offset, ldb: n, c_offset: 0, ldc: n };
    this.backend.dispatch(productTN, { a: random, b: x, c: this.#sums }, {
      ...{ m, n, k: rows, alpha: 1 / Math.sqrt(m), beta: 1, upper: 0 },
      ...offsets,
    });
    random.destroy();
    this.#tokens += rows;
  }

  /** Waits for the queued work and reads P back: F32 [k, n]. @throws {DeviceLostError} */
  async read(): Promise<HostTensor> {
    const data = await this.backend.read(this.#sums, 0, this.#sums.byteLength);
    return { dtype: "F32", shape: [this.rows, this.size], data };
  }

  destroy(): void {
    this.#sums.destroy();
  }
}

/** Returns the signs of the tokens from `first`, (count, k). The signs of a token are the bits of a hash of its number. */
function signs(first: number, count: number, k: number): Float32Array<ArrayBuffer> {
  const values = new Float32Array(count * k);
  for (let token = 0, i = 0; token < count; token++) {
    // The finaliser of MurmurHash3.
    let hash = Math.imul(first + token + 1, 0x9e3779b1);
    hash = Math.imul(hash ^ hash >>> 16, 0x85ebca6b);
    hash = Math.imul(hash ^ hash >>> 13, 0xc2b2ae35);
    hash ^= hash >>> 16;
    for (let bit = 0; bit < k; bit++) values[i++] = (hash >>> bit & 1) * 2 - 1;
  }
  return values;
}
