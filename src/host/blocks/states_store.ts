/**
 * Stores the hidden states of models whose blocks a host runs, by their names. The states are in host memory, so that
 * they take none from the device between two blocks. The blocks that clients send share the budget of the states. If it
 * is exceeded, the states that were not used for the longest time are freed. States that a request uses are never freed.
 */

import type { Digest } from "../../protocol/digest.ts";
import { tooLarge } from "../../protocol/refusal.ts";
import type { Forward } from "../../model/forward.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { BoundedQueue, BusyError } from "../bounded_queue.ts";

/** The name of states, and the digest of the API key that owns the name. */
export interface StatesName {
  readonly owner: string;
  readonly name: string;
}

/** The states are not stored, or they are not those before the requested block. */
export class StatesNotFoundError extends Error {
  override name = "StatesNotFoundError";

  /** @param fault the predicate of a sentence about the states */
  constructor(name: string, fault = "are not stored") {
    super(`the states ${name} ${fault}: create them again, and run the blocks before`);
  }
}

/** The answer to a request, for a client that repeats the request. */
export interface StoredAnswer {
  readonly block: number;
  /** The digest of the request. */
  readonly request: Digest;
  readonly parts: readonly Uint8Array<ArrayBuffer>[];
}

export interface States {
  /** The forward pass over all windows. Its model reads the weights of a block from `weights`. */
  readonly forward: Forward;
  readonly weights: Map<string, HostTensor>;
  readonly windows: readonly Uint32Array[];
  readonly validationWindows: readonly Uint32Array[];
  /** The bytes of the hidden states. */
  readonly byteLength: number;
  /** The bytes of the block that a request sends. 0 between two requests. */
  bodyBytes: number;
  /** The block that may be pruned next. Behind the last one, it is the number of blocks. */
  nextBlock: number;
  /** The answer for the last block. */
  answer?: StoredAnswer;
}

interface Entry {
  readonly states: States;
  /** Lets one request use the states at a time. */
  readonly queue: BoundedQueue;
  users: number;
  isDeleted: boolean;
}

/** The number of requests that may wait for the same states. A client sends one request at a time, and may repeat it. */
const MAX_WAITING = 2;

/** The seconds after which a client should try again if all states are in use. It is the time of a small block. */
const RETRY_SECONDS = 30;

export class StatesStore {
  /** The entries in the order of their last use, least recent first. */
  readonly #entries = new Map<string, Entry>();
  readonly #budget: number;
  readonly #clock: () => number;

  /** @param budgetBytes the memory for hidden states, blocks and answers together */
  constructor(budgetBytes: number, clock: () => number) {
    this.#budget = budgetBytes;
    this.#clock = clock;
  }

  get byteLength(): number {
    return this.#entries.values().reduce((sum, { states }) => sum + countBytes(states), 0);
  }

  /**
   * Frees old states until there is room for `byteLength` bytes.
   * @param subject names what needs the bytes
   * @throws {Refusal} `too_large` if the budget is smaller. Nothing is freed in this case
   * @throws {BusyError} if requests use the other states
   */
  makeRoom(subject: string, byteLength: number): void {
    if (byteLength > this.#budget) throw tooLarge(subject, byteLength, this.#budget);
    this.#evict(this.#budget - byteLength);
    if (this.byteLength + byteLength <= this.#budget) return;
    throw new BusyError("the memory for hidden states and blocks is in use", RETRY_SECONDS);
  }

  /** Stores states in the place of earlier ones of the same name. The store now owns them. */
  add(name: StatesName, states: States): void {
    this.delete(name);
    const queue = new BoundedQueue({ concurrency: 1, maxWaiting: MAX_WAITING, clock: this.#clock });
    this.#entries.set(keyOf(name), { states, queue, users: 0, isDeleted: false });
    this.#evict(this.#budget);
  }

  /** Returns the states, or undefined if there are none. Does not count as a use. */
  find(name: StatesName): States | undefined {
    return this.#entries.get(keyOf(name))?.states;
  }

  /** Calls `task` with the states, which no other request uses meanwhile. @throws {StatesNotFoundError} {BusyError} */
  async use<T>(name: StatesName, task: (states: States) => Promise<T>, signal: AbortSignal): Promise<T> {
    const key = keyOf(name), entry = this.#entries.get(key);
    if (!entry) throw new StatesNotFoundError(name.name);
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    entry.users++;
    try {
      return await entry.queue.run(() => {
        if (entry.isDeleted) throw new StatesNotFoundError(name.name);
        return task(entry.states);
      }, signal);
    } finally {
      entry.states.bodyBytes = 0;
      entry.users--;
      if (entry.isDeleted && entry.users === 0) entry.states.forward.destroy();
      else this.#evict(this.#budget);
    }
  }

  /**
   * Deletes states. If requests use them, they are freed later.
   * @param only the states to delete. Others that have taken their name stay
   * @returns whether there were any
   */
  delete(name: StatesName, only?: States): boolean {
    const key = keyOf(name), entry = this.#entries.get(key);
    if (!entry || only && entry.states !== only) return false;
    this.#entries.delete(key);
    entry.isDeleted = true;
    if (entry.users === 0) entry.states.forward.destroy();
    return true;
  }

  /** Frees states that no request uses until all together take at most `byteLength` bytes. */
  #evict(byteLength: number): void {
    for (const [key, { states, users }] of this.#entries) {
      if (this.byteLength <= byteLength) return;
      if (users > 0) continue;
      this.#entries.delete(key);
      states.forward.destroy();
    }
  }
}

function keyOf({ owner, name }: StatesName): string {
  return `${owner}/${name}`;
}

function countBytes({ byteLength, bodyBytes, answer }: States): number {
  return byteLength + bodyBytes + (answer?.parts.reduce((sum, part) => sum + part.byteLength, 0) ?? 0);
}
