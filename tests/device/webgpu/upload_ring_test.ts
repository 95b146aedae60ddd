/** Tests writes through the mapped staging memory of a WebGPU backend, and its bound. */

import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { DeviceLostError } from "../../../src/device/backend.ts";
import { createWebGpuBackend, type WebGpuBackend } from "../../../src/device/webgpu/backend.ts";
import { UPLOAD_BUFFER_BYTES } from "../../../src/device/webgpu/upload_ring.ts";
import { CopyCounter } from "../../support/gpu_copies/copy_counter.ts";
import { openBehindPort } from "../../support/gpu_copies/host_in_thread.ts";
import { upload } from "../../support/device.ts";
import { doubleAndAdd } from "./kernels.ts";
import { webgpuSuite } from "./suite.ts";

/** The staging memory of the tests. */
const BUFFERS = 2, UPLOAD_BYTES = BUFFERS * UPLOAD_BUFFER_BYTES;

/** Bytes that differ from position to position and from seed to seed. */
function pattern(byteLength: number, seed: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(
    Uint32Array.from({ length: byteLength / 4 }, (_, i) => Math.imul(i + 1, 2654435761) + seed).buffer,
  );
}

webgpuSuite("the staging memory of writes on webgpu", (backend) => {
  it("is reused after a wait, and never grows over its bound", async () => {
    const size = UPLOAD_BUFFER_BYTES + 4096, target = backend().createBuffer("target", size);
    for (let round = 0; round < 4; round++) {
      const bytes = pattern(size, round);
      backend().write(target, 0, bytes);
      ok(backend().stagingBytes <= UPLOAD_BYTES, `${backend().stagingBytes}`);
      bytes.subarray(0, size).fill(0); // The caller may reuse the bytes at once.
      deepStrictEqual(await backend().read(target, 0, size), pattern(size, round));
    }
    strictEqual(backend().stagingBytes, UPLOAD_BYTES);
    target.destroy();
  });

  it("does not lose a write when all of it is in use", async () => {
    const size = 2 * UPLOAD_BYTES + 12, target = backend().createBuffer("target", size);
    backend().write(target, 0, pattern(size, 1));
    backend().write(target, 8, pattern(4096, 2));
    ok(backend().stagingBytes <= UPLOAD_BYTES);
    const expected = pattern(size, 1);
    expected.set(pattern(4096, 2), 8);
    deepStrictEqual(await backend().read(target, 0, size), expected);
    target.destroy();
  });

  it("keeps the order of large writes, small writes and dispatches on one buffer", async () => {
    const count = UPLOAD_BUFFER_BYTES / 8, x = upload(backend(), new Float32Array(count).fill(1));
    const y = upload(backend(), new Float32Array(count));
    let expected = 0;
    for (let step = 0; step < 40; step++) {
      if (step % 3 === 0) {
        expected = step;
        backend().write(y, 0, new Uint8Array(new Float32Array(count).fill(step).buffer));
      }
      backend().dispatch(doubleAndAdd, { x, y }, { count, step: -step });
      expected = Math.fround(Math.fround(expected * 2 + 1) - step);
      if (step % 5 === 0) {
        expected = step;
        for (let at = 0; at < count; at += 4096) {
          const few = new Float32Array(Math.min(4096, count - at)).fill(step);
          backend().write(y, 4 * at, new Uint8Array(few.buffer));
        }
      }
    }
    const found = new Float32Array((await backend().read(y, 0, 4 * count)).buffer);
    ok(found.every((value) => value === expected), `${found[0]} instead of ${expected}`);
    x.destroy();
    y.destroy();
  });

  it("has room without a wait until its bound, and waits once when it is full", async () => {
    const target = backend().createBuffer("target", UPLOAD_BUFFER_BYTES);
    await backend().finish();
    using counter = new CopyCounter();
    const write = async () => {
      backend().write(target, 0, pattern(UPLOAD_BUFFER_BYTES, 3));
      await backend().stagingRoom(UPLOAD_BUFFER_BYTES);
      return counter.takeCounts().waits;
    };
    const waits: number[] = [];
    for (let i = 0; i < 3 * BUFFERS; i++) waits.push(await write());
    strictEqual(waits.reduce((a, b) => a + b), 3, `${waits}`);
    target.destroy();
  });
}, { uploadBytes: UPLOAD_BYTES });

webgpuSuite("a device that is lost during a write through mapped memory", () => {
  const size = 2 * UPLOAD_BUFFER_BYTES;

  async function withDoomed(body: (doomed: WebGpuBackend) => Promise<void>): Promise<void> {
    const doomed = await createWebGpuBackend({ uploadBytes: UPLOAD_BYTES });
    await body(doomed);
    await doomed.dispose();
  }

  it("makes the wait for room and the next read fail", async () => {
    await withDoomed(async (doomed) => {
      const target = doomed.createBuffer("target", size);
      for (let i = 0; i < BUFFERS; i++) doomed.write(target, 0, pattern(UPLOAD_BUFFER_BYTES, i));
      doomed.device.destroy();
      await rejects(
        async () => {
          for (let i = 0; i < 2 * BUFFERS; i++) {
            doomed.write(target, 0, pattern(UPLOAD_BUFFER_BYTES, i));
            await doomed.stagingRoom(UPLOAD_BUFFER_BYTES);
          }
          await doomed.read(target, 0, 4);
        },
        DeviceLostError,
      );
      await rejects(doomed.stagingRoom(UPLOAD_BUFFER_BYTES), DeviceLostError);
    });
  });

  it("frees mapped memory before the device when the backend is disposed of", async () => {
    await withDoomed(async (doomed) => {
      const target = doomed.createBuffer("target", size);
      doomed.write(target, 0, pattern(size, 1));
      await doomed.finish();
      doomed.write(target, 0, pattern(size, 1)); // The memory is open and unsubmitted when the backend goes.
    });
  });

  it("makes a client behind a port fail instead of waiting for memory for ever", async () => {
    let real: WebGpuBackend | undefined;
    const remote = await openBehindPort({ uploadBytes: UPLOAD_BYTES }, (opened) => real = opened);
    const target = remote.createBuffer("target", UPLOAD_BUFFER_BYTES);
    await remote.finish();
    real!.device.destroy();
    await rejects(async () => {
      for (let i = 0; i < 200; i++) {
        const { bytes } = await remote.borrowMemory!(UPLOAD_BUFFER_BYTES);
        remote.write(target, 0, bytes);
      }
    }, DeviceLostError);
    await remote.dispose();
  });
});
