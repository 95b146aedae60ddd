/**
 * Faults in the results of a kernel, for backends whose code cannot be changed. A backend with such a fault runs the
 * kernel and then falsifies one of its outputs.
 */

import type { Backend, DeviceBuffer } from "../../../src/device/backend.ts";
import { KERNELS } from "../../../src/device/kernels/kernels.ts";
import type { Kernel } from "../../../src/device/kernels/kernel.ts";
import { withOverrides } from "./with_dispatch.ts";

/** Functions that falsify an output. */
const RESULT_FAULTS = {
  "not run": (before: Words) => before.slice(),
  "loop cut short": cutShort,
  "stale tile": staleTile,
  "wrong constant": wrongConstant,
  "one wrong element": oneWrongElement,
} as const;

type ResultFault = keyof typeof RESULT_FAULTS;

type Words = Uint32Array<ArrayBuffer>;

/** A fault in one output of one kernel. */
interface PlantedResultFault {
  readonly kernel: Kernel;
  readonly binding: string;
  readonly fault: ResultFault;
}

export function allResultFaults(): PlantedResultFault[] {
  return KERNELS.flatMap((kernel) =>
    Object.keys(kernel.bindings).filter((binding) => kernel.bindings[binding] === "read_write").flatMap((
      binding,
    ) => (Object.keys(RESULT_FAULTS) as ResultFault[]).map((fault) => ({ kernel, binding, fault })))
  );
}

/**
 * Returns `backend` with a fault. The caller may read every buffer that the kernel writes once.
 * @param onEffect called if the fault has changed a result. A stale tile, for example, may equal the right one
 */
export function withResultFault(
  backend: Backend,
  { kernel, binding, fault }: PlantedResultFault,
  onEffect: () => void,
): Backend {
  const written = new Map<DeviceBuffer, Words>(), faulty = new Set<DeviceBuffer>();
  return withOverrides(backend, {
    write(target, byteOffset, bytes) {
      if (byteOffset === 0) written.set(target, new Uint32Array(bytes.slice().buffer));
      backend.write(target, byteOffset, bytes);
    },
    dispatch(dispatched, buffers, params) {
      if (dispatched.name === kernel.name) faulty.add((buffers as Record<string, DeviceBuffer>)[binding]);
      backend.dispatch(dispatched, buffers, params);
    },
    async read(source, byteOffset, byteLength) {
      const bytes = await backend.read(source, byteOffset, byteLength);
      if (!faulty.has(source)) return bytes;
      const after = new Uint32Array(bytes.buffer), before = written.get(source)!;
      const changed = [...after.keys()].filter((i) => after[i] !== before[i]);
      if (changed.length === 0) return bytes;
      const result = RESULT_FAULTS[fault](before, after, changed);
      if (result.some((word, i) => word !== after[i])) onEffect();
      return new Uint8Array(result.buffer);
    },
  });
}

/** The last eighth of the elements is not written. */
function cutShort(before: Words, after: Words, changed: readonly number[]): Words {
  const result = after.slice();
  for (const i of changed.slice(Math.floor(changed.length * 7 / 8))) result[i] = before[i];
  return result;
}

/** Eight elements have the results of the eight elements before them, or one element has its old value. */
function staleTile(before: Words, after: Words, changed: readonly number[]): Words {
  const result = after.slice(), middle = Math.floor(changed.length / 2);
  const stale = changed.slice(middle, middle + 8);
  for (const i of stale) result[i] = changed.length < 16 ? before[i] : after[changed[changed.indexOf(i) - 8]];
  return result;
}

/** All elements are 0.1 % too large. If they are whole numbers, all are too large by one. */
function wrongConstant(_before: Words, after: Words, changed: readonly number[]): Words {
  const result = after.slice();
  for (const i of changed) result[i] = alter(result[i], 1.001);
  return result;
}

/** One element is 5 % too large, or too large by one if it is a whole number. */
function oneWrongElement(_before: Words, after: Words, changed: readonly number[]): Words {
  const result = after.slice();
  // The element with the largest magnitude among the middle ones, because 5 % of 0 is not a fault.
  const candidates = changed.slice(Math.floor(changed.length / 3), Math.floor(changed.length * 2 / 3) + 1);
  const chosen = candidates.reduce((best, i) => magnitude(after[i]) > magnitude(after[best]) ? i : best);
  result[chosen] = alter(result[chosen], 1.05);
  return result;
}

/** Multiplies a word by `factor` if it holds a float of ordinary size, and otherwise adds 1. */
function alter(word: number, factor: number): number {
  if (magnitude(word) === 0) return word + 1;
  return new Uint32Array(
    Float32Array.of(new Float32Array(Uint32Array.of(word).buffer)[0] * factor).buffer,
  )[0];
}

/** The magnitude of a word as a float, or 0 if it is not a float of ordinary size. */
function magnitude(word: number): number {
  const value = Math.abs(new Float32Array(Uint32Array.of(word).buffer)[0]);
  return value > 1e-10 && value < 1e10 ? value : 0;
}
