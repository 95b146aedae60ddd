/**
 * The file system as an interface, so that tests can pass one that fails at a chosen moment. Paths are joined with "/".
 * If the operating system refuses an operation, a {@link FileError} names the path and the reason.
 */

export interface ReadableFile {
  /** The length of the file when it was opened. */
  readonly byteLength: number;
  /** The permission bits of the file, such as 0o600. Undefined if the file system has none. */
  readonly mode?: number;
  /** Reads exactly `byteLength` bytes at `offset`. Calls may overlap in time. @throws {RangeError} past the end */
  read(offset: number, byteLength: number): Promise<Uint8Array<ArrayBuffer>>;
  /** Closes the file. Idempotent. */
  close(): Promise<void>;
}

export interface WritableFile {
  /** Writes all of `bytes` at `offset`. A gap after the end of the file reads as zeros. Calls may overlap in time. */
  write(offset: number, bytes: Uint8Array): Promise<void>;
  sync(): Promise<void>;
  close(): Promise<void>;
}

export interface FileSystem {
  /** Returns the sorted names of regular files and of links to them, or undefined if the folder does not exist. */
  list(folder: string): Promise<string[] | undefined>;
  /** Returns the sorted names of the folders in a folder that exists. Links to folders are left out. */
  folders(folder: string): Promise<string[]>;
  open(path: string): Promise<ReadableFile>;
  /**
   * Creates an empty file. An existing file is emptied. A link is replaced, not followed.
   * @param mode the permission bits of a new file before the umask. By default the system chooses them
   */
  create(path: string, mode?: number): Promise<WritableFile>;
  /** Creates the folder and its parents. Idempotent. @param mode the permission bits of new folders */
  makeFolder(path: string, mode?: number): Promise<void>;
  /** Moves a file. An existing file at `to` is replaced atomically. */
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  /** Returns the absolute path of an existing file or folder, with all links resolved. */
  realPath(path: string): Promise<string>;
}

/** A file that is open for reading and writing. `byteLength` is the length when it was opened. */
export interface EditableFile extends ReadableFile, WritableFile {
  close(): Promise<void>;
}

/** A file system with further operations, for a run that must survive being killed at any moment. */
export interface WorkFileSystem extends FileSystem {
  /** Opens a file for reading and writing, with its current content. Creates an empty file if none exists. */
  edit(path: string): Promise<EditableFile>;
  /** Returns the time of the last change of a file, in milliseconds since 1970. */
  modified(path: string): Promise<number>;
  /** Flushes the directory entries of `folder` to the disk, so that renames and removals survive a power failure. */
  syncFolder(folder: string): Promise<void>;
  /** Removes a folder with its contents. Idempotent. */
  removeFolder(path: string): Promise<void>;
  /**
   * Takes an exclusive lock on the file `path`, which is created if necessary. The lock is released when it is disposed
   * of (idempotent), or when the process ends.
   * @returns undefined if the lock is already taken
   */
  lock(path: string): Promise<AsyncDisposable | undefined>;
}
