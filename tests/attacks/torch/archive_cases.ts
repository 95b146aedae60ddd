/** Builds the archives of `corpus/archives.json`: valid weight files with one more entry, or with some bytes replaced. */

import { torchEntries, torchFile, zip, type ZipEntry } from "../../support/torch_archive.ts";
import { type AttackCase, readCorpus } from "../corpus.ts";
import type { TorchAttack } from "./attack.ts";

/** A case of `corpus/archives.json`. It has the member `entry` or the member `patch`. */
interface ArchiveCase extends AttackCase {
  readonly message: string;
  /** The additional entry. Its data is `text`, or a number of zeros. */
  readonly entry?: Omit<ZipEntry, "data"> & { readonly text?: string; readonly zeros?: number };
  /** Bytes that replace those of the file, beginning `fromEnd` bytes before its end. */
  readonly patch?: { readonly fromEnd: number; readonly hex: string };
}

function makeFile({ entry, patch }: ArchiveCase): Uint8Array<ArrayBuffer> {
  if (entry) {
    const { text, zeros = 0, ...fields } = entry;
    const data = text === undefined ? new Uint8Array(zeros) : new TextEncoder().encode(text);
    return zip([...torchEntries(), { ...fields, data }]);
  }
  const file = torchFile();
  if (patch) file.set(Uint8Array.fromHex(patch.hex), file.byteLength - patch.fromEnd);
  return file;
}

/** Invalid or hostile archives. */
export const ARCHIVE_ATTACKS: readonly TorchAttack[] = readCorpus<ArchiveCase>("archives").map((attack) => ({
  name: attack.name,
  message: new RegExp(attack.message),
  file: () => makeFile(attack),
}));
