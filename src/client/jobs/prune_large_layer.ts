/** Prunes a layer that exceeds the body limit of an edge. Its tensors are uploaded, and a job of this one layer prunes it. */

import type { LayerQuery } from "../../protocol/layer_query.ts";
import { PROBLEMS } from "../../protocol/problem_codes.ts";
import type { CallOptions, TransportOptions } from "../transport.ts";
import { MalformedAnswerError, PareError } from "../errors.ts";
import type { LayerTensors, PrunedLayer } from "../layer_file.ts";
import { JobFailedError, pruneByJob } from "./prune_by_job.ts";

const LAYER_NAME = "layer";

/**
 * Whether a request failed at the body limit of an edge, so that the tensors can be uploaded instead. The error of an edge has the URL of
 * its uploads, and that of a proxy in front of the edge is not problem+json. A host accepts no uploads.
 */
export function isOverEdgeBodyLimit(error: unknown): boolean {
  if (!(error instanceof PareError && error.status === 413)) return false;
  return error.uploads !== undefined || error.code === "unknown";
}

/**
 * Prunes one layer by a job.
 * @param query the parameters. `hessian` is ignored, because `tensors` has the statistics
 * @throws {PareError} with the code and the detail of the job's error, if the layer fails
 */
export async function pruneLargeLayer(
  edge: TransportOptions,
  tensors: LayerTensors,
  query: LayerQuery,
  options: CallOptions,
): Promise<PrunedLayer> {
  const { hessian: _, ...parameters } = query;
  try {
    for await (const layer of pruneByJob(edge, [{ name: LAYER_NAME, tensors, parameters }], options)) {
      const { name: _, ...pruned } = layer;
      return pruned;
    }
  } catch (error) {
    if (!(error instanceof JobFailedError)) throw error;
    const [{ code, detail }] = error.failures;
    throw new PareError(statusOf(code), { code, detail });
  }
  throw new MalformedAnswerError("job: ended without a result of its layer");
}

/** Returns the HTTP status of a code. A job also has codes that are not problems of the contract, such as `cancelled`. */
function statusOf(code: string): number {
  return Object.hasOwn(PROBLEMS, code) ? PROBLEMS[code as keyof typeof PROBLEMS].status : 500;
}
