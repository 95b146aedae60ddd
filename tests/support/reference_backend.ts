/**
 * A backend that computes every kernel by its float64 reference, and stores f32 numbers as float64. So a test can evaluate a whole block
 * in float64, with numbers that f32 could not hold.
 */

import type { Backend, DeviceBuffer } from "../../src/device/backend.ts";
import { copy2d } from "../../src/device/kernels/transfer/copy2d.ts";
import { runReference } from "../reference/run_reference.ts";

/** Whether a binding holds integers, or packed elements of another dtype. */
function holdsBits(kernel: string, binding: string): boolean {
  return binding === "index" || binding === "source" && kernel !== copy2d.name;
}

export class ReferenceBuffer implements DeviceBuffer {
  readonly numbers: Float64Array;
  /** The bits that were written or copied. Kernels do not change them. */
  readonly bits: Uint32Array<ArrayBuffer>;

  constructor(readonly label: string, readonly byteLength: number, readonly destroy: () => void) {
    this.numbers = new Float64Array(byteLength / 4).fill(NaN);
    this.bits = new Uint32Array(byteLength / 4);
  }
}

/** Returns the numbers in a buffer of a reference backend. Changing them changes the buffer. */
export function numbersOf(buffer: DeviceBuffer): Float64Array {
  return (buffer as ReferenceBuffer).numbers;
}

export function referenceBackend(): Backend {
  const counters = { dispatches: 0, bytesWritten: 0, bytesRead: 0, bytesLive: 0, bytesPeak: 0 };
  return {
    kind: "cpu",
    adapter: { name: "float64 references", software: false },
    maxBufferBytes: 2 ** 30,
    counters,
    createBuffer(label, byteLength) {
      const bytes = Math.ceil(byteLength / 4) * 4;
      let isLive = true;
      counters.bytesLive += bytes;
      counters.bytesPeak = Math.max(counters.bytesPeak, counters.bytesLive);
      return new ReferenceBuffer(label, bytes, () => {
        if (isLive) counters.bytesLive -= bytes;
        isLive = false;
      });
    },
    write(target, byteOffset, bytes) {
      const { numbers, bits } = target as ReferenceBuffer, { buffer } = bytes.slice();
      numbers.set(new Float32Array(buffer), byteOffset / 4);
      bits.set(new Uint32Array(buffer), byteOffset / 4);
    },
    copy(source, sourceOffset, target, targetOffset, byteLength) {
      for (const key of ["numbers", "bits"] as const) {
        const part = (source as ReferenceBuffer)[key].subarray(
          sourceOffset / 4,
          (sourceOffset + byteLength) / 4,
        );
        (target as ReferenceBuffer)[key].set(part, targetOffset / 4);
      }
    },
    clear(target) {
      numbersOf(target).fill(0);
      (target as ReferenceBuffer).bits.fill(0);
    },
    dispatch(kernel, buffers, params) {
      const given = Object.entries<DeviceBuffer>(buffers);
      const contents = given.map(([name, buffer]) => {
        return [
          name,
          holdsBits(kernel.name, name) ? (buffer as ReferenceBuffer).bits : numbersOf(buffer),
        ] as const;
      });
      const after = runReference(kernel, Object.fromEntries(contents), params);
      for (const [name, buffer] of given) {
        const access = (kernel.bindings as Readonly<Record<string, string>>)[name];
        if (access === "read_write") numbersOf(buffer).set(after[name]);
      }
    },
    read(source, byteOffset, byteLength) {
      const part = numbersOf(source).subarray(byteOffset / 4, (byteOffset + byteLength) / 4);
      return Promise.resolve(new Uint8Array(Float32Array.from(part).buffer));
    },
    finish: () => Promise.resolve(),
    dispose: () => Promise.resolve(),
  };
}
