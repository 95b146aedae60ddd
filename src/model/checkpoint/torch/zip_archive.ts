/**
 * Reads the positions of the entries in a zip archive that `torch.save` wrote. Its entries are uncompressed and lie in one root folder.
 * Every entry is therefore a consecutive range of bytes of the file, and nothing needs to be extracted.
 *
 * zip.js reads the central directory, including zip64. This file finds an entry's data from the entry's local header, because the length of
 * this header may differ from what the directory suggests. The names of entries are used as keys and never as paths. Checksums are not
 * verified, because tensors are read in parts. Safetensors files have no checksums either.
 */

import { type Entry, Reader, ZipReader } from "@zip.js/zip.js";
import { quote } from "../../../base/texts.ts";
import { ModelError } from "../../../base/files/file_error.ts";
import type { ReadableFile } from "../../../base/files/file_system.ts";
import { messageOf } from "../../../base/errors.ts";

/** The range of bytes that holds the data of an entry. */
export interface ArchiveEntry {
  readonly offset: number;
  readonly byteLength: number;
}

/** The largest number of entries. An archive has one entry per storage and a few others. A pickle can name about half as many storages. */
export const MAX_ENTRIES = 30_000;

/** The largest directory that is read. A directory takes about 100 bytes per entry. */
const MAX_DIRECTORY_BYTES = 32 << 20;

const LOCAL_HEADER_SIGNATURE = 0x04034b50;
const LOCAL_HEADER_BYTES = 30;
const STORED = 0;

/** The warning of zip.js about zip64 records in a small archive. torch.save always writes these records. */
const HARMLESS_WARNING = "trailing central directory data";

/** The possible lengths in bytes of the data after the directory: the end record alone, or with the two zip64 records. */
const END_RECORD_BYTES = [22, 22 + 56 + 20];

/**
 * Reads the entries of the archive in `file`.
 * @returns the entries by name, without the root folder
 * @throws {ModelError} if the file is not a zip archive, or if torch.save would not have written it: if entries are compressed,
 * encrypted, overlapping or past the end of the file, if names are unsafe or repeated, or if there are several root folders
 */
export async function readArchive(file: ReadableFile): Promise<ReadonlyMap<string, ArchiveEntry>> {
  const located: LocatedEntry[] = [];
  for await (const entry of directoryEntries(file)) {
    if (located.length === MAX_ENTRIES) {
      throw new ModelError(`zip archive: has more than ${MAX_ENTRIES} entries`);
    }
    checkEntry(entry, file);
    located.push({ name: entry.filename, begin: entry.offset, data: await locate(entry, file) });
  }
  requireDisjoint(located);
  const root = findRoot(located.map(({ name }) => name));
  return new Map(located.map(({ name, data }) => [name.slice(root.length), data]));
}

/** An entry with the positions of its local header and of its data. */
interface LocatedEntry {
  readonly name: string;
  readonly begin: number;
  readonly data: ArchiveEntry;
}

/** Yields the entries of the central directory. Errors of zip.js become `ModelError`s. Errors of the file are passed on. */
async function* directoryEntries(file: ReadableFile): AsyncGenerator<Entry> {
  const reader = new FileReader(file);
  const zip = new ZipReader(reader, { filenameValidation: "strict", maxAppendedDataSize: 0 });
  const entries = zip.getEntriesGenerator();
  for (;;) {
    let next;
    try {
      next = await entries.next();
    } catch (cause) {
      if (reader.failure !== undefined) throw reader.failure;
      throw new ModelError(`zip archive: cannot be read: ${reasonOf(cause)}`, { cause });
    }
    if (next.done) break;
    yield next.value;
  }
  const warning = zip.warnings?.find(({ reason }) => reason !== HARMLESS_WARNING);
  if (warning) {
    const where = warning.filename === undefined ? "" : `: ${quote(warning.filename)}`;
    throw new ModelError(`zip archive: has ${warning.reason}${where}`);
  }
  const { directoryOffset = NaN, directoryLength = NaN } = zip;
  if (!END_RECORD_BYTES.includes(file.byteLength - directoryOffset - directoryLength)) {
    throw new ModelError(
      `zip archive: its directory of ${directoryLength} bytes does not end where the file does`,
    );
  }
}

/** Returns the message of an error. zip.js gives the details of some errors in the property `reason`. */
function reasonOf(error: unknown): string {
  const message = messageOf(error);
  return error instanceof Error && "reason" in error ? `${message}: ${error.reason}` : message;
}

/** Lets zip.js read a file. zip.js expects a read past the end of the file to return the available bytes. */
class FileReader extends Reader<ReadableFile> {
  /** The error of a failed read, which zip.js would hide behind an error of its own. */
  failure?: unknown;
  readonly #file: ReadableFile;

  constructor(file: ReadableFile) {
    super(file);
    this.#file = file;
    this.size = file.byteLength;
  }

  override async readUint8Array(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    const available = offset < 0 ? 0 : Math.max(0, Math.min(length, this.size - offset));
    try {
      if (available > MAX_DIRECTORY_BYTES) {
        throw new ModelError(
          `zip archive: its directory of ${available} bytes is above ${MAX_DIRECTORY_BYTES}`,
        );
      }
      return available === 0 ? new Uint8Array(0) : await this.#file.read(offset, available);
    } catch (error) {
      this.failure = error;
      throw error;
    }
  }
}

function checkEntry(entry: Entry, { byteLength }: ReadableFile): void {
  const { filename, compressionMethod, compressedSize, uncompressedSize, offset } = entry;
  if (entry.directory) throw entryError(filename, "is a folder, which torch.save never writes");
  if (entry.encrypted) throw entryError(filename, "is encrypted");
  if (compressionMethod !== STORED || compressedSize !== uncompressedSize) {
    throw entryError(
      filename,
      `is compressed (method ${compressionMethod}); torch.save stores entries as they are`,
    );
  }
  if (offset < 0 || offset + LOCAL_HEADER_BYTES + uncompressedSize > byteLength) {
    throw entryError(
      filename,
      `claims ${uncompressedSize} bytes from byte ${offset} of a file of ${byteLength}`,
    );
  }
}

/** Reads the local header of an entry, compares it with the directory and returns the range of the data. */
async function locate(entry: Entry, file: ReadableFile): Promise<ArchiveEntry> {
  const { filename, offset, uncompressedSize: byteLength, rawFilename } = entry;
  const view = new DataView((await file.read(offset, LOCAL_HEADER_BYTES)).buffer);
  const nameBytes = view.getUint16(26, true);
  if (view.getUint32(0, true) !== LOCAL_HEADER_SIGNATURE || view.getUint16(8, true) !== STORED) {
    throw entryError(filename, `has no header of a stored entry at byte ${offset}`);
  }
  const begin = offset + LOCAL_HEADER_BYTES + nameBytes + view.getUint16(28, true);
  if (begin + byteLength > file.byteLength) {
    throw entryError(
      filename,
      `claims bytes ${begin}..${begin + byteLength} of a file of ${file.byteLength}`,
    );
  }
  const name = await file.read(offset + LOCAL_HEADER_BYTES, nameBytes);
  if (name.length !== rawFilename.length || !name.every((byte, i) => byte === rawFilename[i])) {
    throw entryError(filename, "has another name in its own header");
  }
  return { offset: begin, byteLength };
}

function requireDisjoint(entries: readonly LocatedEntry[]): void {
  let end = 0, before = "";
  for (const { name, begin, data } of entries.toSorted((a, b) => a.begin - b.begin)) {
    if (begin < end) throw entryError(name, `begins at byte ${begin}, inside ${quote(before)}`);
    [end, before] = [data.offset + data.byteLength, name];
  }
}

/** Returns the root folder that contains every entry, with a slash at the end. */
function findRoot(names: readonly string[]): string {
  const [first = ""] = names;
  const root = first.slice(0, first.indexOf("/") + 1);
  if (root === "") throw new ModelError("zip archive: has no root folder, which torch.save always writes");
  for (const name of names) {
    if (!name.startsWith(root)) throw entryError(name, `is outside the root folder ${quote(root)}`);
  }
  return root;
}

function entryError(name: string, rule: string): ModelError {
  return new ModelError(`zip archive: entry ${quote(name)} ${rule}`);
}
