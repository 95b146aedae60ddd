/** Hidden states in a file. While one batch is on the device, the next one is read. */

import type { Backend, DeviceBuffer } from "../../backend/backend.ts";
import { ScratchStates } from "./scratch_states.ts";
import type { StatesFolder } from "./states_folder.ts";
import type { BatchBytes, StatesStore } from "./states_store.ts";

/** Reads hidden states from the files of a `StatesFolder`. `HiddenStates` writes these files. */
export class DiskStates implements StatesStore {
  readonly needsBytes = true;
  readonly #folder: StatesFolder;
  readonly #batches: readonly BatchBytes[];
  readonly #totalBytes: number;
  readonly #scratch: ScratchStates;

  constructor(backend: Backend, batches: readonly BatchBytes[], totalBytes: number, folder: StatesFolder) {
    this.#folder = folder;
    this.#batches = batches;
    this.#totalBytes = totalBytes;
    this.#scratch = new ScratchStates(backend, batches);
  }

  /** Does nothing, because the initial states are written to the file. */
  put(): void {}

  async *bring(block: number): AsyncGenerator<[index: number, states: DeviceBuffer], void, undefined> {
    const file = await this.#folder.open(block, this.#totalBytes);
    const read = (index: number) => {
      if (index === this.#batches.length) return undefined;
      const { offset, length } = this.#batches[index];
      const bytes = file.read(offset, length);
      bytes.catch(() => {}); // awaited in its turn
      return bytes;
    };
    try {
      let next = read(0);
      for (const index of this.#batches.keys()) {
        const bytes = await next!;
        next = read(index + 1);
        yield [index, this.#scratch.upload(bytes)];
      }
    } finally {
      await file.close();
    }
  }

  /** Does nothing, because the changed states are written to the next file. */
  putBack(): void {}

  destroy(): void {
    this.#scratch.destroy();
  }
}
