/** Hostile archives that are changed as a whole, so that they are easier to write as code than as data. */

import { MAX_PICKLE_BYTES } from "../../../src/model/checkpoint/torch/read_torch_file.ts";
import { MAX_ENTRIES } from "../../../src/model/checkpoint/torch/zip_archive.ts";
import { torchEntries, torchFile, zip, type ZipEntry } from "../../support/torch_archive.ts";
import type { TorchAttack } from "./attack.ts";

const NO_BYTES = new Uint8Array(0);

/** An attack that is an invalid archive with these entries. */
function archive(name: string, message: RegExp, entries: () => ZipEntry[]): TorchAttack {
  return { name, message, file: () => zip(entries()) };
}

/** Files that are not archives, and archives without the expected entries or with too many. */
export const OTHER_ARCHIVES: readonly TorchAttack[] = [
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
  archive("an archive without entries", /prepended data/, () => []),
  archive("an archive without a pickle", /has no data.pkl/, () => torchEntries().slice(1)),
  archive(
    "an archive without a root folder",
    /has no root folder/,
    () => torchEntries().map((entry) => ({ ...entry, name: entry.name.slice(4) })),
  ),
  archive(
    "an entry that overlaps the next one",
    /begins at byte \d+, inside "any\/data\/0"/,
    () => torchEntries().map((entry) => entry.name === "any/data/0" ? { ...entry, size: 60 } : entry),
  ),
  archive("a pickle above the size limit", new RegExp(`above the limit of ${MAX_PICKLE_BYTES}`), () => [
    { name: "any/data.pkl", data: new Uint8Array(MAX_PICKLE_BYTES + 1) },
  ]),
  archive(
    "too many entries",
    new RegExp(`more than ${MAX_ENTRIES} entries`),
    () => Array.from({ length: MAX_ENTRIES + 1 }, (_, i) => ({ name: `a/${i}`, data: NO_BYTES })),
  ),
];
