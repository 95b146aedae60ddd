/** The error for a folder, a file or a port that another process is using. */

/** Reports that another process is using something exclusively. The same operation succeeds when that process has ended. */
export class InUseError extends Error {
  override readonly name = "InUseError";
}
