/**
 * Stores the packed tensors of the quantised layers while a run is unfinished, one safetensors file per layer. The codes cannot be
 * computed from the dense copy at the end, because two codes of 8 bits can become the same weight in BF16.
 */

import { DamagedFileError } from "../../files/damaged_file_error.ts";
import { digestBytes } from "../../files/digest.ts";
import type { WorkFileSystem } from "../../files/file_system.ts";
import { readBytes, writeAtomically } from "../../files/whole_file.ts";
import { decode } from "../../safetensors/decode.ts";
import { encode } from "../../safetensors/encode.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";

/** The packed tensors of the quantised layers of a run. */
export class QuantizedStore {
  readonly #digests = new Map<string, string>();

  constructor(
    private readonly fs: WorkFileSystem,
    /** The folder of the files. It is created when the first layer is written. */
    readonly folder: string,
  ) {}

  /**
   * Writes the tensors of the layer `name` and flushes them to the disk. An earlier file of the layer is replaced atomically.
   */
  async write(name: string, tensors: ReadonlyMap<string, HostTensor>): Promise<void> {
    await this.fs.makeFolder(this.folder);
    const bytes = encode(tensors);
    this.#digests.set(name, digestBytes(bytes));
    await writeAtomically(this.fs, this.#path(name), bytes);
    await this.fs.syncFolder(this.folder);
  }

  /** Returns the digest of the file that this process wrote for the layer `name`. Returns undefined if it wrote none. */
  digest(name: string): string | undefined {
    return this.#digests.get(name);
  }

  /** Returns whether the file of the layer `name` exists and has the digest `digest`. */
  async has(name: string, digest: string): Promise<boolean> {
    if (!(await this.fs.list(this.folder))?.includes(this.#fileName(name))) return false;
    return digestBytes(await readBytes(this.fs, this.#path(name))) === digest;
  }

  /** Reads the tensors of the layer `name`. @throws {DamagedFileError} if the file does not have the digest `digest` */
  async read(name: string, digest: string): Promise<ReadonlyMap<string, HostTensor>> {
    const path = this.#path(name), bytes = await readBytes(this.fs, path);
    if (digestBytes(bytes) === digest) return decode(bytes).tensors;
    throw new DamagedFileError(`${path}: does not have the bytes that were written`);
  }

  #path(name: string): string {
    return `${this.folder}/${this.#fileName(name)}`;
  }

  /** The name of the layer is encoded because it may contain a slash. */
  #fileName(name: string): string {
    return `${encodeURIComponent(name)}.safetensors`;
  }
}
