/** Uploads the tensors of layers to an edge, so that a job can name them by their digests. */

import type { HostTensor } from "../../tensor/host_tensor.ts";
import { encodeParts, type LayerTensors } from "../layer_file.ts";
import type { JobLayerRequest } from "./jobs.ts";
import type { Uploads } from "./uploads.ts";

/** A layer whose tensors are in memory. Layers with the same `hessian_upper` object share one blob, which is factored once. */
export interface LayerToUpload extends Pick<JobLayerRequest, "name" | "parameters"> {
  /** The tensors of the layer. */
  readonly tensors: LayerTensors;
}

/** Uploads the blobs of `layers` one after the other, and returns the layers with their digests. @throws as `Uploads.uploadBlob` */
export async function uploadLayers(
  uploads: Uploads,
  layers: readonly LayerToUpload[],
  signal?: AbortSignal,
): Promise<JobLayerRequest[]> {
  const hessianDigests = new Map<HostTensor, string>(), requests: JobLayerRequest[] = [];
  for (const { name, tensors: { hessian_upper, ...others }, parameters } of layers) {
    let hessian = hessian_upper && hessianDigests.get(hessian_upper);
    if (hessian_upper && hessian === undefined) {
      hessian = await uploads.uploadBlob(new Blob(encodeParts({ hessian_upper })), { signal });
      hessianDigests.set(hessian_upper, hessian);
    }
    const weight = await uploads.uploadBlob(new Blob(encodeParts(others)), { signal });
    requests.push({ name, weight, hessian, parameters });
  }
  return requests;
}
