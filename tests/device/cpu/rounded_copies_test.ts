/** Tests when operands are rounded again, and which copies are freed. No library is needed, because the owner only records its calls. */

import { beforeEach, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { CpuBuffer } from "../../../src/device/cpu/buffer.ts";
import { RoundedCopies } from "../../../src/device/cpu/products/rounded_copies.ts";

const MIB = 2 ** 20;

describe("RoundedCopies", () => {
  let copies: RoundedCopies, calls: string[], next: number;

  beforeEach(() => {
    calls = [], next = 100;
    copies = new RoundedCopies({
      allocate: (label, bytes) => {
        calls.push(`allocate ${bytes} for ${label}`);
        return next += 100;
      },
      retire: (address, bytes) => calls.push(`retire ${bytes} at ${address}`),
      round: ({ label }, address) => calls.push(`round ${label} at ${address}`),
    });
  });

  const buffer = (label: string, bytes: number) =>
    new CpuBuffer({ release: (released) => copies.free(released) }, label, 0, bytes);
  const take = () => calls.splice(0);

  it("rounds each operand once, until it changes", () => {
    const a = buffer("a", 12), b = buffer("b", 16);
    assert.deepEqual(copies.addresses([a, b]), [200, 300]);
    assert.deepEqual(take(), [
      ...["allocate 8 for bfloat16 copy of a", "round a at 200"],
      ...["allocate 8 for bfloat16 copy of b", "round b at 300"],
    ]);
    assert.deepEqual(copies.addresses([b, a]), [300, 200]);
    assert.deepEqual(take(), []);
    copies.markChanged(a);
    copies.addresses([a, b]);
    assert.deepEqual(take(), ["round a at 200"]);
  });

  it("makes one copy of an operand that is bound twice", () => {
    const x = buffer("x", 8);
    assert.deepEqual(copies.addresses([x, x]), [200, 200]);
    assert.deepEqual(take(), ["allocate 4 for bfloat16 copy of x", "round x at 200"]);
  });

  it("lets a kernel round an output whose copy is current, or whose elements it all overwrites", () => {
    const y = buffer("y", 16);
    assert.equal(copies.writtenBy(y, 4), 0); // No product has read an output of this name.
    copies.addresses([y]);
    assert.equal(copies.writtenBy(y, 3), 200); // The copy already has the last element.
    copies.markChanged(y);
    assert.equal(copies.writtenBy(y, 3), 0);
    assert.equal(copies.writtenBy(y, 4), 200);
    take();
    copies.addresses([y]);
    assert.deepEqual(take(), []);
  });

  it("makes a copy of a new output if an output of the same name had one", () => {
    const first = buffer("y", 16), second = buffer("y", 16);
    copies.addresses([first]);
    first.destroy();
    take();
    assert.equal(copies.writtenBy(second, 3), 0);
    assert.equal(copies.writtenBy(second, 4), 300);
    assert.deepEqual(copies.addresses([second]), [300]);
    assert.deepEqual(take(), ["allocate 8 for bfloat16 copy of y"]);
  });

  it("makes no copy of a new output if it would have to free others", () => {
    copies.addresses([buffer("y", 4)]);
    copies.addresses([buffer("x", 400 * MIB)]);
    assert.equal(copies.writtenBy(buffer("y", 200 * MIB), 50 * MIB), 0);
  });

  it("frees the copy of a destroyed operand", () => {
    const a = buffer("a", 8);
    copies.addresses([a, a]);
    take();
    a.destroy();
    assert.deepEqual(take(), ["retire 4 at 200"]);
  });

  it("frees the copies that were used least recently if 256 MiB are full, but none of the same product", () => {
    const [a, b, c] = ["a", "b", "c"].map((label) => buffer(label, 200 * MIB));
    copies.addresses([a, b]);
    take();
    assert.deepEqual(copies.addresses([a, c]), [200, 400]);
    assert.deepEqual(take(), [
      `retire ${100 * MIB} at 300`,
      `allocate ${100 * MIB} for bfloat16 copy of c`,
      "round c at 400",
    ]);
  });

  it("rounds nothing if the operands of one product need more than 256 MiB", () => {
    const a = buffer("a", 300 * MIB), b = buffer("b", 300 * MIB);
    assert.deepEqual(copies.addresses([a, b]), [0, 0]);
    assert.deepEqual(take(), []);
    assert.deepEqual(copies.addresses([a, a]), [200, 200]);
  });
});
