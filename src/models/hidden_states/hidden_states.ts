/**
 * The hidden states of all windows between two blocks: on the device where they fit its share, else in host memory or
 * in a file, a batch visiting the device at a time. With a folder to keep them in, they are written there after
 * every block wherever else they are. What is done to them is the caller's.
 */

import type { Backend, DeviceBuffer } from "../../backend/backend.ts";
import type { Batch } from "../batches.ts";
import type { StatesFolder } from "./states_folder.ts";

/** Work on one batch's states, (batch.count · tokens, hidden) f32: queues kernels, and may read back. */
export type StatesWork = (states: DeviceBuffer, batch: Batch) => void | Promise<void>;

/** Where states are while nobody works on them: `auto` is `disk` past {@link AUTO_MEMORY_BYTES}. */
export type StatesPlace = "memory" | "disk" | "auto";

/** The most that `auto` holds in host memory: a quarter of what a small machine has. */
export const AUTO_MEMORY_BYTES = 4 * 2 ** 30;

/** States that outlive the process. */
export interface StatesKeeping {
  readonly folder: StatesFolder;
  readonly place: StatesPlace;
}

/** What {@link HiddenStates} holds. */
export interface HiddenStatesOptions {
  readonly batches: readonly Batch[];
  readonly tokens: number;
  readonly hiddenSize: number;
  /** Most bytes to keep on the device. */
  readonly deviceBytes: number;
  /** Without it they are in memory alone. */
  readonly keeping?: StatesKeeping;
}

/** The states of every window. `fill` or `load` them first; destroy them when done. */
export class HiddenStates {
  readonly batches: readonly Batch[];
  readonly #backend: Backend;
  readonly #windowBytes: number;
  readonly #totalBytes: number;
  readonly #place: "device" | "host" | "disk";
  readonly #folder?: StatesFolder;
  /** The block that comes next. */
  #block = 0;
  /** One a batch when on the device. */
  readonly #buffers: DeviceBuffer[] = [];
  readonly #host: Uint8Array[] = [];
  /** Takes what is not on the device, or a copy that may be overwritten. */
  #scratch?: DeviceBuffer;

  constructor(
    backend: Backend,
    { batches, tokens, hiddenSize, deviceBytes, keeping }: HiddenStatesOptions,
  ) {
    this.batches = batches;
    this.#backend = backend;
    this.#windowBytes = tokens * hiddenSize * 4;
    const last = batches[batches.length - 1];
    this.#totalBytes = (last.first + last.count) * this.#windowBytes;
    this.#folder = keeping?.folder;
    this.#place = choosePlace(this.#totalBytes, deviceBytes, keeping?.place);
  }

  /** The block whose inputs the states are. */
  get block(): number {
    return this.#block;
  }

  /** Sets every batch to what `gather` gives of it, (batch.count · tokens, hidden) f32: the inputs of block 0. */
  async fill(gather: (batch: Batch) => Promise<Float32Array<ArrayBuffer>>): Promise<void> {
    const draft = this.#place === "disk" ? await this.#folder?.create(0) : undefined;
    try {
      for (const [i, batch] of this.batches.entries()) {
        const states = await gather(batch);
        const bytes = new Uint8Array(states.buffer, states.byteOffset, states.byteLength);
        if (draft) await draft.write(this.#offset(i), bytes);
        else this.#hold(i, bytes);
      }
      await draft?.commit();
    } finally {
      await draft?.close();
    }
  }

  /** Takes the states before `block` from the folder. @throws {ModelError} they are not of this size */
  async load(block: number): Promise<void> {
    if (!this.#folder) throw new TypeError("hidden states: have no folder to be loaded from");
    const file = await this.#folder.open(block, this.#totalBytes);
    try {
      if (this.#place !== "disk") {
        for (const i of this.batches.keys()) {
          this.#hold(i, await file.read(this.#offset(i), this.#byteLength(i)));
        }
      }
    } finally {
      await file.close();
    }
    this.#block = block;
  }

  /**
   * Runs `work` on each batch in turn; what it does to the states stays, and they are then before the next block.
   * Tells `done` when a batch is finished.
   */
  async update(work: StatesWork, done?: (batch: Batch) => void): Promise<void> {
    const draft = await this.#folder?.create(this.#block + 1);
    let written = Promise.resolve();
    try {
      for await (const [i, states] of this.#brought(false)) {
        await work(states, this.batches[i]);
        if (draft || this.#place === "host") {
          const bytes = await this.#backend.read(states, 0, this.#byteLength(i));
          if (this.#place === "host") this.#host[i] = bytes;
          await written; // of the batch before: one is written while the next is worked on
          if (draft) written = draft.write(this.#offset(i), bytes);
          written.catch(() => {}); // it is awaited above or below; until then its failure waits too
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

  /** As `update`, but on a copy of each batch: what `work` does to the states is forgotten. */
  async visit(work: StatesWork, done?: (batch: Batch) => void): Promise<void> {
    for await (const [i, states] of this.#brought(true)) {
      await work(states, this.batches[i]);
      // Waiting bounds how much is queued, and lets others run.
      await this.#backend.finish();
      done?.(this.batches[i]);
    }
  }

  /** Frees the device's memory. */
  destroy(): void {
    for (const buffer of this.#buffers) buffer.destroy();
    this.#scratch?.destroy();
  }

  /** Every batch on the device in turn, the next one being read meanwhile; with `copy`, none of them the original. */
  async *#brought(copy: boolean): AsyncGenerator<[index: number, states: DeviceBuffer], void, undefined> {
    const file = this.#place === "disk" ? await this.#folder?.open(this.#block, this.#totalBytes) : undefined;
    const read = (i: number) => {
      if (!file || i === this.batches.length) return undefined;
      const bytes = file.read(this.#offset(i), this.#byteLength(i));
      bytes.catch(() => {}); // awaited in its turn
      return bytes;
    };
    try {
      let ahead = read(0);
      for (const i of this.batches.keys()) {
        const bytes = file ? await ahead : this.#host[i];
        ahead = read(i + 1);
        yield [i, bytes ? this.#upload(bytes) : copy ? this.#copy(i) : this.#buffers[i]];
      }
    } finally {
      await file?.close();
    }
  }

  #hold(index: number, bytes: Uint8Array): void {
    if (this.#place === "host") {
      this.#host[index] = bytes;
      return;
    }
    const buffer = this.#backend.createBuffer("hidden states", bytes.byteLength);
    this.#buffers[index] = buffer;
    this.#backend.write(buffer, 0, bytes);
  }

  #copy(index: number): DeviceBuffer {
    const scratch = this.#shared();
    this.#backend.copy(this.#buffers[index], 0, scratch, 0, this.#byteLength(index));
    return scratch;
  }

  #upload(bytes: Uint8Array): DeviceBuffer {
    const scratch = this.#shared();
    this.#backend.write(scratch, 0, bytes);
    return scratch;
  }

  #shared(): DeviceBuffer {
    const largest = Math.max(...this.batches.map((batch) => batch.count));
    return this.#scratch ??= this.#backend.createBuffer("hidden states", largest * this.#windowBytes);
  }

  #offset(index: number): number {
    return this.batches[index].first * this.#windowBytes;
  }

  #byteLength(index: number): number {
    return this.batches[index].count * this.#windowBytes;
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
