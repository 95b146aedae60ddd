/** One weight file of a checkpoint, open for reading, in the form that a safetensors copy of it has. */

import type { ReadableFile } from "../files/file_system.ts";
import type { SafetensorsHeader } from "../safetensors/header.ts";
import type { TensorInfo } from "../safetensors/tensor_info.ts";

/** One open weight file. */
export interface Shard {
  /** Its name in a copy, which is always a safetensors file. */
  readonly name: string;
  /** The source. */
  readonly file: ReadableFile;
  /** The copy's: the same tensors, without gaps. */
  readonly header: SafetensorsHeader;
  /** The first `header.headerBytes` bytes of the copy: those of a safetensors source, or made for another. */
  headerBlock(): Promise<Uint8Array<ArrayBuffer>>;
  /** Offset in `file` of the first byte of a tensor of `header`. */
  position(tensor: TensorInfo): number;
}
