/**
 * Random combinations of the inputs of a layer, by which a client without the statistics H can estimate errors of the layer. With random
 * signs R, (tokens, k), and the inputs X, (tokens, n), they are P = Rᵀ·X/√k. The expectation of Pᵀ·P is H = Xᵀ·X, so that ‖M·Pᵀ‖² estimates
 * tr(M·H·Mᵀ) for every matrix M (Hutchinson). To compute k products per element of X would take a large share of the time of H. Each input
 * is therefore first added to one of `SUMS` sums, with a random sign (a count sketch), and P is the combination of the sums. Their expectation
 * is the same, and the variance grows by the share k/SUMS at most.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { createBufferOf } from "../../device/host_memory.ts";
import { addRows } from "../../device/kernels/forward/rows.ts";
import { productTN } from "../../device/kernels/product.ts";
import { gemm } from "../linalg/gemm.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";

/** The number of sums of inputs, a power of two. */
const SUMS = 256;

/** P, (k, n) f32, in device memory, where k is at most 32. The signs depend only on the order of the tokens. */
export class InputProbe {
  /** The sums, (SUMS, n). */
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
    this.#sums = backend.createBuffer(`probe of ${label}`, 4 * SUMS * size);
    this.clear();
  }

  /** Queues P = 0. */
  clear(): void {
    this.backend.clear(this.#sums);
  }

  /** Queues P = Rᵀ/√k, as for H = I. */
  setIdentity(): void {
    const { size } = this, values = new Float32Array(SUMS * size);
    signs(SUMS, size, 1).forEach((sign, i) => values[i % SUMS * size + i] = sign);
    const identity = createBufferOf(this.backend, "probe of the identity", values);
    this.backend.copy(identity, 0, this.#sums, 0, this.#sums.byteLength);
    identity.destroy();
  }

  /**
   * Queues P += Rᵀ·X/√k for `rows` inputs of X, (rows, n) f32.
   * @throws {OutOfDeviceMemoryError} if a copy of at most `SUMS` inputs does not fit
   */
  add(x: DeviceBuffer, rows: number): void {
    const { backend, size: n } = this,
      inputs = backend.createBuffer("inputs of a probe", 4 * Math.min(SUMS, rows) * n);
    for (let first = 0; first < rows; first += SUMS) {
      const count = Math.min(SUMS, rows - first), token = SUMS + this.#tokens;
      // The first tokens of all windows have large activations, and should not all be added to the same sum.
      const shift = hashOf(token),
        order = Uint32Array.from({ length: count }, (_, row) => (row ^ shift) & SUMS - 1);
      const index = createBufferOf(backend, "sums of inputs", order);
      const factors = createBufferOf(backend, "signs of inputs", signs(token, count, 1));
      backend.copy(x, 4 * first * n, inputs, 0, 4 * count * n);
      const params = { rows: count, cols: n, offset: 0, has_index: 1, scale: 1 };
      backend.dispatch(addRows, { x: inputs, index, factors, y: this.#sums }, params);
      index.destroy();
      factors.destroy();
      this.#tokens += count;
    }
    inputs.destroy();
  }

  /**
   * Waits for the queued work and reads P back: F32 [k, n].
   * @throws {OutOfDeviceMemoryError} if P does not fit
   * @throws {DeviceLostError}
   */
  async read(): Promise<HostTensor> {
    const { backend, rows: m, size: n } = this, c = backend.createBuffer("probe", 4 * m * n);
    const a = createBufferOf(backend, "signs of a probe", signs(0, SUMS, m));
    const whole = (buffer: DeviceBuffer, ld: number) => ({ buffer, offset: 0, ld });
    const product = { m, n, k: SUMS, alpha: 1 / Math.sqrt(m) };
    gemm(backend, productTN, whole(a, m), whole(this.#sums, n), whole(c, n), product);
    a.destroy();
    try {
      return { dtype: "F32", shape: [m, n], data: await backend.read(c, 0, c.byteLength) };
    } finally {
      c.destroy();
    }
  }

  destroy(): void {
    this.#sums.destroy();
  }
}

/** Returns the signs of the tokens from `first`, (count, k). The signs of a token are the bits of a hash of its number. */
function signs(first: number, count: number, k: number): Float32Array<ArrayBuffer> {
  const values = new Float32Array(count * k);
  for (let token = 0, i = 0; token < count; token++) {
    const hash = hashOf(first + token);
    for (let bit = 0; bit < k; bit++) values[i++] = (hash >>> bit & 1) * 2 - 1;
  }
  return values;
}

/** The finaliser of MurmurHash3. */
function hashOf(token: number): number {
  let hash = Math.imul(token + 1, 0x9e3779b1);
  hash = Math.imul(hash ^ hash >>> 16, 0x85ebca6b);
  hash = Math.imul(hash ^ hash >>> 13, 0xc2b2ae35);
  return hash ^ hash >>> 16;
}
