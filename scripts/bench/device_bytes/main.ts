/**
 * The memory bench of the methods sends a layer of 4096×4096 weights to a host, which is the server that
 * solves layers, once for every method. It compares the device memory that the host uses with the bound that
 * the host computes before it accepts the layer. The host must refuse `obc` for a layer over its size limit
 * (`src/solvers/obc/obc_limit.ts`), and accept all other requests. The bench fails if it does not, or if a method uses more memory
 * than its bound. It writes results/device_bytes.json.
 *
 *     deno run -A scripts/run_with_v8_flags.ts run -A scripts/bench/device_bytes/main.ts
 */

import { Command } from "commander";
import { integer } from "../../../src/cli/options/common_options.ts";
import type { LayerQuery } from "../../../src/protocol/layer_query.ts";
import { createCpuBackend } from "../../../src/cpu/backend.ts";
import { MAX_OBC_COLUMNS, MAX_OBC_WORK } from "../../../src/solvers/obc/obc_limit.ts";
import { resultsUrl, writeResults } from "../report/results_file.ts";
import { type DeviceBytes, measureDeviceBytes } from "./bench_device_bytes.ts";
import { deviceBytesTable } from "./table.ts";

const QUERIES: readonly LayerQuery[] = [
  { method: "sparsegpt" },
  { method: "sparsegpt", refit: 10 },
  { method: "sparsegpt", bits: 4 },
  { method: "magnitude" },
  { method: "wanda" },
  { method: "adaprune" },
  { method: "alps" },
  { method: "alps", bits: 4 },
  { method: "obc" },
];

const { order } = new Command("bench device_bytes")
  .description("Measures the device memory of every method for one large layer, through HTTP.")
  .option("--order <n>", "rows and columns of the layer", integer(64), 4096)
  .parse(Deno.args, { from: "user" }).opts<{ order: number }>();

const layers: DeviceBytes[] = [];
for (const query of QUERIES) {
  const measured = await measureDeviceBytes(order, query);
  layers.push(measured);
  console.error(measured.refusal ?? `${query.method}: ${measured.peakBytes} of ${measured.boundBytes} bytes`);
}
console.log(deviceBytesTable({ layers }));
const backend = await createCpuBackend();
await writeResults(resultsUrl("device_bytes", "json"), {
  backend: backend.kind,
  adapter: backend.adapter.name,
}, { layers });
await backend.dispose();
const isOverObcLimit = order > MAX_OBC_COLUMNS || order ** 4 > MAX_OBC_WORK;
const isWrong = ({ peakBytes, boundBytes, query, refusal }: DeviceBytes) =>
  peakBytes > boundBytes || (refusal !== undefined) !== (query.method === "obc" && isOverObcLimit);
if (layers.some(isWrong)) Deno.exit(1);
