/** Uploads layers, prunes them by one job at an edge, and downloads each result when it is done. */

import { joinedItems, printableLine } from "../../base/texts.ts";
import type { PrunedLayer } from "../layer_file.ts";
import type { TransportOptions } from "../transport.ts";
import { type FollowOptions, Jobs, type SubmitOptions } from "./jobs.ts";
import { type LayerToUpload, uploadLayers } from "./upload_layers.ts";
import { Uploads } from "./uploads.ts";

/** Options of {@link pruneByJob}. */
export interface PruneByJobOptions extends SubmitOptions, FollowOptions {}

/** A layer that a job has pruned. */
export interface SolvedJobLayer extends PrunedLayer {
  /** The name of the layer in the job. */
  readonly name: string;
}

/** The error codes of a layer that may succeed in another job. `cancelled` is not among them, because somebody ended that job. */
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
 * @throws {MalformedAnswerError} if a result is not the layer that was asked for
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
