/** Small kernels for the tests of the WebGPU backend. */

import { defineKernel, type Grid } from "../../../src/device/kernels/kernel.ts";

const HEADER = `
struct Params { count: u32, step: f32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;
`;

/** Declares a kernel whose shader runs `body` for each i < count. */
function declare(name: string, body: string, grid?: (p: Readonly<Record<"count" | "step", number>>) => Grid) {
  return defineKernel({
    cases: () => [],
    name,
    bindings: { x: "read", y: "read_write" },
    params: { count: "u32", step: "f32" },
    shader: {
      code: `${HEADER}\n@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {\n` +
        `  let i = id.x;\n  if i >= params.count { return; }\n  ${body}\n}\n`,
      entryPoint: "main",
      grid: grid ?? ((p) => [Math.ceil(p.count / 64), 1, 1]),
    },
  });
}

/** y[i] ← y[i]·2 + x[i] + step for i < count. The result of several dispatches depends on their order. */
export const doubleAndAdd = declare("double_and_add", "y[i] = y[i] * 2.0 + x[i] + params.step;");

/** A kernel whose shader has a syntax error. */
export const malformed = declare("malformed", "y[i] = ;");

/** A kernel whose shader writes a binding that is declared as read. */
export const overreaching = defineKernel({
  cases: () => [],
  name: "overreaching",
  bindings: { y: "read" },
  params: { count: "u32" },
  shader: {
    code: `@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(1) fn main() { y[0] = 1.0; }`,
    entryPoint: "main",
    grid: () => [1, 1, 1],
  },
});

/** A kernel whose grid is over the limit along one axis. */
export const sprawling = declare("sprawling", "y[i] = 0.0;", () => [65536, 1, 1]);
