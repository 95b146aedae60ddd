/**
 * The public interface of Pare's SDK for TypeScript. Everything that a program outside this repository needs is exported here.
 *
 * @example
 * ```ts
 * import { decode, Pare } from "./src/client/mod.ts";
 *
 * const pare = new Pare({ baseUrl: "http://127.0.0.1:8000" });
 * const { tensors } = decode(await Deno.readFile("tests/fixtures/layers/layer.safetensors"));
 * const { weight, report } = await pare.pruneLayer(
 *   { weight: tensors.get("weight")!, inputs: tensors.get("inputs")! },
 *   { sparsity: 0.5 },
 * );
 * ```
 */

export { type HostDescription, Pare } from "./pare.ts";
export { PareHosts, type PareHostsOptions } from "./pare_hosts.ts";
export { PareJobs, type PareJobsOptions } from "./jobs/pare_jobs.ts";
export type { PollOptions } from "./jobs/follow_or_resubmit.ts";

export {
  type FollowOptions,
  type JobLayerRequest,
  Jobs,
  type ListOptions,
  type SubmitOptions,
} from "./jobs/jobs.ts";
export {
  JobFailedError,
  pruneByJob,
  type PruneByJobOptions,
  type SolvedJobLayer,
} from "./jobs/prune_by_job.ts";
export type { LayerToUpload } from "./jobs/upload_layers.ts";
export { type UploadOptions, type UploadProgress, Uploads } from "./jobs/uploads.ts";
export type { BlobSource } from "./jobs/blob_source.ts";
export { type EdgeHost, listEdgeHosts } from "./jobs/list_edge_hosts.ts";

export { ConnectionError, PareError } from "./errors.ts";
export type { CallOptions } from "./call_options.ts";
export type { TransportOptions } from "./transport.ts";
export type { TransientError } from "./retry.ts";
export type { LayerTensors, PrunedLayer } from "./layer_file.ts";
export type { LayerQuery } from "../protocol/layer_query.ts";
export type { ModelPruner, ModelQuery, QueryOf } from "./model_pruner.ts";
export type { LayerGroup, ModelSource, SourceLayer } from "./model_source.ts";
export type { DoneEvent, LayerEvent, PruneEvent, StartEvent } from "./events.ts";

export type { Digest } from "../protocol/digest.ts";
export type { Job, JobList, JobState, JobSummary, LayerState } from "../protocol/edge/jobs.ts";
export type { Report } from "../protocol/report.ts";
export { decode } from "../safetensors/decode.ts";
export { encode } from "../safetensors/encode.ts";
export { SafetensorsError } from "../safetensors/error.ts";
export type { HostTensor } from "../tensor/host_tensor.ts";
export type { QuantizedWeight } from "../tensor/quantized_weight.ts";
