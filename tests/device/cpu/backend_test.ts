/**
 * Tests the contract of the `cpu` backend: the order of writes, reads and queued commands, the lifetime of buffers, and the calls that it
 * rejects. The same tests run on the calling thread, on one worker thread and on three.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Backend, DeviceBuffer } from "../../../src/device/backend.ts";
import { createCpuBackend } from "../../../src/device/cpu/backend.ts";
import type { CpuBuffer } from "../../../src/device/cpu/buffer.ts";
import { pairsInstructions } from "../../../src/device/cpu/instruction_pairing.ts";
import { gemmNN, gemmNT } from "../../../src/device/kernels/gemm.ts";
import { copy2d } from "../../../src/device/kernels/transfer/copy2d.ts";
import { defineKernel } from "../../../src/device/kernels/kernel.ts";
import { assertSame } from "../../support/assert_same.ts";
import { downloadF32, downloadU32, upload } from "../../support/device.ts";

/** Runs `body` with a new backend and disposes of the backend afterwards. */
async function withBackend(threads: number, body: (backend: Backend) => Promise<void> | void): Promise<void> {
  const backend = await createCpuBackend({ threads });
  try {
    await body(backend);
  } finally {
    await backend.dispose();
  }
}

function copyRow(backend: Backend, source: DeviceBuffer, target: DeviceBuffer, cols: number): void {
  const place = { source_offset: 0, source_ld: cols, target_offset: 0, target_ld: cols };
  backend.dispatch(copy2d, { source, target }, { rows: 1, cols, ...place });
}

const bytesOf = (values: Uint32Array<ArrayBuffer>) => new Uint8Array(values.buffer);
const filled = (count: number, value: number) => new Uint32Array(count).fill(value);

/**
 * The number of words in a buffer that is so large that commands on it still run when the next call is made.
 */
const MANY = 1 << 20;

for (const threads of [0, 1, 3]) {
  describe(`cpu backend with threads: ${threads}`, () => {
    it("reads back written bytes, also at an offset", () =>
      withBackend(threads, async (backend) => {
        const buffer = upload(backend, Uint32Array.of(1, 2, 3, 4, 5));
        backend.write(buffer, 8, bytesOf(Uint32Array.of(30, 40)));
        assert.deepEqual([...await downloadU32(backend, buffer)], [1, 2, 30, 40, 5]);
        const part = new Uint32Array((await backend.read(buffer, 4, 8)).buffer);
        assert.deepEqual([...part], [2, 30]);
      }));

    it("keeps the contents that queued commands need if a new buffer gets the memory of a destroyed one", () =>
      withBackend(threads, async (backend) => {
        const source = upload(backend, filled(MANY, 1)), target = upload(backend, filled(MANY, 0));
        for (let i = 0; i < 3; i++) {
          const temporary = backend.createBuffer("temporary", 4 * MANY);
          copyRow(backend, source, temporary, MANY);
          copyRow(backend, temporary, target, MANY);
          temporary.destroy();
        }
        const written = upload(backend, filled(MANY, 2));
        assertSame(await downloadU32(backend, target), filled(MANY, 1));
        assertSame(await downloadU32(backend, written), filled(MANY, 2));
      }));

    it("does not let a dispatch see bytes that are written after the dispatch was queued", () =>
      withBackend(threads, async (backend) => {
        const source = upload(backend, filled(MANY, 1)), target = upload(backend, filled(MANY, 0));
        const last = upload(backend, filled(MANY, 0));
        copyRow(backend, source, target, MANY);
        backend.write(source, 0, bytesOf(filled(MANY, 2)));
        copyRow(backend, source, last, MANY);
        backend.write(source, 0, bytesOf(filled(MANY, 3)));
        assertSame(await downloadU32(backend, target), filled(MANY, 1));
        assertSame(await downloadU32(backend, last), filled(MANY, 2));
        assertSame(await downloadU32(backend, source), filled(MANY, 3));
      }));

    it("reads the results of commands queued before the read and not of commands queued after it", () =>
      withBackend(threads, async (backend) => {
        const source = upload(backend, filled(MANY, 1)), target = upload(backend, filled(MANY, 0));
        copyRow(backend, source, target, MANY);
        const reading = downloadU32(backend, target);
        backend.clear(target);
        const after = downloadU32(backend, target);
        backend.write(target, 0, bytesOf(filled(MANY, 9)));
        assertSame(await reading, filled(MANY, 1));
        assertSame(await after, filled(MANY, 0));
      }));

    it("keeps the memory of a destroyed buffer until the dispatches that use it are done", () =>
      withBackend(threads, async (backend) => {
        const target = upload(backend, filled(MANY, 0));
        for (let round = 1; round <= 6; round++) {
          const source = upload(backend, filled(MANY, round));
          copyRow(backend, source, target, MANY);
          source.destroy();
          source.destroy();
          upload(backend, filled(MANY, 99)).destroy();
        }
        assertSame(await downloadU32(backend, target), filled(MANY, 6));
      }));

    it("multiplies by the current right operand, although products in a row share its packed copy", () =>
      withBackend(threads, async (backend) => {
        const [m, n, k] = [512, 64, 256],
          place = { a_offset: 0, lda: k, b_offset: 0, ldb: n, c_offset: 0, ldc: n };
        const matrix = (value: number) => new Float32Array(k * n).fill(value);
        const a = upload(backend, new Float32Array(m * k).fill(1)), b = upload(backend, matrix(1));
        const threes = upload(backend, matrix(3)), fours = upload(backend, matrix(4));
        const products: DeviceBuffer[] = [];
        const multiply = () => {
          const c = backend.createBuffer("c", 4 * m * n);
          backend.dispatch(gemmNN, { a, b, c }, { m, n, k, ...place, alpha: 1, beta: 0, upper: 0 });
          products.push(c);
        };
        multiply();
        multiply();
        backend.write(b, 0, new Uint8Array(matrix(2).buffer));
        multiply();
        backend.copy(threes, 0, b, 0, b.byteLength);
        multiply();
        copyRow(backend, fours, b, k * n);
        multiply();
        backend.clear(b);
        multiply();
        for (const [i, value] of [1, 1, 2, 3, 4, 0].entries()) {
          const elements = await downloadF32(backend, products[i]);
          assert.deepEqual([...new Set(elements)], [k * value], `product ${i}`);
        }
      }));

    it("multiplies by another view of the packed right operand, and by another buffer at its address", () =>
      withBackend(threads, async (backend) => {
        const [m, n, k] = [512, 128, 128],
          place = { a_offset: 0, lda: k, b_offset: 0, ldb: n, c_offset: 0, ldc: n };
        const numbers = (first: number) =>
          Float32Array.from({ length: 2 * k * n }, (_, i) => first + Math.floor(i / (k * n / 2)));
        const a = upload(backend, new Float32Array(m * k).fill(1)), first = upload(backend, numbers(1));
        const products: DeviceBuffer[] = [];
        const multiply = (b: DeviceBuffer, kernel = gemmNN, view: Partial<typeof place> = {}) => {
          const c = backend.createBuffer("c", 4 * m * n);
          backend.dispatch(kernel, { a, b, c }, { m, n, k, ...place, ...view, alpha: 1, beta: 0, upper: 0 });
          products.push(c);
        };
        // Each product differs from the one before in the offset, the transposition or the leading dimension only.
        multiply(first, gemmNN, { b_offset: k * n });
        multiply(first);
        multiply(first, gemmNT);
        multiply(first, gemmNT, { ldb: 2 * k });
        first.destroy();
        const second = upload(backend, numbers(5));
        assert.equal((second as CpuBuffer).address, (first as CpuBuffer).address);
        multiply(second, gemmNT, { ldb: 2 * k });
        for (const [i, sums] of [[3.5], [1.5], [1, 2], [1, 2, 3, 4], [5, 6, 7, 8]].entries()) {
          const elements = await downloadF32(backend, products[i]);
          assert.deepEqual([...new Set(elements)], sums.map((sum) => k * sum), `product ${i}`);
        }
      }));

    it("runs copies and clears in order, and copies parts of buffers", () =>
      withBackend(threads, async (backend) => {
        const a = upload(backend, Uint32Array.from({ length: MANY + 3 }, (_, i) => i));
        const b = backend.createBuffer("b", 4 * (MANY + 3));
        backend.clear(b);
        backend.copy(a, 4, b, 8, 4 * MANY);
        backend.clear(a);
        const copied = await downloadU32(backend, b);
        assert.deepEqual([...copied.subarray(0, 4)], [0, 0, 1, 2]);
        assert.deepEqual([...copied.subarray(MANY)], [MANY - 1, MANY, 0]);
        assertSame(await downloadU32(backend, a), filled(MANY + 3, 0));
      }));

    it("counts dispatches, transferred bytes and allocated bytes", () =>
      withBackend(threads, async (backend) => {
        const a = upload(backend, filled(100, 7)), b = backend.createBuffer("b", 399);
        copyRow(backend, a, b, 100);
        await downloadU32(backend, b);
        a.destroy();
        const { counters } = backend;
        assert.equal(b.byteLength, 400);
        assert.deepEqual({ ...counters }, {
          dispatches: 1,
          bytesWritten: 400,
          bytesRead: 400,
          bytesLive: 400,
          bytesPeak: 800,
        });
      }));

    it(
      "computes with buffers above the first 2 GiB of memory",
      { ignore: threads === 0 },
      () =>
        withBackend(threads, async (backend) => {
          backend.createBuffer("lower half", backend.maxBufferBytes);
          const source = upload(backend, filled(MANY, 5)), target = backend.createBuffer("high", 4 * MANY);
          copyRow(backend, source, target, MANY);
          assertSame(await downloadU32(backend, target), filled(MANY, 5));
        }),
    );

    it("rejects a buffer over the size limit and a buffer that does not fit in memory", () =>
      withBackend(threads, (backend) => {
        const over = backend.maxBufferBytes + 4;
        assert.throws(() => backend.createBuffer("weight", over), {
          name: "OutOfDeviceMemoryError",
          message:
            `buffer weight: ${over} bytes exceed the cpu backend's limit of ${backend.maxBufferBytes} bytes`,
        });
        backend.createBuffer("first", backend.maxBufferBytes - 2 ** 20).destroy();
        const held = backend.createBuffer("held", backend.maxBufferBytes - 2 ** 20);
        assert.throws(() => backend.createBuffer("second", backend.maxBufferBytes), {
          name: "OutOfDeviceMemoryError",
          message: /buffer second: no room for 2147483648 bytes with \d+ bytes in use/,
        });
        held.destroy();
      }));

    it("rejects ranges that exceed a buffer or do not consist of whole words", () =>
      withBackend(threads, async (backend) => {
        const a = upload(backend, filled(4, 0)), b = upload(backend, filled(4, 0));
        assert.throws(() => backend.write(a, 8, new Uint8Array(12)), RangeError);
        assert.throws(() => backend.write(a, 2, new Uint8Array(4)), RangeError);
        assert.throws(() => backend.copy(a, 0, b, 4, 16), RangeError);
        assert.throws(() => backend.copy(a, 0, a, 4, 8), /overlap/);
        await assert.rejects(backend.read(a, 0, 20), RangeError);
        await assert.rejects(backend.read(a, -4, 4), RangeError);
      }));

    it("rejects a dispatch that does not match the declaration", () =>
      withBackend(threads, async (backend) => {
        const source = upload(backend, filled(4, 0)), target = upload(backend, filled(4, 0));
        const params = { rows: 1, cols: 4, source_offset: 0, source_ld: 4, target_offset: 0, target_ld: 4 };
        const given: (buffers: object, params: object) => void = (b, p) =>
          backend.dispatch(copy2d, b as { source: DeviceBuffer; target: DeviceBuffer }, p as typeof params);
        const throws = (buffers: object, p: object, message: RegExp, name = "TypeError") =>
          assert.throws(() => given(buffers, p), { name, message });
        throws({ source }, params, /copy2d: binding target is missing/);
        throws({ source, target, more: target }, params, /copy2d: the kernel has no binding more/);
        throws({ source, target: source }, params, /source and target are both .*, which the kernel writes/);
        throws({ source, target }, { ...params, rows: undefined }, /parameter rows must be a number/);
        throws({ source, target }, { ...params, depth: 1 }, /no parameter depth/);
        throws(
          { source, target },
          { ...params, rows: 1.5 },
          /parameter rows must be an integer.*got 1.5/,
          "RangeError",
        );
        throws(
          { source, target },
          { ...params, rows: -1 },
          /parameter rows must be an integer.*got -1/,
          "RangeError",
        );
        const unknown = defineKernel({ ...copy2d, name: "no_such_kernel" });
        assert.throws(
          () => backend.dispatch(unknown, { source, target }, params),
          /no kernel no_such_kernel/,
        );
        target.destroy();
        assert.throws(() => given({ source, target }, params), /is destroyed/);
        assert.equal(backend.counters.dispatches, 0);
        await backend.finish();
      }));

    it("rejects a buffer of another backend", () =>
      withBackend(threads, (backend) =>
        withBackend(0, (other) => {
          const foreign = upload(other, filled(4, 0), "foreign");
          assert.throws(() => backend.clear(foreign), /buffer foreign belongs to another backend/);
        })));
  });
}

describe("createCpuBackend", () => {
  it("names the instruction set and the number of threads in the adapter's name", async () => {
    const paired = pairsInstructions() ? " in pairs" : ""; // depends on how the tests were started
    for (
      const [threads, name] of [[0, "on the calling thread"], [1, "1 thread"], [2, "2 threads"]] as const
    ) {
      await withBackend(threads, ({ adapter, kind }) => {
        assert.deepEqual({ kind, ...adapter }, {
          kind: "cpu",
          name: `WebAssembly SIMD${paired}, ${name}`,
          software: false,
        });
      });
    }
  });

  it("rejects a thread count that is negative or not an integer", async () => {
    await assert.rejects(createCpuBackend({ threads: -1 }), RangeError);
    await assert.rejects(createCpuBackend({ threads: 1.5 }), RangeError);
  });
});
