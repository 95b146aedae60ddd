/**
 * `deno task first-light`: the first minutes on an unknown GPU. Writes all figures and a page into a folder.
 * With `--save`, the fastest shaders are also stored for this adapter in `src/device/webgpu/tunings.json`.
 */

import { parseArgs } from "node:util";
import { requestAdapter } from "../../src/device/webgpu/device.ts";
import { saveTuning } from "./save_tuning.ts";
import { firstLight } from "./first_light.ts";

const { values } = parseArgs({
  args: Deno.args,
  options: { out: { type: "string", default: "out/first_light" }, save: { type: "boolean", default: false } },
});
const { adapter, limits = [], failures, checks = [], tuning, date } = await firstLight(values.out);
console.log(`\n${adapter}`);
for (const { what, passed, message } of checks) {
  console.log(`${passed ? "passed" : `FAILED: ${message}`}: ${what}`);
}
for (const [i, { what, seconds, share }] of limits.entries()) {
  console.log(`${i + 1}. ${what}: ${(1000 * seconds).toFixed(2)} ms, ${(100 * share).toFixed(1)} %`);
}
console.log(`\n${values.out}/index.html shows all figures.`);
if (values.save && tuning) await saveTuning((await requestAdapter()).info, tuning, date);
if (Object.keys(failures).length > 0 || checks.some(({ passed }) => !passed)) Deno.exitCode = 1;
