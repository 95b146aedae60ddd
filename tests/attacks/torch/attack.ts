/**
 * The common parts of the hostile weight files in this folder. They have the format of PyTorch's `torch.save`, which
 * is a zip archive with a pickle. The files are created on demand and are no larger than a few MiB.
 */

import { pickle, torchFile } from "../../support/torch_archive.ts";

/** A file that every reader must refuse. */
export interface TorchAttack {
  /** A short description that completes the sentence "The reader refuses …". */
  readonly name: string;
  /** A pattern that the error message must match. */
  readonly message: RegExp;
  /** Creates the file. */
  file(): Uint8Array<ArrayBuffer>;
}

/** An attack whose pickle consists of these opcodes. */
export function pickled(name: string, message: RegExp, ...body: number[][]): TorchAttack {
  return { name, message, file: () => torchFile(pickle.file(...body)) };
}

/** The data of an empty entry, and of an empty file. */
export const NO_BYTES: Uint8Array<ArrayBuffer> = new Uint8Array(0);
