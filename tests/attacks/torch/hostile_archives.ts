/** Attacks by the zip archive around the pickle and the values. */

import { MAX_PICKLE_BYTES } from "../../../src/checkpoint/torch/read_torch_file.ts";
import { MAX_ENTRIES } from "../../../src/checkpoint/torch/zip_archive.ts";
import { torchEntries, torchFile, zip, type ZipEntry } from "../../support/torch_archive.ts";
import { NO_BYTES, type TorchAttack } from "./attack.ts";

/** An attack that is an invalid archive with these entries. */
function archive(name: string, message: RegExp, entries: () => ZipEntry[]): TorchAttack {
  return { name, message, file: () => zip(entries()) };
}

/** An attack that is a valid archive with one more entry, which is invalid. */
function extraEntry(name: string, message: RegExp, more: ZipEntry): TorchAttack {
  return archive(name, message, () => [...torchEntries(), more]);
}

/** An attack that is a valid file with some bytes replaced, beginning `fromEnd` bytes before its end. */
function patched(name: string, message: RegExp, fromEnd: number, bytes: number[]): TorchAttack {
  return {
    name,
    message,
    file: () => {
      const file = torchFile();
      file.set(bytes, file.byteLength - fromEnd);
      return file;
    },
  };
}

/** Invalid or hostile zip archives. */
export const HOSTILE_ARCHIVES: readonly TorchAttack[] = [
  { name: "an empty file", message: /cannot be read/, file: () => NO_BYTES },
  { name: "a file of zeros", message: /cannot be read/, file: () => new Uint8Array(4096) },
  { name: "a truncated file", message: /cannot be read/, file: () => torchFile().slice(0, 200) },
  {
    name: "bytes after the archive",
    message: /cannot be read/,
    file: () => Uint8Array.from([...torchFile(), 0]),
  },
  {
    name: "bytes before the archive",
    message: /prepended|cannot be read|no header/,
    file: () => Uint8Array.from([...Array(64).fill(0), ...torchFile()]),
  },
  {
    name: "a Git LFS pointer",
    message: /git-lfs pointer/,
    file: () => new TextEncoder().encode("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
  },
  archive("an archive without entries", /prepended data/, () => []),
  archive("an archive without a pickle", /has no data.pkl/, () => torchEntries().slice(1)),
  archive(
    "an archive without a root folder",
    /has no root folder/,
    () => torchEntries().map((e) => ({ ...e, name: e.name.slice(4) })),
  ),
  extraEntry("an archive with two root folders", /"other\/data\/1" is outside the root folder "any\/"/, {
    name: "other/data/1",
    data: NO_BYTES,
  }),
  extraEntry("a repeated file name", /duplicate filename/, { name: "any/data/0", data: new Uint8Array(24) }),
  extraEntry("a file name that leaves the folder", /Unsafe filename/, {
    name: "any/../../etc/x",
    data: NO_BYTES,
  }),
  extraEntry("an absolute file name", /Unsafe filename/, { name: "/etc/x", data: NO_BYTES }),
  extraEntry("a file name with a drive letter", /Unsafe filename/, { name: "C:/x", data: NO_BYTES }),
  extraEntry("a file name with backslashes", /Unsafe filename|outside the root/, {
    name: "any\\..\\x",
    data: NO_BYTES,
  }),
  extraEntry("an entry that is a folder", /is a folder/, { name: "any/data/", data: NO_BYTES }),
  extraEntry("a compressed entry", /is compressed \(method 8\)/, {
    name: "any/data/1",
    data: new Uint8Array(8),
    method: 8,
  }),
  extraEntry("a compressed entry that expands to 1 TiB", /is compressed/, {
    name: "any/data/1",
    data: new Uint8Array(8),
    method: 8,
    size: 2 ** 40,
    compressedSize: 8,
  }),
  extraEntry("a stored entry that claims to expand to 1 TiB", /is compressed \(method 0\)/, {
    name: "any/data/1",
    data: new Uint8Array(8),
    size: 2 ** 40,
    compressedSize: 8,
  }),
  extraEntry("an encrypted entry", /is encrypted/, {
    name: "any/data/1",
    data: new Uint8Array(16),
    flags: 0x801,
  }),
  extraEntry("an entry that ends after the end of the file", /claims 1099511627776 bytes/, {
    name: "any/data/1",
    data: NO_BYTES,
    size: 2 ** 40,
  }),
  extraEntry("an entry with a size above 2^53", /cannot be read|claims/, {
    name: "any/data/1",
    data: NO_BYTES,
    size: 2 ** 62,
  }),
  extraEntry("an entry with a different name in its local header", /another name/, {
    name: "any/data/1",
    data: NO_BYTES,
    localName: "any/data/2",
  }),
  extraEntry("an entry that begins at the bytes of another", /another name|no header|inside/, {
    name: "any/data/1",
    data: new Uint8Array(24),
    begin: 0,
  }),
  extraEntry("an entry that begins inside another", /no header of a stored entry/, {
    name: "any/data/1",
    data: NO_BYTES,
    begin: 44,
  }),
  archive(
    "an entry that overlaps the next one",
    /begins at byte \d+, inside "any\/data\/0"/,
    () => torchEntries().map((e) => e.name === "any/data/0" ? { ...e, size: 60 } : e),
  ),
  extraEntry("big-endian data", /byte order is "big"/, {
    name: "any/byteorder",
    data: new TextEncoder().encode("big"),
  }),
  extraEntry("an empty byte order", /byte order is ""/, { name: "any/byteorder", data: NO_BYTES }),
  archive("a pickle above the size limit", new RegExp(`above the limit of ${MAX_PICKLE_BYTES}`), () => [
    { name: "any/data.pkl", data: new Uint8Array(MAX_PICKLE_BYTES + 1) },
  ]),
  archive(
    "too many entries",
    new RegExp(`more than ${MAX_ENTRIES} entries`),
    () => Array.from({ length: MAX_ENTRIES + 1 }, (_, i) => ({ name: `a/${i}`, data: NO_BYTES })),
  ),
  patched("a directory that begins after the end of the file", /cannot be read|no header/, 6, [
    0xf0,
    0xff,
    0xff,
    0x7f,
  ]),
  patched("a directory of 4 GiB", /directory of 4294967294 bytes does not end/, 10, [0xfe, 0xff, 0xff, 0xff]),
  patched("a directory that counts more entries than it has", /cannot be read|has /, 14, [9, 0, 9, 0]),
];
