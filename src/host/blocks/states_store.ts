/**
 * Stores the hidden states of models whose blocks a host runs, by their names. The states are in host memory, so that
 * they take none from the device between two blocks. The blocks that clients send share the budget of the states. If it
 * is exceeded, stored answers are dropped, and then states are freed, least recently used first. States that a request
 * uses are never freed.
 */

import type { Digest } from "../../protocol/digest.ts";
import { tooLarge } from "../../protocol/refusal.ts";
import type { Forward } from "../../model/forward.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import type { GroupSums } from "../../prune/round_statistics.ts";
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

/** The sums of one layer, or of several with the same input, for fitted and for held-out windows. */
export interface LayerSums {
  /** The sums of the parts in order: F32 [n(n+1)/2], the upper triangle packed row by row. */
  readonly parts: Readonly<Record<keyof GroupSums, HostTensor[]>>;
  /** The numbers of tokens in the sums of all parts. */
  readonly tokens: Record<keyof GroupSums, number>;
}

/** The statistics of the layers of a block. */
export interface StoredSums {
  readonly byteLength: number;
  /** The sums by the names of the weights. */
  readonly layers: ReadonlyMap<string, LayerSums>;
}

export interface States {
  /** The forward pass over all windows. Its model reads the weights of a block from `weights`. */
  readonly forward: Forward;
  readonly weights: Map<string, HostTensor>;
  readonly windows: readonly Uint32Array[];
  readonly validationWindows: readonly Uint32Array[];
  /** The bytes of the hidden states. */
  readonly byteLength: number;
  /** The block that may be pruned next. Behind the last one, it is the number of blocks. */
  nextBlock: number;
  /** The answer for the block pruned last. It is dropped if its memory is needed. */
  answer?: StoredAnswer;
  /** The statistics of the block that runs next, for a run on several hosts. */
  sums?: StoredSums;
}

interface Entry {
  readonly states: States;
  /** Lets one request use the states at a time. */
  readonly queue: BoundedQueue;
  /** The number of requests that use the states or wait for them. */
  users: number;
}

/** The number of requests that may wait for the same states. A client sends one request at a time, and may repeat it. */
const MAX_WAITING = 2;

/** The seconds after which a client should try again if all states are in use. It is the time of a small block. */
const RETRY_SECONDS = 30;

/** The number of names of one API key. The memory of a model's description, apart from its states, is not counted. */
const MAX_NAMES = 64;

export class StatesStore {
  /** The entries in the order of their last use, least recent first. */
  readonly #entries = new Map<string, Entry>();
  /** The entries that were deleted while requests use them. */
  readonly #deleted = new Set<Entry>();
  readonly #budget: number;
  readonly #clock: () => number;
  #reserved = 0;

  /** @param budgetBytes the memory for hidden states, blocks and answers together */
  constructor(budgetBytes: number, clock: () => number) {
    this.#budget = budgetBytes;
    this.#clock = clock;
  }

  /** The bytes of all states and answers that are in memory, and those that are reserved. */
  get byteLength(): number {
    return [...this.#entries.values(), ...this.#deleted].reduce(addBytes, this.#reserved);
  }

  /**
   * Reserves memory for a request until the result is disposed of. If there is no room, frees what no request uses.
   * @param subject names what needs the bytes
   * @param own the states that the request uses, or the name of the states that it replaces, which are then freed first
   * @throws {Refusal} `too_large` if the bytes and the states that the request uses exceed the budget
   * @throws {BusyError} if other requests use the rest. Nothing is freed if this method throws
   */
  reserve(subject: string, byteLength: number, own: { used: States } | { replaced: StatesName }): Disposable {
    const used = "used" in own ? own.used : undefined;
    const limit = this.#budget - (used ? used.byteLength + (used.sums?.byteLength ?? 0) : 0);
    if (byteLength > limit) throw tooLarge(subject, byteLength, limit);
    const idle = this.#idle(used).map(([, entry]) => entry).reduce(addBytes, 0);
    if (this.byteLength - idle + byteLength > this.#budget) {
      throw new BusyError("the memory for hidden states and blocks is in use", RETRY_SECONDS);
    }
    this.#evict(byteLength, { used, first: "replaced" in own ? keyOf(own.replaced) : undefined });
    return this.hold(byteLength);
  }

  /** Counts memory that a request has already, such as an answer that is sent, until the result is disposed of. */
  hold(byteLength: number): Disposable {
    this.#reserved += byteLength;
    return { [Symbol.dispose]: () => void (this.#reserved -= byteLength) };
  }

  /** Stores states, for which memory is reserved, in the place of earlier ones of the name. The store now owns them. */
  add(name: StatesName, states: States): void {
    this.delete(name);
    const isOwn = ([key, { users }]: [string, Entry]) =>
      users === 0 && key.startsWith(keyOf({ ...name, name: "" }));
    const own = [...this.#entries].filter(isOwn);
    if (own.length >= MAX_NAMES) this.#remove(...own[0]);
    const queue = new BoundedQueue({ concurrency: 1, maxWaiting: MAX_WAITING, clock: this.#clock });
    this.#entries.set(keyOf(name), { states, queue, users: 0 });
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
        if (this.#deleted.has(entry)) throw new StatesNotFoundError(name.name);
        return task(entry.states);
      }, signal);
    } finally {
      entry.users--;
      if (entry.users === 0 && this.#deleted.delete(entry)) entry.states.forward.destroy();
      this.#evict(0);
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
    this.#remove(key, entry);
    return true;
  }

  #remove(key: string, entry: Entry): void {
    this.#entries.delete(key);
    if (entry.users > 0) this.#deleted.add(entry);
    else entry.states.forward.destroy();
  }

  #idle(used?: States): [string, Entry][] {
    return [...this.#entries].filter(([, { users, states }]) => users === 0 && states !== used);
  }

  /**
   * Frees answers and then states that no request uses, least recently used first, until `byteLength` bytes are free.
   * @param used states that a request uses outside of `use`
   * @param first the key of the states that are freed before others
   */
  #evict(
    byteLength: number,
    { used, first }: { readonly used?: States; readonly first?: string } = {},
  ): void {
    const idle = this.#idle(used);
    const order = [...idle.filter(([key]) => key === first), ...idle.filter(([key]) => key !== first)];
    const hasRoom = () => this.byteLength + byteLength <= this.#budget;
    for (const [, { states }] of order) {
      if (hasRoom()) return;
      states.answer = undefined;
    }
    for (const [key, entry] of order) {
      if (hasRoom()) return;
      this.#remove(key, entry);
    }
  }
}

function keyOf({ owner, name }: StatesName): string {
  return `${owner}/${name}`;
}

/** Returns `sum` and the bytes of the states, their answer and their statistics. */
function addBytes(sum: number, { states: { byteLength, answer, sums } }: Entry): number {
  const answerBytes = answer?.parts.reduce((bytes, part) => bytes + part.byteLength, 0) ?? 0;
  return sum + byteLength + answerBytes + (sums?.byteLength ?? 0);
}
