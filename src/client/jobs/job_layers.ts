/**
 * Layers whose tensors are here, through a job: brings the tensors as blobs, starts the job and fetches each answer as it is
 * done. For layers that are too large for one request, and for many at once.
 */

import type { HostTensor } from "../../tensor/host_tensor.ts";
import { type FollowOptions, type JobLayerRequest, Jobs, type SubmitOptions } from "./jobs.ts";
import { encodeParts, type LayerTensors, type PrunedLayer } from "../layer_file.ts";
import type { TransportOptions } from "../transport.ts";
import { Uploads } from "./uploads.ts";

/** A layer with its tensors. Layers that are given the very same `hessian_upper` send it once, and share its factor. */
export interface JobLayer extends Pick<JobLayerRequest, "name" | "parameters"> {
  readonly tensors: LayerTensors;
}

/** A layer that is done. */
export interface DoneLayer extends PrunedLayer {
  readonly name: string;
}

/** Some layers of a job failed; the others' answers were given before. */
export class JobFailedError extends Error {
  override readonly name = "JobFailedError";

  constructor(
    readonly job: string,
    readonly failures: readonly { name: string; code: string; detail: string }[],
  ) {
    super(
      `job ${job}: ${failures.map(({ name, code, detail }) => `${name}: ${code}: ${detail}`).join("; ")}`,
    );
  }
}

/**
 * Prunes `layers` at an edge, and gives each once, in the order in which they are done.
 * @throws {JobFailedError} at the end, when any failed; {PareError} {ConnectionError} as `Uploads.uploadBlob` and `Jobs`
 */
export async function* pruneByJob(
  edge: TransportOptions,
  layers: readonly JobLayer[],
  options: SubmitOptions & FollowOptions = {},
): AsyncGenerator<DoneLayer, void, void> {
  const jobs = new Jobs(edge), { signal } = options;
  const { id } = await jobs.submit(await bringLayers(new Uploads(edge), layers, signal), options);
  const failures: JobFailedError["failures"][number][] = [];
  for await (const layer of jobs.follow(id, options)) {
    if (layer.error) failures.push({ name: layer.name, ...layer.error });
    else yield { name: layer.name, ...await jobs.result(layer, { signal }) };
  }
  if (failures.length > 0) throw new JobFailedError(id, failures);
}

/**
 * Brings the tensors of layers to an edge as blobs, and says what a job is to be told of them. One after the other: the parts of each go at
 * the same time.
 */
export async function bringLayers(
  uploads: Uploads,
  layers: readonly JobLayer[],
  signal?: AbortSignal,
): Promise<JobLayerRequest[]> {
  const shared = new Map<HostTensor, string>(), requests: JobLayerRequest[] = [];
  for (const { name, tensors: { hessian_upper, ...rest }, parameters } of layers) {
    let hessian = hessian_upper && shared.get(hessian_upper);
    if (hessian_upper && hessian === undefined) {
      hessian = await uploads.uploadBlob(new Blob(encodeParts({ hessian_upper })), { signal });
      shared.set(hessian_upper, hessian);
    }
    const weight = await uploads.uploadBlob(new Blob(encodeParts(rest)), { signal });
    requests.push({ name, weight, hessian, parameters });
  }
  return requests;
}
