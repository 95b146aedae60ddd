/**
 * Tests a `RemoteBackend`, which sends its calls to a real backend, usually in a worker. It must return the
 * same results and throw the same errors as the real backend, and free all buffers of the real backend.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { type Backend, DeviceLostError, OutOfDeviceMemoryError } from "../../src/device/backend.ts";
import { serveBackend } from "../../src/device/backend_server.ts";
import { connectBackend, type RemotePort } from "../../src/device/remote_backend.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { copy2d } from "../../src/device/kernels/transfer/copy2d.ts";
import { compressLayer } from "../../src/layer/compress_layer.ts";
import { assertSame } from "../support/assert_same.ts";
import { webgpuSkipReason } from "../support/backends.ts";
import { downloadF32, upload } from "../support/device.ts";
import { makeLayer, readSolution, uploadHessian, uploadLayer } from "../support/layers.ts";

/** Connects a remote backend to a server in the same thread, over a message channel. */
function connectInThread(open: () => Promise<Backend>): Promise<Backend> {
  const { port1, port2 } = new MessageChannel();
  const clientPort: RemotePort = Object.assign(port1, { terminate: () => (port1.close(), port2.close()) });
  const connected = connectBackend(clientPort);
  void serveBackend(port2, open);
  port1.start();
  port2.start();
  return connected;
}

/** Runs `body` with a cpu backend and a remote backend that is connected to it. */
async function withCpu(body: (remote: Backend, real: Backend) => Promise<void>): Promise<void> {
  const real = await createCpuBackend({ threads: 0 });
  const remote = await connectInThread(() => Promise.resolve(real));
  try {
    await body(remote, real);
  } finally {
    await remote.dispose();
  }
}

describe("RemoteBackend", () => {
  it("has the kind, adapter and limits of the real backend", async () => {
    await withCpu((remote, real) => {
      assert.deepEqual([remote.kind, remote.adapter, remote.maxBufferBytes], [
        real.kind,
        { ...real.adapter },
        real.maxBufferBytes,
      ]);
      return Promise.resolve();
    });
  });

  it("writes, copies, clears and reads in the order of the calls", async () => {
    await withCpu(async (remote, real) => {
      const a = upload(remote, Float32Array.of(1, 2, 3, 4)), b = upload(remote, Float32Array.of(5, 6, 7, 8));
      remote.copy(a, 4, b, 8, 8);
      remote.clear(a);
      assert.deepEqual([...await downloadF32(remote, b)], [5, 6, 2, 3]);
      assert.deepEqual([...await downloadF32(remote, a)], [0, 0, 0, 0]);
      const { bytesLive, bytesPeak, bytesWritten, bytesRead } = remote.counters;
      assert.deepEqual([bytesLive, bytesPeak, bytesWritten, bytesRead], [32, 32, 32, 32]);
      a.destroy();
      b.destroy();
      b.destroy();
      await remote.finish();
      assert.deepEqual([remote.counters.bytesLive, real.counters.bytesLive], [0, 0]);
    });
  });

  it("copies the bytes of a write, so that the caller can reuse them at once", async () => {
    await withCpu(async (remote) => {
      const buffer = remote.createBuffer("b", 4), bytes = Uint8Array.of(1, 2, 3, 4);
      remote.write(buffer, 0, bytes);
      bytes.fill(9);
      assert.deepEqual([...await remote.read(buffer, 0, 4)], [1, 2, 3, 4]);
    });
  });

  it("frees the copy of written bytes as soon as the real backend has them", async () => {
    await withCpu(async (remote, real) => {
      const copies: Uint8Array[] = [], write = real.write.bind(real);
      real.write = (target, byteOffset, bytes) => {
        copies.push(bytes);
        write(target, byteOffset, bytes);
      };
      remote.write(remote.createBuffer("b", 4), 0, Uint8Array.of(1, 2, 3, 4));
      await remote.finish();
      assert.deepEqual(copies.map(({ byteLength }) => byteLength), [0]);
    });
  });

  it("computes the same bits as the real backend when it solves a layer", async () => {
    await withCpu(async (remote, real) => {
      const layer = makeLayer(20, 100, { seed: 1 });
      const parameters = {
        method: "sparsegpt",
        sparsity: 0.5,
        pattern: { kind: "unstructured" },
        relativeError: true,
        blocksize: 16,
        damping: 0.01,
      } as const;
      const solve = async (backend: Backend) => {
        const operands = uploadLayer(backend, layer, 32);
        const hessian = uploadHessian(backend, layer.hessian, 100, 32);
        const { solution, factor } = await compressLayer(
          backend,
          { layer: operands, hessian },
          parameters,
          () => 0,
        );
        const read = { ...await readSolution(backend, solution), loss: solution.loss };
        for (const owner of [solution, factor!, operands]) owner.destroy();
        return read;
      };
      assertSame(await solve(remote), await solve(real));
      await remote.finish();
      assert.deepEqual([remote.counters.bytesLive, real.counters.bytesLive], [0, 0]);
    });
  });

  it("throws the error of an invalid dispatch once, from the next call that waits for the device", async () => {
    await withCpu(async (remote) => {
      const a = remote.createBuffer("a", 4);
      const params = { rows: 1, cols: 1, source_offset: 0, source_ld: 1, target_offset: 0, target_ld: 1 };
      remote.dispatch(copy2d, { source: a, target: a }, params);
      await assert.rejects(remote.finish(), TypeError);
      await remote.finish();
    });
  });

  it("rejects at once a buffer that is too large, was destroyed or belongs to another backend", async () => {
    await withCpu(async (remote, real) => {
      assert.throws(() => remote.createBuffer("huge", real.maxBufferBytes + 4), OutOfDeviceMemoryError);
      const gone = remote.createBuffer("gone", 4);
      gone.destroy();
      assert.throws(() => remote.clear(gone), /gone was destroyed/);
      assert.throws(() => remote.clear(real.createBuffer("theirs", 4)), /another backend/);
      await remote.finish();
    });
  });

  it("throws an allocation failure of the real backend from the next call that waits for the device", async () => {
    await withCpu(async (remote, real) => {
      real.createBuffer = () => {
        throw new OutOfDeviceMemoryError("full");
      };
      remote.createBuffer("b", 4);
      await assert.rejects(
        remote.finish(),
        (error) => error instanceof OutOfDeviceMemoryError && error.message === "full",
      );
      await remote.finish();
    });
  });

  it("throws DeviceLostError from every later call when the real backend reports a lost device", async () => {
    const real = await createCpuBackend({ threads: 0 });
    const remote = await connectInThread(() => Promise.resolve(real));
    const buffer = remote.createBuffer("b", 4);
    real.finish = () => Promise.reject(new DeviceLostError("unplugged"));
    await assert.rejects(remote.finish(), { name: "DeviceLostError", message: "unplugged" });
    assert.throws(() => remote.clear(buffer), DeviceLostError);
    await assert.rejects(remote.read(buffer, 0, 4), DeviceLostError);
    buffer.destroy();
    await remote.dispose();
    await real.dispose();
  });

  it("cannot be created if the real backend cannot be opened, and reports the error", async () => {
    const opening = connectInThread(() => Promise.reject(new RangeError("no threads")));
    await assert.rejects(opening, { name: "RangeError", message: "no threads" });
  });
});

describe("the WebGPU worker", () => {
  it("solves a layer without blocking this thread", { skip: webgpuSkipReason }, async () => {
    const { selectBackend } = await import("../../src/host/backends.ts");
    const remote = await selectBackend("webgpu");
    assert.equal(remote.kind, "webgpu");
    const layer = makeLayer(256, 512, { seed: 2 });
    const start = performance.now();
    let gap = 0, last = start;
    const timer = setInterval(() => {
      const now = performance.now();
      gap = Math.max(gap, now - last);
      last = now;
    }, 1);
    const operands = uploadLayer(remote, layer), hessian = uploadHessian(remote, layer.hessian, 512);
    const { solution, factor } = await compressLayer(remote, { layer: operands, hessian }, {
      method: "sparsegpt",
      sparsity: 0.5,
      pattern: { kind: "unstructured" },
      relativeError: true,
      blocksize: 128,
      damping: 0.01,
    }, () => performance.now());
    clearInterval(timer);
    const duration = performance.now() - start;
    assert.equal(solution.zeros, 256 * 512 / 2);
    for (const owner of [solution, factor!, operands]) owner.destroy();
    await remote.dispose();
    // If this thread waited for the device, the gap would be nearly the whole duration. The limit is loose
    // because an emulated GPU competes with this thread for the processor.
    assert.ok(gap < duration / 4, `the event loop was blocked for ${gap} of ${duration} ms`);
  });
});
