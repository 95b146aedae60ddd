/**
 * Stores the packed tensors of the quantised layers while a run is unfinished, one safetensors file per layer. The codes cannot be
 * computed from the dense copy at the end, because two codes of 8 bits can become the same weight in BF16.
 */

import { ModelError } from "../../files/model_error.ts";
import type { WorkFileSystem } from "../../files/file_system.ts";
import { readBytes, writeAtomically } from "../../files/whole_file.ts";
import { decode } from "../../safetensors/decode.ts";
import { encode } from "../../safetensors/encode.ts";
import { SafetensorsError } from "../../safetensors/error.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";

/** The packed tensors of the quantised layers of a run. */
export class QuantizedStore {
  constructor(
    private readonly fs: WorkFileSystem,
    /** The folder of the files. It is created when the first layer is written. */
    readonly folder: string,
  ) {}

  /** Writes the tensors of the layer `name` and flushes them to the disk. An earlier file of the layer is replaced atomically. */
  async write(name: string, tensors: ReadonlyMap<string, HostTensor>): Promise<void> {
    await this.fs.makeFolder(this.folder);
    await writeAtomically(this.fs, this.#path(name), encode(tensors));
    await this.fs.syncFolder(this.folder);
  }

  /** Reads the tensors of the layer `name`. @throws {ModelError} if the file is damaged */
  async read(name: string): Promise<ReadonlyMap<string, HostTensor>> {
    const path = this.#path(name);
    try {
      return decode(await readBytes(this.fs, path)).tensors;
    } catch (error) {
      if (!(error instanceof SafetensorsError)) throw error;
      throw new ModelError(`${path}: ${error.message}; start the run over with --restart`, { cause: error });
    }
  }

  /** Returns the path of a layer's file. The name of the layer is encoded because it may contain a slash. */
  #path(name: string): string {
    return `${this.folder}/${encodeURIComponent(name)}.safetensors`;
  }
}
