/** What every call of the SDK takes. */

/** Per-call options. */
export interface CallOptions {
  readonly signal?: AbortSignal;
}
