import { shortMessage } from "../texts.ts";

/** The meaning of each error code, as the end of a sentence about a path. */
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

/** Codes of transient failures, after which a retry may succeed. */
const TRANSIENT_CODES: ReadonlySet<string> = new Set(["ENOSPC", "EDQUOT", "EMFILE", "ENFILE"]);

/** Reports that the operating system refused an operation. The message names the path and the reason. */
export class FileError extends Error {
  override readonly name = "FileError";

  /**
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

  get reason(): string {
    return this.message.slice(this.path.length + 2);
  }

  get isTransient(): boolean {
    return TRANSIENT_CODES.has(this.code);
  }
}

/** Reports that another process uses a folder, a file or a port exclusively, until that process ends. */
export class InUseError extends Error {
  override readonly name = "InUseError";
}

/**
 * Reports that an unfinished file does not have the bytes that were written to it. When the user starts the same
 * command again, the command finds the damage and repeats the lost work.
 */
export class DamagedFileError extends Error {
  override readonly name = "DamagedFileError";
}

/**
 * Reports that a file of the user is missing, malformed or not supported. The message names the file and, where there
 * is a remedy, says what would be accepted. Entry points print the message without a stack.
 */
export class ModelError extends Error {
  override readonly name = "ModelError";

  constructor(message: string, options?: ErrorOptions) {
    super(shortMessage(message), options);
  }
}
