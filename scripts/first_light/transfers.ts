/** Measures what dispatches and transfers cost, apart from the work of kernels. */

import { zeroColumns } from "../../src/device/kernels/zero_columns.ts";
import { createWebGpuBackend, type WebGpuBackend } from "../../src/device/webgpu/backend.ts";
import { median } from "../bench/measure/statistics.ts";

/** The costs, by the clock of the CPU. */
export interface Transfers {
  /** The time from one dispatch of an almost empty kernel to the next that depends on it, in seconds. */
  readonly dispatchSeconds: number;
  /** The time of one wait for an idle device, in seconds. */
  readonly waitSeconds: number;
  readonly uploadBytesPerSecond: number;
  readonly readBytesPerSecond: number;
}

const ROUNDS = 5, DISPATCHES = 512;

/** @param bytes the size of each transfer */
export async function measureTransfers(bytes: number): Promise<Transfers> {
  const backend = await createWebGpuBackend({ warm: [zeroColumns] });
  try {
    const buffer = backend.createBuffer("transfer", bytes), data = new Uint8Array(bytes).fill(1);
    const w = backend.createBuffer("w", 16), dead = backend.createBuffer("dead", 16);
    const wait = await medianSeconds(backend, () => {});
    const dispatches = await medianSeconds(backend, () => {
      for (let i = 0; i < DISPATCHES; i++) {
        backend.dispatch(zeroColumns, { dead, w }, { rows: 1, cols: 1, ld: 4, first: 0 });
      }
    });
    const upload = await medianSeconds(backend, () => backend.write(buffer, 0, data));
    const reads: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const started = performance.now();
      await backend.read(buffer, 0, bytes);
      reads.push((performance.now() - started) / 1000);
    }
    return {
      dispatchSeconds: Math.max(0, dispatches - wait) / DISPATCHES,
      waitSeconds: wait,
      uploadBytesPerSecond: bytes / upload,
      readBytesPerSecond: bytes / median(reads),
    };
  } finally {
    await backend.dispose();
  }
}

async function medianSeconds(backend: WebGpuBackend, work: () => void): Promise<number> {
  const seconds: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const started = performance.now();
    work();
    await backend.finish();
    seconds.push((performance.now() - started) / 1000);
  }
  return median(seconds);
}
