/**
 * The public interface of Pare's SDK for TypeScript.
 *
 * @example
 * ```ts
 * import { Pare, tensorFromFloats } from "pare-llm-client";
 *
 * const pare = new Pare({ baseUrl: "http://127.0.0.1:8000" });
 * const weight = tensorFromFloats(Float32Array.from({ length: 64 * 96 }, Math.random), [64, 96]);
 * const inputs = tensorFromFloats(Float32Array.from({ length: 256 * 96 }, Math.random), [256, 96]);
 * const { report } = await pare.pruneLayer({ weight, inputs }, { pattern: "2:4" });
 * console.log(report.zeros);
 * ```
 *
 * @module
 */

export { type HostDescription, Pare } from "./pare.ts";
export { type CreateOptions, type RunRequest, Runs } from "./runs.ts";
export { PareHosts, type PareHostsOptions } from "./pare_hosts.ts";
export { BlockHost, type BlockStep, type PruneStep } from "./blocks/block_host.ts";
export type { SentRunOptions } from "../protocol/run/sent_run_options.ts";
export type { ExpectedBlock } from "./blocks/check_block.ts";
export type { AddedSums, LayerSums, TargetsRequest } from "./blocks/layer_sums.ts";
export type { BlockTensors, BodyPart, SentTensor, StoredBytes } from "./request_body.ts";
export type {
  ReconstructedBlock,
  SolvedBlock,
  SolvedBlockLayer,
  SumTokens,
  TargetDecision,
} from "../protocol/blocks/solved_block.ts";
export { PareJobs, type PareJobsOptions } from "./jobs/pare_jobs.ts";
export type { PollOptions } from "./jobs/solve_by_jobs.ts";

export {
  type FollowOptions,
  type JobBlockRequest,
  type JobLayerRequest,
  type JobModelRequest,
  Jobs,
  listEdgeHosts,
  type ListOptions,
  type ResultOptions,
  type SubmitOptions,
} from "./jobs/jobs.ts";
export {
  JobFailedError,
  type LayerFailure,
  type LayerToUpload,
  pruneByJob,
  type PruneByJobOptions,
  type SolvedJobLayer,
} from "./jobs/prune_by_job.ts";
export { type UploadedPart, type UploadOptions, type UploadProgress, Uploads } from "./jobs/uploads.ts";
export type { BlobSource } from "./digests.ts";

export {
  ConnectionError,
  type ConnectionErrorOptions,
  MalformedAnswerError,
  PareError,
  type ProblemFields,
} from "./errors.ts";
export type { StatisticsOptions } from "./shared_statistics.ts";
export type { CallOptions, TransportOptions } from "./transport.ts";
export type { TransientError } from "./retry.ts";
export type { LayerTensors, PackedStatistics, PrunedLayer } from "./layer_file.ts";
export type { LayerQuery } from "../protocol/layer_query.ts";
export type { Effort, MethodName } from "../protocol/methods.ts";
export type {
  DoneEvent,
  LayerGroup,
  ModelPruner,
  ModelQuery,
  ModelSource,
  PruneEvent,
  StartEvent,
} from "./model_pruner.ts";
export type {
  LayerEvent,
  LayerInputs,
  LayerQueryOf,
  QueryOf,
  RoundLayer,
  SolutionName,
  SolveRound,
  SourceLayer,
} from "../protocol/run/solve_round.ts";

export type {
  EdgeHost,
  Job,
  JobError,
  JobList,
  JobModel,
  JobSummary,
  LayerState,
  Report,
  ReportSeconds,
  Run,
  RunFile,
  RunPerplexity,
  RunPlan,
  RunProgress,
  RunResult,
} from "../protocol/messages.ts";
export type { JobState } from "../protocol/job_state.ts";
export type { Digest } from "../protocol/digest.ts";
export type { PatternText } from "../tensor/pattern.ts";

export { floatsFromTensor, hessianUpper, tensorFromFloats } from "./tensors.ts";
export { decode, type DecodedFile, type DecodeOptions } from "../tensor/safetensors/decode.ts";
export { encode } from "../tensor/safetensors/encode.ts";
export {
  SafetensorsError,
  type SafetensorsErrorKind,
  type SafetensorsFault,
} from "../tensor/safetensors/error.ts";
export type { SafetensorsHeader, TensorInfo } from "../tensor/safetensors/header.ts";
export type { Dtype, FloatDtype } from "../tensor/dtype.ts";
export type { HostTensor, QuantizedWeight } from "../tensor/host_tensor.ts";
