/** A tensor that is trained, or some rows of it, with its gradient and the state of the optimiser. */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { adam, adamStep } from "../../device/kernels/training/adam.ts";

export class Parameter {
  readonly gradient: DeviceBuffer;
  readonly #backend: Backend;
  readonly #moments: { readonly first: DeviceBuffer; readonly second: DeviceBuffer };
  #remembered?: DeviceBuffer;

  constructor(
    backend: Backend,
    /** The elements in f32. Their owner frees the buffer. */
    readonly value: DeviceBuffer,
    /** Whether elements that are 0 stay 0. */
    readonly keepsZeros: boolean,
  ) {
    this.#backend = backend;
    this.gradient = this.#zeros("gradient");
    this.#moments = { first: this.#zeros("first moment"), second: this.#zeros("second moment") };
  }

  /** Queues step `step` of Adam, counted from 1, and clears the gradient. */
  update(learningRate: number, step: number): void {
    const { value: weight, gradient } = this;
    this.#backend.dispatch(adam, { gradient, weight, ...this.#moments }, {
      count: weight.byteLength / 4,
      keeps_zeros: this.keepsZeros ? 1 : 0,
      ...adamStep(learningRate, step),
    });
    this.#backend.clear(gradient);
  }

  remember(): void {
    this.#remembered ??= this.#backend.createBuffer(`copy of ${this.value.label}`, this.value.byteLength);
    this.#backend.copy(this.value, 0, this.#remembered, 0, this.value.byteLength);
  }

  /** @throws {TypeError} if no value was remembered */
  restore(): void {
    if (!this.#remembered) throw new TypeError(`parameter ${this.value.label}: no value was remembered`);
    this.#backend.copy(this.#remembered, 0, this.value, 0, this.value.byteLength);
  }

  /** Frees everything but the value. */
  destroy(): void {
    const { first, second } = this.#moments;
    for (const buffer of [this.gradient, first, second, this.#remembered]) buffer?.destroy();
  }

  #zeros(what: string): DeviceBuffer {
    const buffer = this.#backend.createBuffer(`${what} of ${this.value.label}`, this.value.byteLength);
    this.#backend.clear(buffer);
    return buffer;
  }
}
