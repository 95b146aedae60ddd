/** The error for an operation on a file that the operating system refused. */

/** The meanings of the error codes of operating systems, each as the end of a sentence about a path. */
const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file or folder",
  EACCES: "permission is denied",
  EPERM: "permission is denied",
  EROFS: "its file system is read-only",
  ENOSPC: "no space is left on the disk",
  EDQUOT: "the disk quota is used up",
  EMFILE: "too many files are open",
  ENFILE: "too many files are open",
  ENOTDIR: "is not a folder, or lies in a file instead of a folder",
  EISDIR: "is a folder, not a file",
  EEXIST: "exists already",
  EPIPE: "nobody reads it any more",
};

/** Codes of failures that may be over when the operation is tried again. */
const TRANSIENT_CODES: ReadonlySet<string> = new Set(["ENOSPC", "EDQUOT", "EMFILE", "ENFILE"]);

/** Reports that the operating system refused an operation. The message names the path and the reason. */
export class FileError extends Error {
  override readonly name = "FileError";

  /**
   * @param path the file or folder
   * @param code the operating system's code, such as `ENOSPC`
   * @param description the operating system's own description, for codes that have no text here
   */
  constructor(
    readonly path: string,
    readonly code: string,
    description: string,
    options?: ErrorOptions,
  ) {
    super(`${path}: ${REASONS[code] ?? description}`, options);
  }

  /** The reason without the path. */
  get reason(): string {
    return this.message.slice(this.path.length + 2);
  }

  /** Whether the same operation may succeed later, for example when there is space on the disk. */
  get isTransient(): boolean {
    return TRANSIENT_CODES.has(this.code);
  }
}
