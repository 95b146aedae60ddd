/**
 * The file system as checkpoints and runs need it, passed in by entry points. Paths are joined with "/" alone. It is
 * no general file API: files are read and written at offsets, which is how tensors lie in them.
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

/** A file open for both. `byteLength` is what it had when it was opened. */
export interface EditableFile extends ReadableFile, WritableFile {
  /** Harmless twice. */
  close(): Promise<void>;
}

/** What a run that can be killed at any moment needs besides. */
export interface WorkFileSystem extends FileSystem {
  /** Opens a file as it is; makes it where there is none. */
  edit(path: string): Promise<EditableFile>;
  /** When the file was last written, in milliseconds since 1970. */
  modified(path: string): Promise<number>;
  /** Resolves once the names made, changed and removed in `folder` are on the disk. */
  syncFolder(folder: string): Promise<void>;
  /** Removes a folder and all that is in it; harmless where there is none. */
  removeFolder(path: string): Promise<void>;
  /**
   * Holds the file `path`, made if need be, until it is disposed of (harmless twice) or the process ends, however it
   * ends. Undefined where it is held already.
   */
  lock(path: string): Promise<AsyncDisposable | undefined>;
}
