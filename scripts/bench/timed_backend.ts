/**
 * A backend that says where its time goes: calls are recorded and run when the caller waits, one group of like work at a time, with a
 * wait after each. The waits cost time of their own and keep the host from running ahead, so its seconds are good for shares
 * only. It computes what the backend under it computes.
 */

import type { Backend, DeviceBuffer } from "../../src/backend/backend.ts";
import type { Kernel } from "../../src/kernels/kernel.ts";

/** What copies and clears between kernels are charged to. */
export const TRANSFERS = "transfers";

interface Step {
  readonly group: string;
  run(): void;
}

/** A buffer that is freed in its turn, after the work recorded before. */
class TimedBuffer implements DeviceBuffer {
  readonly label: string;
  readonly byteLength: number;
  #destroyed = false;

  constructor(readonly inner: DeviceBuffer, readonly retire: () => void) {
    this.label = inner.label;
    this.byteLength = inner.byteLength;
  }

  destroy(): void {
    if (!this.#destroyed) this.retire();
    this.#destroyed = true;
  }
}

/** `backend`, timed. It shares the device: dispose of either. */
export class TimedBackend implements Backend {
  readonly kind: Backend["kind"];
  readonly adapter: Backend["adapter"];
  readonly maxBufferBytes: number;
  readonly counters: Backend["counters"];
  readonly #backend: Backend;
  readonly #groupOf: (kernel: string) => string;
  #steps: Step[] = [];
  #seconds = new Map<string, number>();

  /** `groupOf` names what a kernel's time is charged to. */
  constructor(backend: Backend, groupOf: (kernel: string) => string) {
    this.#backend = backend;
    this.#groupOf = groupOf;
    this.kind = backend.kind;
    this.adapter = backend.adapter;
    this.maxBufferBytes = backend.maxBufferBytes;
    this.counters = backend.counters;
  }

  /** Seconds a group since the last call. */
  takeSeconds(): ReadonlyMap<string, number> {
    const taken = this.#seconds;
    this.#seconds = new Map();
    return taken;
  }

  createBuffer(label: string, byteLength: number): DeviceBuffer {
    const inner = this.#backend.createBuffer(label, byteLength);
    return new TimedBuffer(inner, () => this.#record(TRANSFERS, () => inner.destroy()));
  }

  write(target: DeviceBuffer, byteOffset: number, bytes: Uint8Array): void {
    const copy = bytes.slice(); // the caller may reuse its own at once
    this.#record(TRANSFERS, () => this.#backend.write(innerOf(target), byteOffset, copy));
  }

  copy(
    source: DeviceBuffer,
    sourceOffset: number,
    target: DeviceBuffer,
    targetOffset: number,
    byteLength: number,
  ): void {
    this.#record(
      TRANSFERS,
      () => this.#backend.copy(innerOf(source), sourceOffset, innerOf(target), targetOffset, byteLength),
    );
  }

  clear(target: DeviceBuffer): void {
    this.#record(TRANSFERS, () => this.#backend.clear(innerOf(target)));
  }

  dispatch<B extends string, P extends string>(
    kernel: Kernel<B, P>,
    buffers: Readonly<Record<B, DeviceBuffer>>,
    params: Readonly<Record<P, number>>,
  ): void {
    const inner = Object.fromEntries(
      Object.entries<DeviceBuffer>(buffers).map(([name, buffer]) => [name, innerOf(buffer)]),
    ) as Record<B, DeviceBuffer>;
    this.#record(this.#groupOf(kernel.name), () => this.#backend.dispatch(kernel, inner, params));
  }

  async read(source: DeviceBuffer, byteOffset: number, byteLength: number): Promise<Uint8Array<ArrayBuffer>> {
    await this.finish();
    return await this.#backend.read(innerOf(source), byteOffset, byteLength);
  }

  async finish(): Promise<void> {
    const steps = this.#steps;
    this.#steps = [];
    for (let next = 0; next < steps.length;) {
      const { group } = steps[next];
      const started = performance.now();
      for (; next < steps.length && steps[next].group === group; next++) steps[next].run();
      await this.#backend.finish();
      const seconds = (performance.now() - started) / 1000;
      this.#seconds.set(group, (this.#seconds.get(group) ?? 0) + seconds);
    }
  }

  async dispose(): Promise<void> {
    await this.finish();
    await this.#backend.dispose();
  }

  #record(group: string, run: () => void): void {
    this.#steps.push({ group, run });
  }
}

/** @throws {TypeError} the buffer was not made by a TimedBackend */
function innerOf(buffer: DeviceBuffer): DeviceBuffer {
  if (!(buffer instanceof TimedBuffer)) throw new TypeError(`buffer ${buffer.label} is not a timed one`);
  return buffer.inner;
}
