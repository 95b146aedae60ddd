/** Measures single layers of growing size: SparseGPT at 50 %, each size on a host in a process of its own. */

import type { BackendChoice, BlasChoice } from "../../../src/host/backends.ts";
import { messageOf } from "../../../src/text/message_of.ts";
import { startHost } from "../../processes/child_host.ts";
import { memoryBytes } from "../../processes/process_tree.ts";
import { factorFlops, solveFlops } from "../measure/flops.ts";
import { writeLayerFile } from "../measure/layer_file.ts";
import { postLayer } from "../measure/post_layer.ts";
import { median } from "../measure/statistics.ts";
import { formatSize } from "../report/markdown_table.ts";
import type { GrowthPoint, RefusedSize } from "./growth_results.ts";
import { repeatWithin } from "./repeat_within.ts";

/** The limits of the timed runs of one size, which follow one run that is not timed. A size has fewer runs if they take long. */
const LIMITS = { repeat: 7, budgetSeconds: 8 };

/** The backend and the library that the hosts use. */
export interface GrowthBackend {
  readonly backend: BackendChoice;
  readonly blas: BlasChoice;
}

/**
 * Measures a layer of (n, n). If the layer cannot be written, sent or solved, returns the reason, for example
 * that the backend has not enough memory for it.
 */
export async function measureLayer(
  n: number,
  { backend, blas }: GrowthBackend,
): Promise<GrowthPoint | RefusedSize> {
  const size = formatSize({ rows: n, cols: n });
  const path = await Deno.makeTempFile({ suffix: ".safetensors" });
  try {
    await writeLayerFile(path, n, n);
    const body = await Deno.readFile(path);
    await using host = await startHost(["--backend", backend, "--blas", blas]);
    const solve = async () => {
      const { report: { seconds } } = await postLayer(host, body, "sparsity=0.5&error=false");
      return seconds.factor + seconds.solve;
    };
    await solve();
    const runs = await repeatWithin(LIMITS, solve);
    return {
      size,
      flops: factorFlops(n) + solveFlops(n, n),
      seconds: median(runs),
      peakBytes: memoryBytes(host.pid, "VmHWM"),
      runs: runs.length,
    };
  } catch (error) {
    return { size, reason: messageOf(error) };
  } finally {
    await Deno.remove(path);
  }
}
