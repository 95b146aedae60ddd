/**
 * Reads the hidden states between two blocks from the files of a `HiddenStatesFolder`. While the caller uses one batch, the next batch is
 * read.
 */

import type { Backend } from "../../device/backend.ts";
import type { HiddenStatesFolder } from "./hidden_states_folder.ts";
import {
  type BatchBytes,
  type DeviceBatch,
  type HiddenStatesStore,
  ScratchBuffer,
} from "./hidden_states_store.ts";

/** Hidden states on disk. This class only reads the files, because `HiddenStates` writes them for every kind of store. */
export class DiskStore implements HiddenStatesStore {
  readonly needsBytes = true;
  readonly #folder: HiddenStatesFolder;
  readonly #batches: readonly BatchBytes[];
  readonly #totalBytes: number;
  readonly scratch: ScratchBuffer;

  /** @param totalBytes the size of each file */
  constructor(
    backend: Backend,
    batches: readonly BatchBytes[],
    totalBytes: number,
    folder: HiddenStatesFolder,
  ) {
    this.#folder = folder;
    this.#batches = batches;
    this.#totalBytes = totalBytes;
    this.scratch = new ScratchBuffer(backend, batches);
  }

  /** The initial states are in the file already, because `HiddenStates` writes them. */
  storeInitial(): void {}

  async *onDevice(
    nextBlock: number,
    _copy: boolean,
    from: number,
  ): AsyncGenerator<DeviceBatch, void, undefined> {
    const file = await this.#folder.open(nextBlock, this.#totalBytes);
    const read = (index: number) => {
      if (index === this.#batches.length) return undefined;
      const { offset, length } = this.#batches[index];
      const bytes = file.read(offset, length);
      bytes.catch(() => {}); // A failed read is reported when the loop awaits it.
      return bytes;
    };
    try {
      let next = read(from);
      for (let index = from; index < this.#batches.length; index++) {
        const bytes = await next!;
        next = read(index + 1);
        yield [index, this.scratch.upload(bytes)];
      }
    } finally {
      await file.close();
    }
  }

  /** `HiddenStates` writes the changed states to the file of the next block. */
  storeChanged(): void {}

  destroy(): void {
    this.scratch.destroy();
  }
}
