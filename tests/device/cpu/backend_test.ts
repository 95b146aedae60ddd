/**
 * Tests what only the `cpu` backend has: packed operands that several products share, and a limited memory. The same tests run on the
 * calling thread, on one worker thread and on three. `tests/device/backend_test.ts` has the tests of every backend.
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

const filled = (count: number, value: number) => new Uint32Array(count).fill(value);

const MANY = 1 << 20;

for (const threads of [0, 1, 3]) {
  describe(`cpu backend with threads: ${threads}`, () => {
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

  it("rejects a kernel that the module does not have", () =>
    withBackend(0, (backend) => {
      const [source, target] = [upload(backend, filled(1, 0)), upload(backend, filled(1, 0))];
      const params = { rows: 1, cols: 1, source_offset: 0, source_ld: 1, target_offset: 0, target_ld: 1 };
      const unknown = defineKernel({ ...copy2d, name: "no_such_kernel" });
      assert.throws(() => backend.dispatch(unknown, { source, target }, params), /no kernel no_such_kernel/);
    }));

  it("rejects a thread count that is negative or not an integer", async () => {
    await assert.rejects(createCpuBackend({ threads: -1 }), RangeError);
    await assert.rejects(createCpuBackend({ threads: 1.5 }), RangeError);
  });
});
