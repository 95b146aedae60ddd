/** A layer that is over an edge's body limit: a job of that one layer solves it, over blobs. */

import { PROBLEMS } from "../../protocol/problem.ts";
import type { CallOptions } from "../call_options.ts";
import { PareError } from "../errors.ts";
import { JobFailedError, pruneByJob } from "./job_layers.ts";
import type { LayerTensors, PrunedLayer } from "../layer_file.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { TransportOptions } from "../transport.ts";

/** How the one layer of its job is called. */
const NAME = "layer";

/**
 * Whether a refusal is that of a body limit with another way past it: an edge's, which names it, or that of what stands before the
 * edge and speaks no problem+json.
 */
export function isOverBodyLimit(error: unknown): boolean {
  if (!(error instanceof PareError && error.status === 413)) return false;
  return error.uploads !== undefined || error.code === "unknown";
}

/**
 * Solves one layer by a job.
 * @param query its `hessian` is not used: the statistics are in `tensors`
 * @throws {PareError} the code and detail that the job tells of the layer; else as `pruneByJob`
 */
export async function pruneLargeLayer(
  edge: TransportOptions,
  tensors: LayerTensors,
  query: LayerQuery,
  options: CallOptions,
): Promise<PrunedLayer> {
  const { hessian: _, ...parameters } = query;
  try {
    for await (const layer of pruneByJob(edge, [{ name: NAME, tensors, parameters }], options)) {
      return { weight: layer.weight, mask: layer.mask, report: layer.report };
    }
  } catch (error) {
    if (!(error instanceof JobFailedError)) throw error;
    const [{ code, detail }] = error.failures;
    throw new PareError(statusOf(code), { code: code as keyof typeof PROBLEMS, detail });
  }
  throw new TypeError("job: it ended without telling of its layer");
}

/** The job tells a code that need not be of the contract's problems: `cancelled`. */
function statusOf(code: string): number {
  return Object.hasOwn(PROBLEMS, code) ? PROBLEMS[code as keyof typeof PROBLEMS].status : 500;
}
