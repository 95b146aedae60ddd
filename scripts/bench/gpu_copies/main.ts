/**
 * `deno task gpu:copies` counts the copies on the host and the waits for the device of single requests, on the
 * WebGPU adapter of the machine. With `--save NAME`, the counts are stored in `results/gpu_copies.json` under
 * that name.
 */

import { parseArgs } from "node:util";
import { readResultsIfPresent, resultsUrl, writeResults } from "../report/results_file.ts";
import { countRequest, type RequestCounts } from "./count_request.ts";
import { openBehindPort } from "./host_in_thread.ts";
import { type GpuCopies, gpuCopiesTable } from "./table.ts";

/** The staging memory of writes that the backend has by default on a hardware GPU. */
const UPLOAD_BYTES = 512 * 2 ** 20;

/**
 * The counted requests. The large layer is pruned by magnitude, which needs no factorisation, so that it can be
 * counted on an adapter that is emulated on the CPU.
 */
const REQUESTS = [
  { rows: 768, cols: 768, dtype: "F32", query: "method=sparsegpt" },
  { rows: 2048, cols: 2048, dtype: "BF16", query: "method=sparsegpt" },
  { rows: 12288, cols: 12288, dtype: "BF16", query: "method=magnitude" },
] as const;

const { values } = parseArgs({ args: Deno.args, options: { save: { type: "string" } } });
const requests: RequestCounts[] = [];
let adapter = "";
for (const request of REQUESTS) {
  requests.push(
    await countRequest(async () => {
      const backend = await openBehindPort({ uploadBytes: UPLOAD_BYTES });
      adapter = backend.adapter.name;
      return backend;
    }, request),
  );
}
const state = values.save ?? "now", file = resultsUrl("gpu_copies", "json");
const stored = (await readResultsIfPresent<GpuCopies>(file))?.states ?? [];
const states = [...stored.filter((other) => other.state !== state), { state, requests }];
console.log(gpuCopiesTable({ states }));
if (values.save) await writeResults(file, { backend: "webgpu", adapter }, { states });
