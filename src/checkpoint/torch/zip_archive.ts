/**
 * The entries of a zip archive as torch.save writes it: stored uncompressed under one root folder, so that every
 * entry is a run of bytes of the file and nothing needs to be extracted. The central directory is read by zip.js,
 * zip64 included; where an entry's bytes begin is read here from its local header, since the two may differ in
 * length. Names are keys and never become paths. Checksums are not verified: tensors are read in part, as those of
 * a safetensors file, which has none.
 */

import { type Entry, Reader, ZipReader } from "@zip.js/zip.js";
import { quote } from "../../safetensors/error.ts";
import { ModelError } from "../../files/model_error.ts";
import type { ReadableFile } from "../../files/file_system.ts";

/** Where an entry's bytes lie in the file. */
export interface ArchiveEntry {
  readonly offset: number;
  readonly byteLength: number;
}

/** Entries an archive may have: one for each tensor and a few more, twice as many as a pickle can name. */
export const MAX_ENTRIES = 30_000;

/** The most that is read at once for the directory: ordinary ones take 100 bytes each. */
const MAX_DIRECTORY_BYTES = 32 << 20;

const LOCAL_HEADER_SIGNATURE = 0x04034b50;
const LOCAL_HEADER_BYTES = 30;
const STORED = 0;

/** torch.save always writes the zip64 records too; where nothing needs them, zip.js finds them superfluous. */
const HARMLESS_WARNING = "trailing central directory data";

/** What follows the directory: the end record, with or without the two of zip64. */
const END_RECORD_BYTES = [22, 22 + 56 + 20];

/**
 * The entries of the archive in `file`, by their names without the root folder.
 * @throws {ModelError} it is no zip archive, or none that torch.save writes: compressed, encrypted or overlapping
 * entries, repeated or unsafe names, more than one root, sizes past the end of the file
 */
export async function readArchive(file: ReadableFile): Promise<ReadonlyMap<string, ArchiveEntry>> {
  const places: { name: string; begin: number; place: ArchiveEntry }[] = [];
  for await (const entry of directoryEntries(file)) {
    if (places.length === MAX_ENTRIES) {
      throw new ModelError(`zip archive: has more than ${MAX_ENTRIES} entries`);
    }
    checkEntry(entry, file);
    places.push({ name: entry.filename, begin: entry.offset, place: await locate(entry, file) });
  }
  checkOverlaps(places);
  const root = rootOf(places.map(({ name }) => name));
  return new Map(places.map(({ name, place }) => [name.slice(root.length), place]));
}

/** The entries of the central directory. What zip.js finds wrong becomes a ModelError; errors of the file pass. */
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

/** zip.js tells what is ambiguous in a property of its own. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return "reason" in error ? `${error.message}: ${error.reason}` : error.message;
}

/** A file as zip.js reads it: a read past its ends gives what there is. */
class FileReader extends Reader<ReadableFile> {
  /** What went wrong in the file itself, or a read past the limit. */
  failure?: unknown;
  readonly #file: ReadableFile;

  constructor(file: ReadableFile) {
    super(file);
    this.#file = file;
    this.size = file.byteLength;
  }

  override async readUint8Array(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    const reached = offset < 0 ? 0 : Math.max(0, Math.min(length, this.size - offset));
    try {
      if (reached > MAX_DIRECTORY_BYTES) {
        throw new ModelError(
          `zip archive: its directory of ${reached} bytes is above ${MAX_DIRECTORY_BYTES}`,
        );
      }
      return reached === 0 ? new Uint8Array(0) : await this.#file.read(offset, reached);
    } catch (error) {
      this.failure = error;
      throw error;
    }
  }
}

function checkEntry(entry: Entry, { byteLength }: ReadableFile): void {
  const { filename, compressionMethod, compressedSize, uncompressedSize, offset } = entry;
  if (entry.directory) throw refused(filename, "is a folder, which torch.save never writes");
  if (entry.encrypted) throw refused(filename, "is encrypted");
  if (compressionMethod !== STORED || compressedSize !== uncompressedSize) {
    throw refused(
      filename,
      `is compressed (method ${compressionMethod}); torch.save stores entries as they are`,
    );
  }
  if (offset < 0 || offset + LOCAL_HEADER_BYTES + uncompressedSize > byteLength) {
    throw refused(
      filename,
      `claims ${uncompressedSize} bytes from byte ${offset} of a file of ${byteLength}`,
    );
  }
}

async function locate(entry: Entry, file: ReadableFile): Promise<ArchiveEntry> {
  const { filename, offset, uncompressedSize: byteLength, rawFilename } = entry;
  const view = new DataView((await file.read(offset, LOCAL_HEADER_BYTES)).buffer);
  const nameBytes = view.getUint16(26, true);
  if (view.getUint32(0, true) !== LOCAL_HEADER_SIGNATURE || view.getUint16(8, true) !== STORED) {
    throw refused(filename, `has no header of a stored entry at byte ${offset}`);
  }
  const begin = offset + LOCAL_HEADER_BYTES + nameBytes + view.getUint16(28, true);
  if (begin + byteLength > file.byteLength) {
    throw refused(filename, `claims bytes ${begin}..${begin + byteLength} of a file of ${file.byteLength}`);
  }
  const name = await file.read(offset + LOCAL_HEADER_BYTES, nameBytes);
  if (name.length !== rawFilename.length || !name.every((byte, i) => byte === rawFilename[i])) {
    throw refused(filename, "has another name in its own header");
  }
  return { offset: begin, byteLength };
}

function checkOverlaps(places: readonly { name: string; begin: number; place: ArchiveEntry }[]): void {
  let end = 0, before = "";
  for (const { name, begin, place } of places.toSorted((a, b) => a.begin - b.begin)) {
    if (begin < end) throw refused(name, `begins at byte ${begin}, inside ${quote(before)}`);
    [end, before] = [place.offset + place.byteLength, name];
  }
}

/** The folder, with its slash, that every entry is in. */
function rootOf(names: readonly string[]): string {
  const [first = ""] = names;
  const root = first.slice(0, first.indexOf("/") + 1);
  if (root === "") throw new ModelError("zip archive: has no root folder, which torch.save always writes");
  for (const name of names) {
    if (!name.startsWith(root)) throw refused(name, `is outside the root folder ${quote(root)}`);
  }
  return root;
}

function refused(name: string, rule: string): ModelError {
  return new ModelError(`zip archive: entry ${quote(name)} ${rule}`);
}
