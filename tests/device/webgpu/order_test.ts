/** Tests the queue of dispatches: their parameters, cached bind groups, and empty grids. */

import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { DeviceBuffer } from "../../../src/device/backend.ts";
import { downloadF32, upload } from "../../support/device.ts";
import { doubleAndAdd } from "./kernels.ts";
import { webgpuSuite } from "./suite.ts";

const COUNT = 100;

webgpuSuite("the queue of a WebGPU backend", (backend) => {
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
