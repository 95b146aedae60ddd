/**
 * A file system in memory whose files may be larger than memory, for tests with offsets above 2³². A write of
 * less than one MiB is stored. A larger write only extends the file. Bytes that were not stored read as zero,
 * and so do all bytes of a read of one MiB or more, unless they are those that `put` stored.
 */

import type { EditableFile, WorkFileSystem } from "../../src/base/files/file_system.ts";

/** Writes and reads of at least this many bytes are treated as all zeros. */
const LARGE = 1 << 20;
/** The result of large reads. The longest read is 16 MiB. */
const ZEROS = new Uint8Array(16 << 20);

interface SparseFile {
  byteLength: number;
  /** The stored writes, by offset. */
  readonly pieces: Map<number, Uint8Array>;
}

/** The file system. Folders exist implicitly. */
export class SparseFileSystem implements WorkFileSystem {
  /** The files, by path. */
  readonly files = new Map<string, SparseFile>();

  /** Adds a file of `byteLength` bytes that begins with `bytes` and continues with zeros. */
  put(path: string, bytes: Uint8Array, byteLength: number = bytes.byteLength): void {
    this.files.set(path, { byteLength, pieces: new Map([[0, bytes]]) });
  }

  list(folder: string): Promise<string[]> {
    const names = [...this.files.keys()].filter((path) => path.startsWith(`${folder}/`));
    return Promise.resolve(
      names.map((path) => path.slice(folder.length + 1)).filter((name) => !name.includes("/")).sort(),
    );
  }

  folders(folder: string): Promise<string[]> {
    const paths = [...this.files.keys()].filter((path) => path.startsWith(`${folder}/`));
    const parts = paths.map((path) => path.slice(folder.length + 1).split("/"));
    return Promise.resolve(
      [...new Set(parts.filter(({ length }) => length > 1).map(([first]) => first))].sort(),
    );
  }

  open(path: string): Promise<EditableFile> {
    const file = this.files.get(path);
    if (!file) return Promise.reject(new Error(`${path}: does not exist`));
    return Promise.resolve({
      byteLength: file.byteLength,
      read: (offset, byteLength) => Promise.resolve(read(path, file, offset, byteLength)),
      write: (offset, bytes) => {
        file.byteLength = Math.max(file.byteLength, offset + bytes.byteLength);
        if (bytes.byteLength < LARGE) store(file, offset, bytes);
        return Promise.resolve();
      },
      sync: () => Promise.resolve(),
      close: () => Promise.resolve(),
    });
  }

  create(path: string): Promise<EditableFile> {
    this.put(path, new Uint8Array());
    return this.open(path);
  }

  edit(path: string): Promise<EditableFile> {
    return this.files.has(path) ? this.open(path) : this.create(path);
  }

  rename(from: string, to: string): Promise<void> {
    this.files.set(to, this.files.get(from)!);
    return this.remove(from);
  }

  remove(path: string): Promise<void> {
    this.files.delete(path);
    return Promise.resolve();
  }

  makeFolder = () => Promise.resolve();
  realPath = (path: string) => Promise.resolve(path);
  modified = () => Promise.resolve(0);
  syncFolder = () => Promise.resolve();
  removeFolder = () => Promise.resolve();
  lock = () => Promise.resolve({ [Symbol.asyncDispose]: () => Promise.resolve() });
}

/** Stores a write. The rest of a longer write at the same offset stays. Later writes are last in the map, because they are read last. */
function store({ pieces }: SparseFile, offset: number, bytes: Uint8Array): void {
  const earlier = pieces.get(offset) ?? new Uint8Array();
  const piece = new Uint8Array(Math.max(earlier.byteLength, bytes.byteLength));
  piece.set(earlier);
  piece.set(bytes);
  pieces.delete(offset);
  pieces.set(offset, piece);
}

function read(path: string, file: SparseFile, offset: number, byteLength: number): Uint8Array<ArrayBuffer> {
  if (offset + byteLength > file.byteLength) {
    throw new RangeError(`${path}: the read extends beyond the end at byte ${file.byteLength}`);
  }
  if (byteLength >= LARGE) {
    const first = file.pieces.get(0) as Uint8Array<ArrayBuffer> | undefined;
    const isStored = first !== undefined && offset + byteLength <= first.byteLength;
    return isStored ? first.subarray(offset, offset + byteLength) : ZEROS.subarray(0, byteLength);
  }
  const bytes = new Uint8Array(byteLength);
  for (const [start, piece] of file.pieces) {
    const from = Math.max(start, offset), to = Math.min(start + piece.byteLength, offset + byteLength);
    if (from < to) bytes.set(piece.subarray(from - start, to - start), from - offset);
  }
  return bytes;
}
