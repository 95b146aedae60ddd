/**
 * The hidden states of all windows between two blocks. They are stored on the device if they fit its share, else in host memory or in a
 * file. One batch at a time is on the device for work. If a folder is given, the states are also written there after every block, so that
 * a run that was killed can continue from the last finished block.
 */

import type { Backend, DeviceBuffer } from "../../backend/backend.ts";
import type { Batch } from "../batches.ts";
import { DeviceStates } from "./device_states.ts";
import { DiskStates } from "./disk_states.ts";
import { HostStates } from "./host_states.ts";
import type { StatesFolder } from "./states_folder.ts";
import type { BatchBytes, StatesStore } from "./states_store.ts";

/** Work on the states of one batch, (batch.count · tokens, hidden) f32. It queues kernels, and may read back. */
export type StatesWork = (states: DeviceBuffer, batch: Batch) => void | Promise<void>;

/** Where states that do not fit the device are stored. `auto` means memory up to {@link AUTO_MEMORY_BYTES}, then disk. */
export type StatesPlace = "memory" | "disk" | "auto";

/** The most that `auto` stores in host memory: a quarter of the memory of a small machine. */
export const AUTO_MEMORY_BYTES = 4 * 2 ** 30;

/** A folder in which states outlive the process. */
export interface StatesKeeping {
  readonly folder: StatesFolder;
  readonly place: StatesPlace;
}

/** The sizes of the states, and where they may be stored. */
export interface HiddenStatesOptions {
  readonly batches: readonly Batch[];
  readonly tokens: number;
  readonly hiddenSize: number;
  /** The most bytes to store on the device. */
  readonly deviceBytes: number;
  /** The folder for states. Without it they are in memory only. */
  readonly keeping?: StatesKeeping;
}

/** The states of all windows. Call `fill` or `load` first, and `destroy` at the end. */
export class HiddenStates {
  readonly batches: readonly Batch[];
  readonly #backend: Backend;
  readonly #batchBytes: readonly BatchBytes[];
  readonly #totalBytes: number;
  readonly #isOnDisk: boolean;
  readonly #store: StatesStore;
  readonly #folder?: StatesFolder;
  #block = 0;

  constructor(
    backend: Backend,
    { batches, tokens, hiddenSize, deviceBytes, keeping }: HiddenStatesOptions,
  ) {
    const windowBytes = tokens * hiddenSize * 4;
    this.batches = batches;
    this.#backend = backend;
    this.#batchBytes = batches.map(({ first, count }) => ({
      offset: first * windowBytes,
      length: count * windowBytes,
    }));
    const last = this.#batchBytes[batches.length - 1];
    this.#totalBytes = last.offset + last.length;
    this.#folder = keeping?.folder;
    const place = choosePlace(this.#totalBytes, deviceBytes, keeping?.place);
    this.#isOnDisk = place === "disk";
    this.#store = this.#createStore(place);
  }

  #createStore(place: "device" | "host" | "disk"): StatesStore {
    if (place === "device") return new DeviceStates(this.#backend, this.#batchBytes);
    if (place === "host") return new HostStates(this.#backend, this.#batchBytes);
    return new DiskStates(this.#backend, this.#batchBytes, this.#totalBytes, this.#folder!);
  }

  /** The block that comes next: the states are its inputs. */
  get block(): number {
    return this.#block;
  }

  /** Sets the inputs of block 0. `gather` returns the states of a batch, (batch.count · tokens, hidden) f32. */
  async fill(gather: (batch: Batch) => Promise<Float32Array<ArrayBuffer>>): Promise<void> {
    const draft = this.#isOnDisk ? await this.#folder?.create(0) : undefined;
    try {
      for (const [i, batch] of this.batches.entries()) {
        const states = await gather(batch);
        const bytes = new Uint8Array(states.buffer, states.byteOffset, states.byteLength);
        await draft?.write(this.#batchBytes[i].offset, bytes);
        this.#store.put(i, bytes);
      }
      await draft?.commit();
    } finally {
      await draft?.close();
    }
  }

  /** Loads the inputs of `block` from the folder. @throws {ModelError} if the file has another size */
  async load(block: number): Promise<void> {
    if (!this.#folder) throw new TypeError("hidden states: there is no folder to load them from");
    const file = await this.#folder.open(block, this.#totalBytes);
    try {
      if (!this.#isOnDisk) {
        for (const [i, { offset, length }] of this.#batchBytes.entries()) {
          this.#store.put(i, await file.read(offset, length));
        }
      }
    } finally {
      await file.close();
    }
    this.#block = block;
  }

  /**
   * Runs `work` on each batch in turn and stores the changed states, which are then the inputs of the next block.
   * @param done called when a batch is finished
   */
  async update(work: StatesWork, done?: (batch: Batch) => void): Promise<void> {
    const draft = await this.#folder?.create(this.#block + 1);
    let written = Promise.resolve();
    try {
      for await (const [i, states] of this.#store.bring(this.#block, false)) {
        const { offset, length } = this.#batchBytes[i];
        await work(states, this.batches[i]);
        if (draft || this.#store.needsBytes) {
          const bytes = await this.#backend.read(states, 0, length);
          this.#store.putBack(i, bytes);
          await written; // the previous batch is written while the device works on this one
          if (draft) written = draft.write(offset, bytes);
          written.catch(() => {}); // awaited above or below
        } else await this.#backend.finish();
        done?.(this.batches[i]);
      }
      await written;
      await draft?.commit();
    } finally {
      await draft?.close();
    }
    this.#block++;
  }

  /** Runs `work` on a copy of each batch in turn. The stored states do not change. */
  async visit(work: StatesWork, done?: (batch: Batch) => void): Promise<void> {
    for await (const [i, states] of this.#store.bring(this.#block, true)) {
      await work(states, this.batches[i]);
      // Waiting limits how much is queued, and lets other tasks run.
      await this.#backend.finish();
      done?.(this.batches[i]);
    }
  }

  /** Frees the device memory. */
  destroy(): void {
    this.#store.destroy();
  }
}

function choosePlace(
  totalBytes: number,
  deviceBytes: number,
  place: StatesPlace = "memory",
): "device" | "host" | "disk" {
  if (place === "disk") return "disk";
  if (totalBytes <= deviceBytes) return "device";
  return place === "auto" && totalBytes > AUTO_MEMORY_BYTES ? "disk" : "host";
}
