/**
 * Declares a shard, which is one weight file of a checkpoint, open for reading. Copies of a checkpoint are
 * always written as safetensors, so a shard describes the safetensors file that its copy will be, whatever
 * format the source file has.
 */

import type { ReadableFile } from "../files/file_system.ts";
import type { SafetensorsHeader } from "../safetensors/header.ts";
import type { TensorInfo } from "../safetensors/tensor_info.ts";

/** One open weight file. */
export interface Shard {
  /** The name of the safetensors copy. */
  readonly name: string;
  /** The source file. */
  readonly file: ReadableFile;
  /** The header of the copy, which lists the tensors and their offsets in the copy. */
  readonly header: SafetensorsHeader;
  /**
   * Returns the first `header.headerBytes` bytes of the copy. If the source is a safetensors file, the bytes
   * are read from it. If the source has another format, the bytes are encoded.
   */
  readHeaderBytes(): Promise<Uint8Array<ArrayBuffer>>;
  /** Returns the offset in `file` of the first byte of a tensor of `header`. */
  position(tensor: TensorInfo): number;
}
