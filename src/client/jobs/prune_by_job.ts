/** Prunes layers by one job: uploads their tensors, submits the job, and downloads each result when it is done. */

import { joinedItems, printableLine } from "../../base/texts.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { PROBLEMS } from "../../protocol/problem_codes.ts";
import { MalformedAnswerError, PareError } from "../errors.ts";
import type { LayerTensors, PrunedLayer } from "../layer_file.ts";
import { encodeParts } from "../../tensor/safetensors/encode.ts";
import type { CallOptions, TransportOptions } from "../transport.ts";
import { type FollowOptions, type JobLayerRequest, Jobs, type SubmitOptions } from "./jobs.ts";
import { Uploads } from "./uploads.ts";

/**
 * A layer whose tensors are in memory. Layers share one blob of statistics, which is factored once, if their
 * `hessian_upper` is the same object and so are their validation statistics.
 */
export interface LayerToUpload extends Pick<JobLayerRequest, "name" | "parameters"> {
  /** The tensors of the layer. */
  readonly tensors: LayerTensors;
}

/** Uploads the blobs of `layers` one by one, and returns the layers for a job. @throws as `Uploads.uploadBlob` */
export async function uploadLayers(
  uploads: Uploads,
  layers: readonly LayerToUpload[],
  signal?: AbortSignal,
): Promise<JobLayerRequest[]> {
  const blobs: { readonly statistics: StoredStatistics; readonly digest: string }[] = [];
  const requests: JobLayerRequest[] = [];
  for (const { name, tensors, parameters } of layers) {
    const { hessian_upper, validation_hessian, validation_hessian_upper, ...others } = tensors;
    const statistics = { hessian_upper, validation_hessian, validation_hessian_upper };
    let hessian: string | undefined;
    if (hessian_upper) {
      hessian = blobs.find((blob) => hasSameTensors(blob.statistics, statistics))?.digest;
      if (hessian === undefined) {
        hessian = await uploads.uploadBlob(new Blob(encodeParts(Object.entries(statistics))), { signal });
        blobs.push({ statistics, digest: hessian });
      }
    }
    // A layer that names stored statistics cannot have validation statistics of its own.
    const parts = encodeParts(Object.entries(hessian_upper ? others : tensors));
    requests.push({
      name,
      weight: await uploads.uploadBlob(new Blob(parts), { signal }),
      hessian,
      parameters,
    });
  }
  return requests;
}

type StoredStatistics = Pick<
  LayerTensors,
  "hessian_upper" | "validation_hessian" | "validation_hessian_upper"
>;

function hasSameTensors(a: StoredStatistics, b: StoredStatistics): boolean {
  return a.hessian_upper === b.hessian_upper && a.validation_hessian === b.validation_hessian &&
    a.validation_hessian_upper === b.validation_hessian_upper;
}

/** Options of {@link pruneByJob}. */
export interface PruneByJobOptions extends SubmitOptions, FollowOptions {}

/** A layer that a job has pruned. */
export interface SolvedJobLayer extends PrunedLayer {
  /** The name of the layer in the job. */
  readonly name: string;
}

/** The error codes of layers that may succeed in another job. `cancelled` is not one, as somebody ended that job. */
const TRANSIENT_LAYER_CODES: ReadonlySet<string> = new Set([
  "no_device",
  "device_lost",
  "shutting_down",
  "busy",
]);

/** A layer of a job that failed. */
export interface LayerFailure {
  /** The name of the layer. */
  readonly name: string;
  /** An error code of the HTTP API, or `cancelled`. */
  readonly code: string;
  /** A description for people. */
  readonly detail: string;
}

/** Some layers of a job failed. The results of its other layers are not affected. */
export class JobFailedError extends Error {
  /** The name of the class. It is the same after a program is minified. */
  override readonly name = "JobFailedError";
  /** The id of the job. */
  readonly job: string;
  /** The failed layers, each with the code and the detail of its error. */
  readonly failures: readonly LayerFailure[];

  /** Makes the error of the job with the id `job`. */
  constructor(job: string, failures: readonly LayerFailure[]) {
    const texts = failures.map(({ name, code, detail }) => `${name}: ${code}: ${detail}`);
    super(printableLine(`job ${job}: ${joinedItems(texts, "; ")}`));
    this.job = job;
    this.failures = failures;
  }

  /** Whether all failed layers may succeed in another job. */
  get isTransient(): boolean {
    return this.failures.every(({ code }) => TRANSIENT_LAYER_CODES.has(code));
  }
}

/**
 * Prunes `layers` at an edge and yields each of them once, in the order in which they are done.
 * @throws {JobFailedError} when the job has ended, if any layer failed
 * @throws {MalformedAnswerError} if a result is not the requested layer
 * @throws {PareError} {ConnectionError} as `Uploads.uploadBlob` and the methods of `Jobs`
 */
export async function* pruneByJob(
  edge: TransportOptions,
  layers: readonly LayerToUpload[],
  options: PruneByJobOptions = {},
): AsyncGenerator<SolvedJobLayer, void, void> {
  const jobs = new Jobs(edge), { signal } = options;
  const { id } = await jobs.submit(await uploadLayers(new Uploads(edge), layers, signal), options);
  const failures: LayerFailure[] = [];
  for await (const layer of jobs.follow(id, options)) {
    if (layer.error) failures.push({ name: layer.name, ...layer.error });
    else {
      const request = layers.find(({ name }) => name === layer.name);
      yield { name: layer.name, ...await jobs.result(layer, { request, signal }) };
    }
  }
  if (failures.length > 0) throw new JobFailedError(id, failures);
}

const LAYER_NAME = "layer";

/** Whether a request exceeded a body limit. An edge then names its URL for uploads, and a proxy sends no problem. */
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

/** Returns the HTTP status of a code. Codes of jobs that are not in the contract, such as `cancelled`, have 500. */
function statusOf(code: string): number {
  return Object.hasOwn(PROBLEMS, code) ? PROBLEMS[code as keyof typeof PROBLEMS].status : 500;
}
