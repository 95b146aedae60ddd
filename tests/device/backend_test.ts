/**
 * Tests what `Backend` promises on every backend: the order of writes, reads and queued commands, the lifetime of
 * buffers, the counters, and the calls that are rejected.
 */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { Backend, DeviceBuffer } from "../../src/device/backend.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { addRows } from "../../src/device/kernels/forward/rows.ts";
import { copy2d } from "../../src/device/kernels/transfer/copy2d.ts";
import { uniform } from "../../scripts/fixtures/random.ts";
import { assertSame } from "../support/assert_same.ts";
import { eachExecutor } from "../support/backends.ts";
import { downloadF32, downloadU32, upload } from "../support/device.ts";

function copyRow(backend: Backend, source: DeviceBuffer, target: DeviceBuffer, cols: number): void {
  const place = { source_offset: 0, source_ld: cols, target_offset: 0, target_ld: cols };
  backend.dispatch(copy2d, { source, target }, { rows: 1, cols, ...place });
}

const bytesOf = (values: Uint32Array<ArrayBuffer> | Float32Array<ArrayBuffer>) =>
  new Uint8Array(values.buffer);
const filled = (count: number, value: number) => new Uint32Array(count).fill(value);

/** The number of words in a buffer that is so large that commands on it still run when the next call is made. */
const MANY = 1 << 20;

const COUNT = 100;

/**
 * Applies `steps` random operations to three buffers on the device and to three arrays in the CPU's memory,
 * and compares the buffers with the arrays.
 */
async function checkRandomProgram(backend: Backend, steps: number, seed: number): Promise<void> {
  const random = uniform(seed), pick = (count: number) => Math.floor(random() * count);
  const host = [0, 1, 2].map((b) => Float32Array.from({ length: COUNT }, (_, i) => b + i));
  const device = host.map((values) => upload(backend, values)), unused = upload(backend, filled(1, 0));
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
      default: {
        const scale = 1 + step % 3, params = { rows: 1, cols: COUNT, offset: 0, has_index: 0, scale };
        const buffers = { x: device[from], index: unused, factors: unused, y: device[to] };
        backend.dispatch(addRows, buffers, params);
        for (let i = 0; i < COUNT; i++) host[to][i] += scale * host[from][i];
        // Small integers are exact in f32, so the results can differ only by the order of the operations.
        if (host[to].some((value) => value > 2 ** 16)) {
          backend.clear(device[to]);
          host[to].fill(0);
        }
      }
    }
  }
  for (const b of [0, 1, 2]) assertSame(await downloadF32(backend, device[b]), host[b]);
  for (const buffer of [...device, unused]) buffer.destroy();
}

eachExecutor("a backend", (backend) => {
  for (const seed of [1, 2, 3, 4]) {
    it(`runs the 300 steps of a random program in the order of the calls (seed ${seed})`, () =>
      checkRandomProgram(backend(), 300, seed));
  }

  it("reads a part of a buffer", async () => {
    const buffer = upload(backend(), Uint32Array.of(1, 2, 3, 4, 5));
    const part = new Uint32Array((await backend().read(buffer, 4, 8)).buffer);
    assert.deepEqual([...part], [2, 3]);
    buffer.destroy();
  });

  it("gives queued commands and reads the contents that a buffer has when they are queued", async () => {
    const source = upload(backend(), filled(MANY, 1)), target = upload(backend(), filled(MANY, 0));
    const last = upload(backend(), filled(MANY, 0));
    copyRow(backend(), source, target, MANY);
    backend().write(source, 0, bytesOf(filled(MANY, 2)));
    copyRow(backend(), source, last, MANY);
    backend().write(source, 0, bytesOf(filled(MANY, 3)));
    const reading = downloadU32(backend(), target);
    backend().clear(target);
    const cleared = downloadU32(backend(), target);
    backend().write(target, 0, bytesOf(filled(MANY, 9)));
    assertSame(await reading, filled(MANY, 1));
    assertSame(await cleared, filled(MANY, 0));
    assertSame(await downloadU32(backend(), last), filled(MANY, 2));
    assertSame(await downloadU32(backend(), source), filled(MANY, 3));
    for (const buffer of [source, target, last]) buffer.destroy();
  });

  it("keeps the contents that queued commands need if a new buffer gets the memory of a destroyed one", async () => {
    const source = upload(backend(), filled(MANY, 1)), target = upload(backend(), filled(MANY, 0));
    for (let i = 0; i < 3; i++) {
      const temporary = backend().createBuffer("temporary", 4 * MANY);
      copyRow(backend(), source, temporary, MANY);
      copyRow(backend(), temporary, target, MANY);
      temporary.destroy();
      temporary.destroy();
    }
    const written = upload(backend(), filled(MANY, 2));
    assertSame(await downloadU32(backend(), target), filled(MANY, 1));
    for (let round = 1; round <= 6; round++) {
      const operand = upload(backend(), filled(MANY, round));
      copyRow(backend(), operand, target, MANY);
      operand.destroy();
      upload(backend(), filled(MANY, 99)).destroy();
    }
    assertSame(await downloadU32(backend(), target), filled(MANY, 6));
    assertSame(await downloadU32(backend(), written), filled(MANY, 2));
    for (const buffer of [source, target, written]) buffer.destroy();
  });

  it("counts dispatches, transferred bytes and allocated bytes", async () => {
    const before = { ...backend().counters };
    const a = upload(backend(), filled(100, 7)), b = backend().createBuffer("b", 399);
    copyRow(backend(), a, b, 100);
    await backend().read(b, 40, 80);
    a.destroy();
    a.destroy();
    assert.equal(b.byteLength, 400);
    const { dispatches, bytesWritten, bytesRead, bytesLive } = backend().counters;
    assert.deepEqual([dispatches - before.dispatches, bytesWritten - before.bytesWritten], [1, 400]);
    assert.deepEqual([bytesRead - before.bytesRead, bytesLive - before.bytesLive], [80, 400]);
    b.destroy();
    assert.equal(backend().counters.bytesLive, before.bytesLive);
    assert.ok(backend().counters.bytesPeak >= before.bytesLive + 800);
  });

  it("rejects byte ranges that do not consist of whole words or extend past the end", async () => {
    const short = backend().createBuffer("short", 10), other = backend().createBuffer("other", 4);
    assert.equal(short.byteLength, 12);
    const throws = (call: () => void, message: RegExp) =>
      assert.throws(call, { name: "RangeError", message });
    throws(() => backend().write(short, 2, new Uint8Array(4)), /write to short: byte offset.*got 2/);
    throws(() => backend().write(short, 0, new Uint8Array(3)), /byte length.*got 3/);
    throws(() => backend().write(short, 8, new Uint8Array(8)), /short: bytes 8 to 16.*12/);
    throws(() => backend().copy(short, 0, other, 0, 8), /copy to other/);
    assert.throws(() => backend().copy(short, 0, short, 4, 8), /copy within .*short/);
    await assert.rejects(backend().read(short, 0, 16), { name: "RangeError", message: /read from short/ });
    await assert.rejects(backend().read(short, -4, 4), { name: "RangeError" });
    for (const buffer of [short, other]) buffer.destroy();
  });

  it("rejects a dispatch that does not match the declaration", async () => {
    const source = upload(backend(), filled(4, 0), "the source"), target = upload(backend(), filled(4, 0));
    const { dispatches } = backend().counters;
    const params = { rows: 1, cols: 4, source_offset: 0, source_ld: 4, target_offset: 0, target_ld: 4 };
    const given: (buffers: object, params: object) => void = (b, p) =>
      backend().dispatch(copy2d, b as { source: DeviceBuffer; target: DeviceBuffer }, p as typeof params);
    const throws = (buffers: object, p: object, message: RegExp, name = "TypeError") =>
      assert.throws(() => given(buffers, p), { name, message });
    throws({ source }, params, /copy2d: binding target is missing/);
    throws({ source, target, more: target }, params, /copy2d: the kernel has no binding more/);
    throws(
      { source, target: source },
      params,
      /source and target are both the source, which the kernel writes/,
    );
    throws({ source: { label: "alien" }, target }, params, /alien/);
    throws({ source, target }, { ...params, rows: undefined }, /parameter rows must be a number/);
    throws({ source, target }, { ...params, depth: 1 }, /no parameter depth/);
    for (const rows of [-1, 1.5, 2 ** 32, NaN]) {
      throws({ source, target }, { ...params, rows }, /parameter rows must be an integer.*got/, "RangeError");
    }
    source.destroy();
    assert.throws(() => given({ source, target }, params), /destroyed/);
    assert.equal(backend().counters.dispatches, dispatches);
    target.destroy();
    await backend().finish();
  });

  it("rejects a buffer of another backend", async () => {
    const other = await createCpuBackend({ threads: 0 }), foreign = upload(other, filled(4, 0), "foreign");
    assert.throws(() => backend().clear(foreign), { name: "TypeError", message: /foreign/ });
    await other.dispose();
  });
});
