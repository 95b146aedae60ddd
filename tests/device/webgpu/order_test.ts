/**
 * Tests that any sequence of writes, dispatches, copies and clears has the same result as if each call ran
 * before the next one.
 */

import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { DeviceBuffer } from "../../../src/device/backend.ts";
import type { WebGpuBackend } from "../../../src/device/webgpu/backend.ts";
import { downloadF32, upload } from "../../support/device.ts";
import { uniform } from "../../../scripts/fixtures/random.ts";
import { doubleAndAdd } from "./kernels.ts";
import { webgpuSuite } from "./suite.ts";

const COUNT = 100;

function bytesOf(values: Float32Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return new Uint8Array(values.buffer);
}

/**
 * Applies `steps` random operations to three buffers on the device and to three arrays in the CPU's memory,
 * and compares the buffers with the arrays.
 */
async function checkRandomProgram(backend: WebGpuBackend, steps: number, seed: number): Promise<void> {
  const random = uniform(seed);
  const pick = (count: number) => Math.floor(random() * count);
  const host = [0, 1, 2].map((b) => Float32Array.from({ length: COUNT }, (_, i) => b + i));
  const device = host.map((values) => upload(backend, values));
  for (let step = 0; step < steps; step++) {
    const from = pick(3), to = (from + 1 + pick(2)) % 3;
    switch (pick(5)) {
      case 0: {
        const start = pick(COUNT), values = Float32Array.from({ length: COUNT - start }, () => pick(9));
        backend.write(device[to], start * 4, bytesOf(values));
        host[to].set(values, start);
        values.fill(NaN); // The caller may reuse the bytes at once.
        break;
      }
      case 1: {
        const length = pick(COUNT + 1), start = pick(COUNT + 1 - length), target = pick(COUNT + 1 - length);
        backend.copy(device[from], start * 4, device[to], target * 4, length * 4);
        host[to].set(host[from].subarray(start, start + length), target);
        break;
      }
      case 2:
        backend.clear(device[to]);
        host[to].fill(0);
        break;
      default:
        backend.dispatch(doubleAndAdd, { x: device[from], y: device[to] }, { count: COUNT, step });
        for (let i = 0; i < COUNT; i++) {
          host[to][i] = Math.fround(Math.fround(host[to][i] * 2 + host[from][i]) + step);
        }
        // Small integers are exact in f32, so the results can differ only by the order of the operations.
        if (host[to].some((value) => Math.abs(value) > 2 ** 16)) {
          backend.clear(device[to]);
          host[to].fill(0);
        }
    }
  }
  for (const b of [0, 1, 2]) deepStrictEqual(await downloadF32(backend, device[b]), host[b], `buffer ${b}`);
  for (const buffer of device) buffer.destroy();
}

webgpuSuite("the queue of a WebGPU backend", (backend) => {
  for (const seed of [1, 2, 3, 4]) {
    it(`runs the 300 steps of a random program in the order of the calls (seed ${seed})`, () =>
      checkRandomProgram(backend(), 300, seed));
  }

  it("runs 1000 dispatches in the order of the calls, each with its own parameters", async () => {
    const x = upload(backend(), new Float32Array(COUNT)), y = upload(backend(), new Float32Array(COUNT));
    let expected = 0;
    for (let i = 0; i < 1000; i++) {
      const step = i % 7 === 0 ? -expected : i % 3;
      backend().dispatch(doubleAndAdd, { x, y }, { count: COUNT, step });
      expected = Math.fround(expected * 2 + step);
    }
    deepStrictEqual(await downloadF32(backend(), y), new Float32Array(COUNT).fill(expected));
    x.destroy();
    y.destroy();
  });

  it("allows a buffer to be destroyed while queued commands use it", async () => {
    const y = upload(backend(), new Float32Array(COUNT));
    const x = upload(backend(), new Float32Array(COUNT).fill(3));
    backend().dispatch(doubleAndAdd, { x, y }, { count: COUNT, step: 1 });
    x.destroy();
    x.destroy();
    deepStrictEqual(await downloadF32(backend(), y), new Float32Array(COUNT).fill(4));
    y.destroy();
  });

  it("binds a new buffer instead of a destroyed buffer with the same label", async () => {
    const y = upload(backend(), new Float32Array(COUNT));
    let x: DeviceBuffer | undefined;
    for (const value of [1, 2, 4]) {
      x?.destroy();
      x = upload(backend(), new Float32Array(COUNT).fill(value), "reused label");
      backend().dispatch(doubleAndAdd, { x, y }, { count: COUNT, step: 0 });
    }
    deepStrictEqual(await downloadF32(backend(), y), new Float32Array(COUNT).fill(1 * 4 + 2 * 2 + 4));
    x?.destroy();
    y.destroy();
  });

  it("skips a dispatch with an empty grid", async () => {
    const y = upload(backend(), Float32Array.of(5)), x = upload(backend(), Float32Array.of(5));
    const { dispatches } = backend().counters;
    backend().dispatch(doubleAndAdd, { x, y }, { count: 0, step: 1 });
    deepStrictEqual(await downloadF32(backend(), y), Float32Array.of(5));
    strictEqual(backend().counters.dispatches, dispatches);
    x.destroy();
    y.destroy();
  });
});
