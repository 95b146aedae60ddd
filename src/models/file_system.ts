/**
 * The file system as checkpoints need it, passed in by entry points. Paths are joined with "/" alone. It is no
 * general file API: files are read and written at offsets, which is how tensors lie in them.
 */

/** A file open for reading. */
export interface ReadableFile {
  readonly byteLength: number;
  /** Exactly `byteLength` bytes from `offset`. Calls may overlap in time. @throws {RangeError} past the end of the file */
  read(offset: number, byteLength: number): Promise<Uint8Array<ArrayBuffer>>;
  /** Harmless twice. */
  close(): Promise<void>;
}

/** A file open for writing. */
export interface WritableFile {
  /** Writes all of `bytes` at `offset`; a gap before it reads as zeros. Calls may overlap in time. */
  write(offset: number, bytes: Uint8Array): Promise<void>;
  /** Resolves once everything written is on the disk. */
  sync(): Promise<void>;
  /** Harmless twice. */
  close(): Promise<void>;
}

/** What checkpoints need of a file system. Errors of the system pass through as they are. */
export interface FileSystem {
  /** Names of the regular files in `folder`, links to files too, sorted; undefined where there is no such folder. */
  list(folder: string): Promise<string[] | undefined>;
  open(path: string): Promise<ReadableFile>;
  /** Makes the file, or empties it. */
  create(path: string): Promise<WritableFile>;
  /** Makes the folder and those above it; harmless where it exists. */
  makeFolder(path: string): Promise<void>;
  /** Moves a file, taking the place of one already there in a single step. */
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  /** The one name of an existing path, links resolved. */
  realPath(path: string): Promise<string>;
}
