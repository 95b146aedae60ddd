/**
 * `deno task tune`: times every shader of the kernels that take most of a solve's time, on the WebGPU adapter of this machine.
 * `--runtime dawn` times the matrix products with Dawn, the WebGPU of Chromium, which can use the matrix units of a GPU.
 */

import { parseArgs } from "node:util";
import { describeAdapter, requestAdapter } from "../../src/device/webgpu/device.ts";
import { parseRuntime } from "../../src/device/webgpu/runtimes/runtime.ts";
import { markdownTable } from "../bench/report/markdown_table.ts";
import { measureKernels } from "./kernel_rates.ts";

const { values } = parseArgs({ options: { runtime: { type: "string", default: "deno" } } });
const runtime = parseRuntime(values.runtime, "option --runtime");
const adapter = await requestAdapter(false, runtime), { name, software } = describeAdapter(adapter);
// An adapter that emulates a GPU on the processor takes minutes for a large product.
const sizes = software ? { order: 128, rounds: 1 } : { order: 4096, rounds: 5 };
const rates = await measureKernels({ ...sizes, runtime, productsOnly: runtime === "dawn" });
console.log(`${name}, matrices of order ${sizes.order}\n`);
console.log(markdownTable(
  [
    ["kernel", ({ kernel }) => kernel],
    ["shader", ({ variant }) => variant],
    ["ms", ({ seconds }) => (1000 * seconds).toFixed(2)],
    ["TFLOP/s", ({ gflops }) => (gflops / 1000).toFixed(3)],
    ["GB/s", ({ gigabytesPerSecond }) => gigabytesPerSecond.toFixed(1)],
  ],
  rates,
  1,
));
