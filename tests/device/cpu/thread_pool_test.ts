/** Tests the thread pool: flow control, failures, shutdown, and its effect on the calling thread. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import process from "node:process";
import { type Backend, DeviceLostError } from "../../../src/device/backend.ts";
import { createCpuBackend } from "../../../src/device/cpu/backend.ts";
import { CAPACITY } from "../../../src/device/cpu/command_ring.ts";
import { instantiate, kernelNames, loadModule } from "../../../src/device/cpu/module.ts";
import { createThreadPool } from "../../../src/device/cpu/thread_pool.ts";
import { gemmNN } from "../../../src/device/kernels/gemm.ts";
import { defineKernel } from "../../../src/device/kernels/kernel.ts";
import { downloadF32, upload } from "../../support/device.ts";

/**
 * Declares the internal copy command as a kernel, so that a test can queue a copy past the end of the memory.
 */
const copyBytes = defineKernel({
  cases: () => [],
  name: "copy_bytes",
  bindings: { source: "read", target: "read_write" },
  params: { bytes: "u32" },
  shader: { code: "", grid: () => [0, 0, 0] },
});

/** Queues a kernel that traps, because its last work item copies bytes past the end of the memory. */
function queueTrap(backend: Backend): void {
  const source = backend.createBuffer("source", 4), target = backend.createBuffer("target", 4);
  backend.dispatch(copyBytes, { source, target }, { bytes: 0xfffffffc });
}

/** Queues `count` products of square matrices of order `size`. */
function queueProducts(backend: Backend, size: number, count: number): void {
  const [a, b, c] = ["a", "b", "c"].map((label) => {
    const buffer = backend.createBuffer(label, size * size * 4);
    backend.clear(buffer);
    return buffer;
  });
  const params = { m: size, n: size, k: size, a_offset: 0, lda: size, b_offset: 0, ldb: size, c_offset: 0 };
  for (let i = 0; i < count; i++) {
    backend.dispatch(gemmNN, { a, b, c }, { ...params, ldc: size, alpha: 1, beta: 0, upper: 0 });
  }
}

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

describe("cpu thread pool", () => {
  for (const threads of [1, 2, 5]) {
    it(`runs more commands than fit in the command ring, in order, with threads: ${threads}`, async () => {
      const backend = await createCpuBackend({ threads });
      const one = upload(backend, Float32Array.of(1)), sum = upload(backend, Float32Array.of(0));
      const count = 5 * CAPACITY + 17;
      const add = () =>
        backend.dispatch(gemmNN, { a: one, b: one, c: sum }, {
          ...{ m: 1, n: 1, k: 1, a_offset: 0, lda: 1, b_offset: 0, ldb: 1, c_offset: 0, ldc: 1 },
          ...{ alpha: 1, beta: 1, upper: 0 },
        });
      for (let i = 0; i < count; i++) add();
      assert.deepEqual([...await downloadF32(backend, sum)], [count]);
      for (let i = 0; i < count; i++) {
        add();
        if (i % 500 === 0) await backend.finish();
      }
      assert.deepEqual([...await downloadF32(backend, sum)], [2 * count]);
      await backend.dispose();
    });
  }

  it("resolves every pending call of finish()", async () => {
    const backend = await createCpuBackend({ threads: 2 });
    await backend.finish();
    queueProducts(backend, 256, 3);
    const waiting = Array.from({ length: 20 }, () => backend.finish());
    queueProducts(backend, 256, 3);
    waiting.push(backend.finish(), backend.finish());
    await Promise.all(waiting);
    await backend.dispose();
  });

  it("rejects pending and later calls with the kernel's name after a kernel trapped on a worker", async () => {
    const backend = await createCpuBackend({ threads: 2 });
    const buffer = upload(backend, Float32Array.of(1));
    queueTrap(backend);
    backend.clear(buffer);
    const lost = { name: "DeviceLostError", message: /copy_bytes/ };
    const waiting = [backend.finish(), backend.read(buffer, 0, 4), backend.finish()];
    for (const { status } of await Promise.allSettled(waiting)) assert.equal(status, "rejected");
    for (const promise of waiting) await assert.rejects(promise, lost);
    backend.clear(buffer);
    await assert.rejects(backend.finish(), lost);
    await assert.rejects(backend.read(buffer, 0, 4), lost);
    await assert.rejects(backend.finish(), (error) => error instanceof DeviceLostError);
    await backend.dispose();
  });

  it("does not make a read wait for commands that do not use its buffer", async () => {
    const backend = await createCpuBackend({ threads: 2 });
    const buffer = upload(backend, Float32Array.of(7));
    await backend.finish();
    queueProducts(backend, 1024, 12);
    let finished = false;
    const all = backend.finish().then(() => finished = true);
    const bytes = await backend.read(buffer, 0, 4);
    assert.equal(finished, false);
    assert.deepEqual(new Float32Array(bytes.buffer), Float32Array.of(7));
    await all;
    await backend.dispose();
  });

  it("rejects finish() with the kernel's name after a kernel trapped on the calling thread", async () => {
    const backend = await createCpuBackend({ threads: 0 });
    queueTrap(backend);
    await assert.rejects(backend.finish(), { name: "DeviceLostError", message: /copy_bytes/ });
    await backend.dispose();
  });

  it("fails with a DeviceLostError if a thread does not start", async () => {
    const module = await loadModule(false), plain = new WebAssembly.Memory({ initial: 1, maximum: 1 });
    const kernels = instantiate(module, plain, 1);
    // A worker cannot instantiate the module, which imports a plain memory, with this shared memory.
    const memory = new WebAssembly.Memory({ initial: 8, maximum: 8, shared: true });
    const layout = { module, memory, kernels, names: kernelNames(module), ring: 4096, scratches: [0, 0] };
    await assert.rejects(createThreadPool(layout), {
      name: "DeviceLostError",
      message: /a thread of the cpu backend failed: .*memory/,
    });
  });

  it("stops running work when it is disposed of, and rejects pending calls", async () => {
    const backend = await createCpuBackend({ threads: 2 });
    queueProducts(backend, 1024, 50);
    const waiting = backend.finish();
    const outcome = assert.rejects(waiting, { name: "DeviceLostError", message: /disposed/ });
    await backend.dispose();
    await outcome;
    await backend.dispose();
    await assert.rejects(backend.finish(), DeviceLostError);
  });

  it("leaves the event loop of the calling thread responsive while kernels run", async () => {
    const backend = await createCpuBackend({ threads: 2 });
    queueProducts(backend, 1024, 12);
    let done = false;
    const finished = backend.finish().then(() => done = true);
    const latencies: number[] = [];
    while (!done) {
      const start = performance.now();
      await pause(5);
      latencies.push(performance.now() - start);
    }
    await finished;
    latencies.sort((x, y) => x - y);
    // The 90th percentile, because another process may occasionally take the processor core.
    const typical = latencies[Math.floor(latencies.length * 0.9)];
    assert.ok(latencies.length >= 5, `${latencies.length} iterations of the event loop`);
    assert.ok(typical < 50, `a timer of 5 ms took ${typical} ms`);
    await backend.dispose();
  });

  it("uses no processor time while its threads are idle", async () => {
    const backend = await createCpuBackend({ threads: 4 });
    queueProducts(backend, 64, 4);
    await backend.finish();
    // V8 collects and compiles what earlier tests of this process left, so the pool is at rest as soon as one wait shows it.
    const used: number[] = [];
    for (let i = 0; i < 6 && !used.some((micros) => micros < 50_000); i++) {
      await pause(50);
      const before = process.cpuUsage();
      await pause(500);
      const { user, system } = process.cpuUsage(before);
      used.push(user + system);
    }
    assert.ok(used.some((micros) => micros < 50_000), `${used.join(", ")} µs in 500 ms each`);
    await backend.dispose();
  });
});

// Uses `Deno.test` for its sanitizers, which fail a test that leaves a worker or a pending operation behind.
Deno.test({
  name: "cpu backend leaves no workers and no pending operations behind",
  sanitizeOps: true,
  sanitizeResources: true,
  fn: async () => {
    for (const threads of [0, 1, 4]) {
      const idle = await createCpuBackend({ threads });
      await idle.dispose();
      const used = await createCpuBackend({ threads });
      queueProducts(used, 128, 3);
      await used.finish();
      queueProducts(used, 128, 3);
      await used.dispose();
      const broken = await createCpuBackend({ threads });
      queueTrap(broken);
      await assert.rejects(broken.finish(), DeviceLostError);
      await broken.dispose();
    }
  },
});
