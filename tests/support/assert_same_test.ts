import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { assertSame } from "./assert_same.ts";

const zeros = new Float32Array(1 << 20);

it("assertSame() accepts equal values, whatever the order of the members of objects", () => {
  assertSame(new Float32Array([1, NaN, -0]), new Float32Array([1, NaN, -0]));
  assertSame({ a: [1, undefined], b: new Map([["w", { d: 2n }]]) }, {
    b: new Map([["w", { d: 2n }]]),
    a: [1, undefined],
  });
});

for (
  const [actual, expected, message] of [
    [zeros.with(7, 1).with(9, 2), zeros, /^values: 2 of 1048576 elements differ, the first is element 7, /],
    [zeros.with(0, -0), zeros, /element 0, which is -0 and must be 0$/],
    [zeros.subarray(1), zeros, /^the length of values is 1048575 and must be 1048576$/],
    [new Map([["w", { data: [1] }]]), new Map([["w", { data: [0] }]]), /^values w data: 1 of 1 /],
    [{ shape: [1] }, { shape: [1], data: zeros }, /^the members of values is shape and must be data, shape$/],
    [new Map([["a", 1]]), { a: 1 }, /^the type of values is Map and must be Object$/],
    [{ a: null }, { a: zeros }, /^the type of values a is null and must be Float32Array$/],
    [new Date(0), new Date(1), /^values/],
  ] as const
) {
  it(`assertSame() refuses other values with a short message: ${message.source.slice(0, 40)}`, () =>
    assert.throws(() => assertSame(actual, expected), (error: Error) => {
      assert.match(error.message, message);
      assert.ok(error.message.length < 200, `the message has ${error.message.length} characters`);
      return true;
    }));
}
