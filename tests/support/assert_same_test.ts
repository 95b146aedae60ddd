import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { assertSame } from "./assert_same.ts";

const LENGTH = 1 << 20, zeros = new Float32Array(LENGTH);

describe("assertSame()", () => {
  for (
    const [what, make] of [
      ["numbers", () => new Float32Array([1, NaN, -0])],
      ["lists of numbers and texts", () => [[1, 2], ["a", undefined], new Uint8Array(2)]],
      [
        "tensors by their names",
        () => new Map([["w", { dtype: "F32", shape: [2], data: new Uint8Array(8) }]]),
      ],
      ["objects, whatever the order of their members", () => ({ a: 1, b: { c: null }, d: 2n })],
      ["values without members", () => "text"],
    ] as const
  ) {
    it(`accepts ${what}`, () => assertSame(make(), make()));
  }
  it("accepts objects with their members in another order", () => assertSame({ a: 1, b: 2 }, { b: 2, a: 1 }));

  for (
    const [actual, expected, message] of [
      [
        zeros.with(7, 1).with(9, 2),
        zeros,
        /^values: 2 of 1048576 elements differ, the first is element 7, which is 1 and must be 0$/,
      ],
      [zeros.with(0, -0), zeros, /element 0, which is -0 and must be 0$/],
      [zeros.subarray(1), zeros, /^the length of values is 1048575 and must be 1048576$/],
      [
        new Map([["w", { data: zeros.with(3, 1) }]]),
        new Map([["w", { data: zeros }]]),
        /^values w data: 1 of 1048576 /,
      ],
      [[[1], [2, 3]], [[1], [2, 4]], /^values 1: 1 of 2 elements differ/],
      [
        { shape: [1] },
        { shape: [1], data: zeros },
        /^the members of values is shape and must be data, shape$/,
      ],
      [new Uint8Array(LENGTH), Buffer.alloc(LENGTH), /^the type of values is Uint8Array and must be Buffer$/],
      [new Map([["a", 1]]), { a: 1 }, /^the type of values is Map and must be Object$/],
      [undefined, zeros, /^the type of values is undefined and must be Float32Array$/],
      [{ a: null }, { a: zeros }, /^the type of values a is null and must be Float32Array$/],
      [new Date(0), new Date(1), /^values/],
      [[], [zeros], /^the members of values is \s*and must be 0$/],
    ] as const
  ) {
    it(`refuses other values with a short message: ${message.source.slice(0, 40)}`, () => {
      assert.throws(() => assertSame(actual, expected), (error: Error) => {
        assert.match(error.message, message);
        assert.ok(error.message.length < 200, `the message has ${error.message.length} characters`);
        return true;
      });
    });
  }
});
