/** Declares the weight files of a checkpoint: `WeightFile` is one to write, and `Shard` is one that is open for reading. */

import type { ReadableFile } from "../../base/files/file_system.ts";
import type { SafetensorsHeader, TensorInfo } from "../../tensor/safetensors/header.ts";

/** A safetensors file to write. */
export interface WeightFile {
  readonly name: string;
  /** The permission bits of the file from which it is made. Undefined if the file system has none. */
  readonly mode?: number;
  readonly header: SafetensorsHeader;
  /** Returns the first `header.headerBytes` bytes of the file. */
  readHeaderBytes(): Promise<Uint8Array<ArrayBuffer>>;
}

/** An open weight file of any format. It describes the safetensors file that its copy will be. */
export interface Shard extends WeightFile {
  readonly file: ReadableFile;
  /** Returns the offset in `file` of the first byte of a tensor of `header`. */
  position(tensor: TensorInfo): number;
}

/** Adds up the sizes of weight files, headers included. */
export function countWeightFileBytes(files: readonly WeightFile[]): number {
  return files.reduce((sum, { header }) => sum + header.headerBytes + header.dataBytes, 0);
}
