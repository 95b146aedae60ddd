/** The options that every call of the SDK accepts. */

/** Options of one call. */
export interface CallOptions {
  /** Ends the call when it is aborted. The call then throws the signal's reason. */
  readonly signal?: AbortSignal;
}
