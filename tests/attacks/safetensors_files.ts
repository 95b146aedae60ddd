/**
 * Hostile safetensors files, each with the error that the reader must throw for it. The files are created on demand by
 * `file()`, so any code that reads a safetensors body can be tested with them:
 * `for (const { name, file } of SAFETENSORS_ATTACKS) …`. No file is larger than a few MiB.
 */

import type { SafetensorsErrorKind } from "../../src/tensor/safetensors/error.ts";
import { type BytePart, bytesOf } from "./bytes.ts";
import { type AttackCase, readCorpus } from "./corpus.ts";
import { rawFile } from "./safetensors/raw_file.ts";

/** A file that every reader must refuse. */
export interface SafetensorsAttack extends AttackCase {
  readonly kind: SafetensorsErrorKind;
  /** A pattern that the error message must match. */
  readonly message: RegExp;
  /** Creates the file. */
  file(): Uint8Array<ArrayBuffer>;
}

/** A case of `corpus/safetensors.json`. It has the member `file` or the member `header`. */
interface SafetensorsCase extends AttackCase {
  readonly kind: SafetensorsErrorKind;
  readonly message: string;
  /** All bytes of the file. */
  readonly file?: readonly BytePart[];
  /** The bytes after the length field. */
  readonly header?: BytePart | readonly BytePart[];
  /** The number of zeros after the header. By default none. */
  readonly data?: number;
  /** The value of the length field in decimal digits. By default the length of the header. */
  readonly length?: string;
}

function makeFile({ file, header = "", data = 0, length }: SafetensorsCase): Uint8Array<ArrayBuffer> {
  if (file) return bytesOf(file);
  return rawFile(bytesOf(header), data, length === undefined ? null : BigInt(length));
}

export const SAFETENSORS_ATTACKS: readonly SafetensorsAttack[] = readCorpus<SafetensorsCase>("safetensors")
  .map((attack) => ({
    name: attack.name,
    kind: attack.kind,
    message: new RegExp(attack.message),
    file: () => makeFile(attack),
  }));
