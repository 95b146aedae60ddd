/**
 * A backend that measures how its time divides among groups of kernels. It wraps another backend and computes the same results.
 *
 * Calls are recorded first. When the caller waits for the device, the recorded calls run in order. Consecutive calls of the same
 * group run together, and then the wrapper waits for the device and adds the elapsed time to the group. These waits take time
 * themselves and prevent calls from overlapping with the device's work, so only the ratios of the seconds are meaningful.
 */

import type { Backend, DeviceBuffer } from "../../src/device/backend.ts";
import type { Kernel } from "../../src/device/kernels/kernel.ts";

/** The group of all calls that are not kernels: writes, copies, clears and the freeing of buffers. */
export const TRANSFERS = "transfers";

/** The most calls that run together. The device's clock can measure one batch of dispatches at a time. */
const MAX_CALLS = 32;

interface RecordedCall {
  readonly group: string;
  run(): void;
}

/** A buffer whose `destroy` is recorded like any other call, so that the buffer outlives the calls recorded before it. */
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

/** Wraps a backend and measures its time by group. Disposing of the wrapper disposes of the wrapped backend. */
export class TimedBackend implements Backend {
  readonly kind: Backend["kind"];
  readonly adapter: Backend["adapter"];
  readonly maxBufferBytes: number;
  readonly counters: Backend["counters"];
  readonly #backend: Backend;
  readonly #groupOf: (kernel: string) => string;
  readonly #timeKernels: ((run: () => void) => Promise<number>) | undefined;
  #calls: RecordedCall[] = [];
  #seconds = new Map<string, number>();

  /**
   * @param groupOf maps the name of a kernel to the group that its time is added to
   * @param timeKernels runs kernels and returns their seconds by the device's clock, like
   *   `WebGpuBackend.timePass`. Without it, the time until the device is done is measured
   */
  constructor(
    backend: Backend,
    groupOf: (kernel: string) => string,
    timeKernels?: (run: () => void) => Promise<number>,
  ) {
    this.#timeKernels = timeKernels;
    this.#backend = backend;
    this.#groupOf = groupOf;
    this.kind = backend.kind;
    this.adapter = backend.adapter;
    this.maxBufferBytes = backend.maxBufferBytes;
    this.counters = backend.counters;
  }

  /** Returns the seconds of each group since the last call of this method, and resets them. */
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
    const copy = bytes.slice(); // the caller may reuse its array after this call
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
    const calls = this.#calls;
    this.#calls = [];
    for (let next = 0; next < calls.length;) {
      const { group } = calls[next], first = next, last = first + MAX_CALLS;
      while (next < calls.length && next < last && calls[next].group === group) next++;
      const run = () => calls.slice(first, next).forEach((call) => call.run());
      const started = performance.now();
      let seconds = group === TRANSFERS ? undefined : await this.#timeKernels?.(run);
      if (seconds === undefined) {
        run();
        await this.#backend.finish();
        seconds = (performance.now() - started) / 1000;
      }
      this.#seconds.set(group, (this.#seconds.get(group) ?? 0) + seconds);
    }
  }

  async dispose(): Promise<void> {
    await this.finish();
    await this.#backend.dispose();
  }

  #record(group: string, run: () => void): void {
    this.#calls.push({ group, run });
  }
}

/** The wrapped buffer. @throws {TypeError} if the buffer was not created by a TimedBackend */
function innerOf(buffer: DeviceBuffer): DeviceBuffer {
  if (!(buffer instanceof TimedBuffer)) {
    throw new TypeError(`buffer ${buffer.label} was not created by a TimedBackend`);
  }
  return buffer.inner;
}
