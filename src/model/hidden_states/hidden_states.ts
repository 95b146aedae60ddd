/**
 * The hidden states of all windows, which are the outputs of one block and the inputs of the next one. They are stored in device memory if
 * they fit there, and otherwise in host memory or in a file. A callback receives the states of one batch at a time, on the device. If a
 * folder is given, the states are also written to it after every block, so that a killed forward pass can resume.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { pauses } from "../../base/waiting.ts";
import type { Batch } from "../batches.ts";
import { type BatchBytes, type DeviceBatch, HiddenStatesStore, type Place } from "./hidden_states_store.ts";
import type { HiddenStatesFolder } from "./hidden_states_folder.ts";
import { countColumns, type StateColumns, withColumns } from "./state_columns.ts";

/** Called with the hidden states of one batch, (batch.count · tokens, columns of the states) f32. It queues kernels, and may read buffers back. */
export type BatchCallback = (states: DeviceBuffer, batch: Batch) => void | Promise<void>;

/** Receives the new states of some batches. */
export interface StatesObserver {
  /** The index of the first batch whose new states are received. */
  readonly from: number;
  /** Receives the new states of batch `index`, (rows, hiddenSize) f32. */
  take(index: number, states: Float32Array): void;
}

/**
 * Where hidden states are stored. `memory` means device memory, or host memory if they do not fit on the device. `disk` means a
 * file. `auto` means `memory` up to {@link AUTO_MEMORY_BYTES}, and `disk` for larger states.
 */
export type HiddenStatesLocation = "memory" | "disk" | "auto";

/** The limit up to which `auto` stores hidden states in host memory. It is a quarter of the memory of a small machine. */
export const AUTO_MEMORY_BYTES = 4 * 2 ** 30;

export interface HiddenStatesStorage {
  readonly folder: HiddenStatesFolder;
  readonly location: HiddenStatesLocation;
}

/** The sizes of the hidden states, and the limits for storing them. */
export interface HiddenStatesOptions extends StateColumns {
  /** The batches, in order. There must be at least one. */
  readonly batches: readonly Batch[];
  readonly tokens: number;
  /** The limit up to which hidden states are stored in device memory. */
  readonly deviceBytes: number;
  /** By default, hidden states are stored in memory only. */
  readonly storage?: HiddenStatesStorage;
}

/** The hidden states of all windows. The caller calls `fill` or `load` first, and `destroy` at the end. */
export class HiddenStates {
  readonly batches: readonly Batch[];
  readonly #backend: Backend;
  readonly #options: HiddenStatesOptions;
  readonly #batchBytes: readonly BatchBytes[];
  readonly #totalBytes: number;
  readonly #store: HiddenStatesStore;
  readonly #folder?: HiddenStatesFolder;
  /** The states after an observed `update`, until `store`. */
  #draft?: Awaited<ReturnType<HiddenStatesFolder["create"]>>;
  #nextBlock = 0;
  #isPartlyChanged = false;

  constructor(backend: Backend, options: HiddenStatesOptions) {
    const { batches, tokens, deviceBytes, storage } = options;
    this.#options = options;
    const windowBytes = countStatesBytes(options, 1, tokens);
    this.batches = batches;
    this.#backend = backend;
    this.#batchBytes = batches.map(({ first, count }) => ({
      offset: first * windowBytes,
      length: count * windowBytes,
    }));
    const last = this.#batchBytes[batches.length - 1];
    this.#totalBytes = last.offset + last.length;
    this.#folder = storage?.folder;
    const place = choosePlace(this.#totalBytes, deviceBytes, storage?.location);
    this.#store = new HiddenStatesStore(backend, this.#batchBytes, place, storage?.folder);
  }

  /** The index of the block that runs next. The stored states are its inputs. */
  get nextBlock(): number {
    return this.#nextBlock;
  }

  /** Whether an update runs or has failed, after which some batches may be the inputs of the block after `nextBlock`. */
  get isPartlyChanged(): boolean {
    return this.#isPartlyChanged;
  }

  /** The states of the batches in order, f32, or undefined if they are not in host memory. */
  get hostBytes(): readonly Uint8Array[] | undefined {
    return this.#store.hostBytes;
  }

  /** Stores the inputs of `block`. `read` returns the states of one batch, (batch.count · tokens, columns of the states) f32. */
  async fill(read: (batch: Batch) => Promise<Float32Array<ArrayBuffer>>, block = 0): Promise<void> {
    const draft = this.#store.place === "disk" ? await this.#folder?.create(block) : undefined;
    const pause = pauses();
    try {
      for (const [i, batch] of this.batches.entries()) {
        await pause();
        const states = await read(batch);
        const bytes = new Uint8Array(states.buffer, states.byteOffset, states.byteLength);
        await draft?.write(this.#batchBytes[i].offset, bytes);
        this.#store.storeInitial(i, bytes);
      }
      await draft?.commit();
    } finally {
      await draft?.close();
    }
    this.#nextBlock = block;
  }

  /** Loads the inputs of `block` from the folder. @throws {ModelError} if the file does not have the size of these states */
  async load(block: number): Promise<void> {
    if (!this.#folder) throw new TypeError("hidden states: cannot be loaded without a folder");
    const file = await this.#folder.open(block, this.#totalBytes);
    try {
      for (const [i, { offset, length }] of this.#batchBytes.entries()) {
        if (this.#store.place !== "disk") this.#store.storeInitial(i, await file.read(offset, length));
      }
    } finally {
      await file.close();
    }
    this.#nextBlock = block;
  }

  /**
   * Calls `change` with each batch. `change` overwrites the states of the batch with the inputs of the next
   * block. The new states are then stored. With an observer, they are in the folder only after a call of `store`.
   * @param onBatchDone called after each batch
   */
  async update(
    change: BatchCallback,
    onBatchDone?: (batch: Batch) => void,
    observer?: StatesObserver,
  ): Promise<void> {
    const draft = await this.#folder?.create(this.#nextBlock + 1);
    const isInPlace = this.#store.place === "device", observed = observer?.from ?? Infinity;
    let written = Promise.resolve();
    this.#isPartlyChanged = isInPlace;
    try {
      await this.#runBatches(this.#store.onDevice(this.#nextBlock, false, 0), {
        queue: change,
        resultOf: async (states, { length }, index) => {
          if (draft || !isInPlace || index >= observed) return await this.#backend.read(states, 0, length);
          await this.#backend.finish();
          return undefined;
        },
        take: async (bytes, i) => {
          if (bytes) {
            if (i >= observed) observer?.take(i, this.#hiddenPart(bytes));
            this.#isPartlyChanged = true;
            this.#store.storeChanged(i, bytes);
            await written;
            if (draft) written = draft.write(this.#batchBytes[i].offset, bytes);
            written.catch(() => {}); // A failed write is reported by `await written`.
          }
          onBatchDone?.(this.batches[i]);
        },
      });
      await written;
    } catch (error) {
      await draft?.close();
      throw error;
    }
    this.#draft = draft;
    this.#nextBlock++;
    this.#isPartlyChanged = false;
    if (!observer) await this.store();
  }

  /** Moves the states after an observed `update` into the folder. If a forward pass is killed before this call, it repeats the update. */
  async store(): Promise<void> {
    const draft = this.#draft;
    this.#draft = undefined;
    try {
      await draft?.commit();
    } finally {
      await draft?.close();
    }
  }

  /** Calls `use` with a copy of each batch. The stored states do not change. @param onBatchDone called after each batch */
  async visit(use: BatchCallback, onBatchDone?: (batch: Batch) => void): Promise<void> {
    await this.#runBatches(this.#store.onDevice(this.#nextBlock, true, 0), {
      queue: use,
      resultOf: () => this.#backend.finish(),
      take: (_, i) => onBatchDone?.(this.batches[i]),
    });
  }

  /** Yields a copy of each batch. A copy is valid until the next one is requested. */
  async *copies(): AsyncGenerator<DeviceBuffer, void, undefined> {
    for await (const [, states] of this.#store.onDevice(this.#nextBlock, true, 0)) yield states;
  }

  /**
   * Calls `change` with a copy of each batch from index `observer.from` on. The observer receives the states that `change` has left. The
   * stored states do not change.
   */
  async visitOutputs(change: BatchCallback, observer: StatesObserver): Promise<void> {
    await this.#readChanged(change, observer.from, (bytes, i) => observer.take(i, this.#hiddenPart(bytes)));
  }

  /** Returns the states that `change` makes of a copy of each batch. They are stored in memory, and the caller destroys them. */
  async changedCopy(change: BatchCallback): Promise<HiddenStates> {
    const changed = new HiddenStates(this.#backend, { ...this.#options, storage: undefined });
    try {
      await this.#readChanged(change, 0, (bytes, i) => changed.#store.storeInitial(i, bytes));
    } catch (error) {
      changed.destroy();
      throw error;
    }
    return changed;
  }

  /** Reads the states that `change` makes of copies of the batches from index `from` on. */
  #readChanged(
    change: BatchCallback,
    from: number,
    take: BatchSteps<Uint8Array<ArrayBuffer>>["take"],
  ): Promise<void> {
    return this.#runBatches(this.#store.onDevice(this.#nextBlock, true, from), {
      queue: change,
      resultOf: (states, { length }) => this.#backend.read(states, 0, length),
      take,
    });
  }

  /** Returns the hidden states without the shared columns, (rows, hiddenSize). */
  #hiddenPart({ buffer, byteLength }: Uint8Array<ArrayBuffer>): Float32Array {
    const states = new Float32Array(buffer, 0, byteLength / 4), { hiddenSize } = this.#options;
    return withColumns(states, countColumns(this.#options), hiddenSize);
  }

  /**
   * Queues the work of each batch, and takes its result after the work of the next batch was queued. So the device always has work,
   * the number of queued commands is limited, and other tasks of the process can run.
   */
  async #runBatches<Result>(batches: AsyncIterable<DeviceBatch>, steps: BatchSteps<Result>): Promise<void> {
    let earlier: { readonly index: number; readonly result: Promise<Result> } | undefined;
    for await (const [index, states] of batches) {
      await steps.queue(states, this.batches[index]);
      const result = steps.resultOf(states, this.#batchBytes[index], index);
      result.catch(() => {}); // An error is thrown when the result is taken, unless the loop ends before.
      if (earlier) await steps.take(await earlier.result, earlier.index);
      earlier = { index, result };
    }
    if (earlier) await steps.take(await earlier.result, earlier.index);
  }

  /** Frees the device memory for a batch. The next batch allocates it again. */
  freeScratch(): void {
    this.#store.freeScratch();
  }

  destroy(): void {
    this.#draft?.close().catch(() => {}); // the run has failed before `store`
    this.#store.destroy();
  }
}

interface BatchSteps<Result> {
  /** Queues the kernels of a batch. */
  readonly queue: BatchCallback;
  /** Returns what follows from the kernels of a batch, once the device has run them. */
  readonly resultOf: (states: DeviceBuffer, bytes: BatchBytes, index: number) => Promise<Result>;
  /** Receives the result of batch `index`. */
  readonly take: (result: Result, index: number) => void | Promise<void>;
}

/** Returns the bytes of the states of `windows` windows. */
export function countStatesBytes(columns: StateColumns, windows: number, tokens: number): number {
  return windows * tokens * countColumns(columns) * 4;
}

/** Returns where `totalBytes` of hidden states are stored. */
export function choosePlace(
  totalBytes: number,
  deviceBytes: number,
  location: HiddenStatesLocation = "memory",
): Place {
  if (location === "disk") return "disk";
  if (totalBytes <= deviceBytes) return "device";
  return location === "auto" && totalBytes > AUTO_MEMORY_BYTES ? "disk" : "host";
}
