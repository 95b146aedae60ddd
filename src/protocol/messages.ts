/** The JSON answers of the contract as types. `deno task generate` writes this file from the schemas in `src/protocol`. */

/** Stored hidden states. */
export interface StoredStates {
  /** The block whose inputs the states are. */
  readonly next_block: number;
  /** The number of all windows, with those that are held out. */
  readonly windows: number;
  /** The number of tokens in a window. */
  readonly tokens: number;
}

/** Stored statistics. */
export interface StoredHessian {
  /** sha-256 of a body. */
  readonly digest: string;
  /** The number of inputs of the layers that use these statistics. */
  readonly order: number;
}

/** A host that is alive, with the state from its last heartbeat, or a host that a request wakes. */
export interface EdgeHost {
  /** The URL at which the edge reaches the host. */
  readonly url: string;
  /** `webgpu` or `cpu`, or `unknown` for a host that a request wakes. */
  readonly backend: string;
  /** The name of the device on which the host solves layers. */
  readonly adapter: string;
  /** The number of layers that the host holds on its device at once. */
  readonly capacity: number;
  /** The numbers of layers that wait for the device, and that are on it. */
  readonly queue: { readonly waiting: number; readonly resident: number };
  /** The digests of the statistics on the host's device. */
  readonly factors: string[];
  /** The id of the host, which is new after every start unless `PARE_HOST_ID` sets it. */
  readonly id: string;
  /** The time of the last heartbeat, in milliseconds since 1970, or 0 for a host that a request wakes. */
  readonly seen: number;
}

/** A job without its layers. */
export interface JobSummary {
  /** The id of the job. */
  readonly id: string;
  /** A name for people. It need not be unique. */
  readonly name: string | null;
  /** `done`, `failed` and `cancelled` are final. */
  readonly state: "queued" | "running" | "done" | "failed" | "cancelled";
  /** The time of the submission, in ISO 8601. */
  readonly created: string;
  /** Null until the job has ended. */
  readonly ended: string | null;
  /** The number of layers in each state. */
  readonly layers: {
    readonly queued: number;
    readonly running: number;
    readonly done: number;
    readonly failed: number;
    readonly cancelled: number;
  };
}

/** A page of jobs, newest first. */
export interface JobList {
  /** The jobs of this page. */
  readonly jobs: JobSummary[];
  /** The cursor of the next page. Null on the last page. */
  readonly cursor: string | null;
}

/** The calibration windows of a model. */
export interface JobModel {
  /** A safetensors file like the body of PUT /v1/states/{name}. */
  readonly states: string;
  /** dense stores the states of the dense model too, which run through each block before it is pruned. The layers then have targets. */
  readonly target: "none" | "dense";
}

/** The time of each phase of a solve, in seconds. */
export interface ReportSeconds {
  /** From the first byte until all tensors are on the device. */
  readonly read: number;
  /** The factorisation of the statistics. */
  readonly factor: number;
  /** The choice of the mask and the update of the weights. */
  readonly solve: number;
  /** The conjugate-gradient steps on the mask. */
  readonly refit: number;
  /** From the start of the request to the start of the answer, including waits. */
  readonly total: number;
}

/** The report of a solved layer. */
export interface Report {
  /** The requested method. */
  readonly method: string;
  /** out_features. */
  readonly rows: number;
  /** in_features. */
  readonly cols: number;
  /** unstructured, n:m or columns. */
  readonly pattern: string;
  /** zeros / (rows·cols). */
  readonly sparsity: number;
  /** The number of pruned entries. */
  readonly zeros: number;
  /** tr(ΔHΔᵀ), where Δ is the change of the weights, rounded to the dtype of the answer, and H the undamped statistics. Null without statistics, or with a reason in `notes` if f32 cannot hold it, or if the damping outweighs it so much that the rounding of f32 would decide it. */
  readonly loss: number | null;
  /** loss / tr(WHWᵀ), where W is the weight before pruning. Null without statistics, with error=false, or with a reason in `notes` if the loss is null, f32 cannot hold it or only the denominator is 0. */
  readonly relative_error: number | null;
  /** tr(ΔHvΔᵀ) with the validation statistics Hv. Null if f32 cannot hold it. With a target, Δ is the change from the weights after the step. Absent without validation statistics, like the next three fields. */
  readonly validation_loss?: number | null;
  /** validation_loss / tr(WHvWᵀ). Null with error=false, if the loss is null, or if only the denominator is 0. */
  readonly validation_error?: number | null;
  /** The mask of the answer: that of the method, or that of magnitude if its validation loss was smaller. */
  readonly validation_choice?: "method" | "magnitude";
  /** The number of rows that have the original weights, pruned and rounded to nearest, because their validation loss was smaller. */
  readonly nearest_rows?: number;
  /** The λ that was used. It exceeds the requested λ if the factorisation was retried. Null if the method used no damped statistics. */
  readonly damping: number | null;
  /** s, if damping=auto chose (1 − s)·H + s·diag(H) in place of the Hessian H. Absent if the Hessian was not shrunk. `loss` and `relative_error` are always those on H. */
  readonly shrinkage?: number;
  /** The iterations that searched for the mask. 0 if the method does not iterate. */
  readonly iterations: number;
  /** The conjugate-gradient steps of the result. */
  readonly refit_steps: number;
  /** α, the size of the step towards the target that was taken. Absent without a target. */
  readonly target_step?: number;
  /** The change of the layer's error against the target, Σ‖Mx − y‖² for weights M, from the weight before pruning, divided by tr(WHWᵀ). A negative change is an improvement. Null if f32 cannot hold it. Absent without a target. With a target, `loss` and `relative_error` are larger, because they remain errors against the weight before pruning. */
  readonly target_change?: {
    /** The change of the error by the answer. */
    readonly result: number | null;
    /** The change by the step towards the target, before any weight is pruned. */
    readonly step: number | null;
    /** The change by the answer on the validation statistics and the validation target. Absent without a validation target. */
    readonly validation?: number | null;
  };
  /** Remarks on the solve, as sentences. */
  readonly notes: string[];
  /** `webgpu` or `cpu`. */
  readonly backend: string;
  /** The name of the device. */
  readonly adapter: string;
  /** The time of each phase of a solve, in seconds. */
  readonly seconds: ReportSeconds;
  /** Whether a stored factor was used. */
  readonly factor_reused: boolean;
}

/** The reason why a layer has no result. */
export interface JobError {
  /** An error code of the HTTP API, or `cancelled`. */
  readonly code: string;
  /** A description for people. */
  readonly detail: string;
}

/** The state of one layer of a job, or of one block of its model. */
export interface LayerState {
  /** The name of the layer, unique in the job. */
  readonly name: string;
  /** The blob with the weight, as the job names it. */
  readonly weight: string;
  /** The blob with the statistics, if the job names one. */
  readonly hessian: string | null;
  /** The parameters of the layer. Parameters that the job does not give have their defaults. */
  readonly parameters: Readonly<Record<string, string | number | boolean>>;
  /** `done`, `failed` and `cancelled` are final. */
  readonly state: "queued" | "running" | "done" | "failed" | "cancelled";
  /** The number of times that a host was asked to solve the layer. */
  readonly attempts: number;
  /** The id of the host of the latest attempt. */
  readonly host: string | null;
  /** Null unless the state is `done`. Always null for a block, whose result has the reports of its layers. */
  readonly report: Report | null;
  /** The digest of the answer, a file like the answer of POST /v1/layers or POST /v1/blocks/prune. */
  readonly result: string | null;
  /** Null unless the state is `failed` or `cancelled`. */
  readonly error: JobError | null;
}

/** A job with its layers, or with the blocks of its model. */
export interface Job {
  /** The id of the job. */
  readonly id: string;
  /** A name for people. It need not be unique. */
  readonly name: string | null;
  /** `done`, `failed` and `cancelled` are final. */
  readonly state: "queued" | "running" | "done" | "failed" | "cancelled";
  /** The time of the submission, in ISO 8601. */
  readonly created: string;
  /** Null until the job has ended. */
  readonly ended: string | null;
  /** The model, if the job prunes the blocks of one. */
  readonly model?: JobModel;
  /** The layers or blocks, in the order of the submission. */
  readonly layers: LayerState[];
}

/** The plan of a run, from a short measurement. */
export interface RunPlan {
  /** The number of layers to prune or to round. */
  readonly layers: number;
  /** The time from the start to the end. */
  readonly seconds: number;
  /** The memory of the process and of the device together. */
  readonly memory_bytes: number;
  /** The disk space until the result is complete. */
  readonly disk_bytes: number;
  /** The backend and the adapter. */
  readonly device: string;
}

/** The progress of a run. */
export interface RunProgress {
  /** Such as `fetching` or `pruning`. */
  readonly phase: string;
  /** The steps of the phase that are done. */
  readonly done: number;
  /** The number of steps of the phase. */
  readonly total: number;
  /** For people, such as `about 12 s left`. */
  readonly time_left: string | null;
  /** The current work, for people. */
  readonly detail: string;
}

/** The perplexities before and after. */
export interface RunPerplexity {
  /** Null if it is not finite. */
  readonly dense: number | null;
  /** Null if it is not finite. */
  readonly pruned: number | null;
  /** The Kullback-Leibler divergence from the dense model. */
  readonly divergence: number | null;
}

/** A file of the result. */
export interface RunFile {
  /** The path in the folder of the result. */
  readonly name: string;
  /** The size of the file. */
  readonly bytes: number;
}

/** The result of a run. */
export interface RunResult {
  /** The size of the weight files of the dense model. */
  readonly dense_bytes: number;
  /** The size of the weight files of the result. */
  readonly written_bytes: number;
  /** The time of the run. */
  readonly seconds: number;
  /** Null if the text is too short for a window. */
  readonly perplexity: RunPerplexity | null;
  /** The files of the result. */
  readonly files: RunFile[];
}

/** A run, which prunes or rounds a whole model. */
export interface Run {
  /** The id of the run. */
  readonly id: string;
  /** The model, as the request names it. */
  readonly model: string;
  /** The options of the command. */
  readonly options: string[];
  /** `done`, `failed` and `cancelled` are final. */
  readonly state: "queued" | "running" | "done" | "failed" | "cancelled";
  /** The time of the submission, in ISO 8601. */
  readonly created: string;
  /** Null until the model is downloaded and measured. */
  readonly plan: RunPlan | null;
  /** Null unless the run works. */
  readonly progress: RunProgress | null;
  /** Null unless the state is `done`. */
  readonly result: RunResult | null;
  /** The reason of a failure, for people. */
  readonly error: string | null;
}

/** A server whose device can be used, with its limits and the current length of its queue. */
export interface Ready {
  readonly status: "ready";
  readonly version: string;
  readonly backend: string;
  readonly adapter: { readonly name: string; readonly software: boolean };
  readonly limits: {
    readonly max_body_bytes: number;
    readonly max_features: number;
    readonly max_blocksize: number;
    readonly max_buffer_bytes: number;
  };
  /** The check of every kernel before the device was first used. A device that fails it is not used. Null if the program that opened the device did not check it. */
  readonly self_check: { readonly passed: true; readonly seconds: number } | null;
  readonly queue: { readonly waiting: number; readonly resident: number };
}

/** An upload whose bytes are stored. */
export interface CompletedUpload {
  /** sha-256 of a body. */
  readonly blob: string;
}

/** An upload in progress. The client PUTs `part_size` bytes to each URL except the last, and the remaining bytes to the last. */
export interface Upload {
  /** The id of the upload. */
  readonly upload: string;
  /** The size in bytes of every part except the last. */
  readonly part_size: number;
  readonly parts: { readonly number: number; readonly url: string }[];
  /** When the URLs expire. GET the upload for new ones. */
  readonly expires: string;
}
