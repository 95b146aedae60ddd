/**
 * The type of the report of a solved layer, for code that reads answers. Servers describe the report by the schema in `../report.ts`. A test
 * fails if the type and the schema have different names or types.
 */

/** The report of one solved layer with `rows` output and `cols` input features. */
export interface Report {
  /** The requested method, such as `sparsegpt`. */
  readonly method: string;
  /** The number of output features. */
  readonly rows: number;
  /** The number of input features. */
  readonly cols: number;
  /** The requested pattern: `unstructured` or `n:m`. */
  readonly pattern: string;
  /** zeros / (rows·cols). */
  readonly sparsity: number;
  /** The number of pruned weights. */
  readonly zeros: number;
  /** tr(ΔHΔᵀ), where Δ is the change of the weights and H the undamped statistics. Null without statistics. */
  readonly loss: number | null;
  /**
   * loss / tr(WHWᵀ), where W is the weight before pruning. Null without statistics, with the parameter `error=false`, or if only the
   * denominator is 0.
   */
  readonly relative_error: number | null;
  /**
   * The damping λ that was used. It exceeds the requested λ if the factorisation was retried. Null if the method used no damped statistics.
   */
  readonly damping: number | null;
  /** The number of iterations that searched for the mask. 0 if the method does not iterate. */
  readonly iterations: number;
  /** The number of conjugate-gradient steps of the result. */
  readonly refit_steps: number;
  /** Remarks on the solve, as sentences. */
  readonly notes: string[];
  /** The backend of the host: `webgpu` or `cpu`. */
  readonly backend: string;
  /** The name of the device that solved the layer. */
  readonly adapter: string;
  /** The time of each phase, in seconds. */
  readonly seconds: ReportSeconds;
  /** Whether a factor was used that the host had stored. */
  readonly factor_reused: boolean;
}

/** The time of each phase of a solve, in seconds. */
export interface ReportSeconds {
  /** From the first byte of the request until all tensors were on the device. */
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
