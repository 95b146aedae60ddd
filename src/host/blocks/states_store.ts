/**
 * Stores the hidden states of models whose blocks a host runs, by their names. The states are in host memory, so that
 * they take none from the device between two blocks. The blocks that clients send share the budget of the states. If it
 * is exceeded, stored answers are dropped, and then states are moved to a folder or freed, least recently used first.
 * States that a request uses are never moved.
 */

import type { Backend } from "../../device/backend.ts";
import type { StoredStates } from "../../protocol/messages.ts";
import { Refusal, tooLarge } from "../../protocol/refusal.ts";
import { BoundedQueue } from "../bounded_queue.ts";
import { describeStates, MAX_NAMES, type States, type StatesName } from "./states.ts";
import type { StatesFolder } from "./states_folder.ts";

/**
 * Returns the refusal of states that are not stored, or that are not those before the requested block.
 * @param fault the predicate of a sentence about the states
 */
export function statesNotFound(name: string, fault = "are not stored"): Refusal {
  const detail = `the states ${name} ${fault}: create them again, and run the blocks before`;
  return new Refusal("states_not_found", detail);
}

interface Entry {
  readonly name: StatesName;
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

export interface StatesStoreOptions {
  /** The memory for hidden states, blocks and answers together. */
  readonly budgetBytes: number;
  readonly clock: () => number;
  /** The folder for states without memory, and the device that runs them when they are used again. @default they are freed */
  readonly disk?: { readonly folder: StatesFolder; readonly backend: Backend };
}

export class StatesStore {
  /** The entries in the order of their last use, least recent first. */
  readonly #entries = new Map<string, Entry>();
  /** The entries that were deleted while requests use them, and those that are being written to the folder. */
  readonly #leaving = new Set<Entry>();
  readonly #options: StatesStoreOptions;
  #disk: StatesStoreOptions["disk"];
  /** The states that are being read from the folder. */
  readonly #loading = new Map<string, Promise<boolean>>();
  /** The end of the last eviction. */
  #evicted: Promise<void> = Promise.resolve();
  #reserved = 0;

  constructor(options: StatesStoreOptions) {
    this.#options = options;
    this.#disk = options.disk;
  }

  /** The bytes of all states and answers that are in memory, and those that are reserved. */
  get byteLength(): number {
    return [...this.#entries.values(), ...this.#leaving].reduce(addBytes, this.#reserved);
  }

  /**
   * Reserves memory for a request until the result is disposed of. If there is no room, evicts what no request uses.
   * @param subject names what needs the bytes
   * @param own the states that the request uses, or the name of the states that it replaces, which are then freed first
   * @throws {Refusal} `too_large` if the bytes and the states that the request uses exceed the budget
   * @throws {Refusal} `busy` if other requests use the rest. Nothing is evicted if they do when this method is called
   */
  async reserve(
    subject: string,
    byteLength: number,
    own: { readonly used: States } | { readonly replaced: StatesName },
  ): Promise<Disposable> {
    const { budgetBytes } = this.#options, used = "used" in own ? own.used : undefined;
    const limit = budgetBytes - (used ? used.byteLength + (used.sums?.byteLength ?? 0) : 0);
    if (byteLength > limit) throw tooLarge(subject, byteLength, limit);
    const idle = [...this.#idle(used).map(([, entry]) => entry), ...this.#beingWritten()].reduce(addBytes, 0);
    if (this.byteLength - idle + byteLength > budgetBytes) throw noMemory();
    const room = this.hold(byteLength);
    await this.#evict({ used, first: "replaced" in own ? keyOf(own.replaced) : undefined });
    if (this.byteLength <= budgetBytes) return room;
    // Requests have begun to use states in the meantime.
    room[Symbol.dispose]();
    throw noMemory();
  }

  /** Counts memory that a request has already, such as an answer that is sent, until the result is disposed of. */
  hold(byteLength: number): Disposable {
    this.#reserved += byteLength;
    return { [Symbol.dispose]: () => void (this.#reserved -= byteLength) };
  }

  /**
   * Stores states, for which memory is reserved, in the place of earlier ones of the name. The store now owns them.
   * @throws {FileError} if the earlier ones cannot be removed from the folder. The states are then freed
   */
  async add(name: StatesName, states: States): Promise<void> {
    try {
      await this.delete(name);
    } catch (error) {
      states.forward.destroy();
      throw error;
    }
    const isOwn = ([, { users, name: { owner } }]: [string, Entry]) => users === 0 && owner === name.owner;
    const own = [...this.#entries].filter(isOwn);
    if (own.length >= MAX_NAMES) await this.#move(...own[0]);
    this.#insert(name, states);
  }

  /** Describes the states, or returns undefined if there are none. Does not count as a use. */
  async describe(name: StatesName): Promise<StoredStates | undefined> {
    const key = keyOf(name);
    await this.#loaded(key);
    const entry = this.#entries.get(key);
    return entry ? describeStates(entry.states) : await this.#disk?.folder.describe(name, this.#disk.backend);
  }

  /** Returns the states, which are then in memory, or undefined if there are none. @throws {Refusal} as `reserve` */
  async find(name: StatesName): Promise<States | undefined> {
    const key = keyOf(name);
    while (!this.#entries.has(key)) if (!await this.#load(name)) return undefined;
    return this.#entries.get(key)!.states;
  }

  /** Calls `task` with the states, which no other request uses in the meantime. @throws {Refusal} `states_not_found` or `busy` */
  async use<T>(name: StatesName, task: (states: States) => Promise<T>, signal: AbortSignal): Promise<T> {
    const key = keyOf(name);
    while (!this.#entries.has(key)) if (!await this.#load(name)) throw statesNotFound(name.name);
    const entry = this.#entries.get(key)!;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    entry.users++;
    try {
      return await entry.queue.run(() => {
        if (this.#leaving.has(entry)) throw statesNotFound(name.name);
        return task(entry.states);
      }, signal);
    } finally {
      entry.users--;
      if (entry.users === 0 && this.#leaving.delete(entry)) entry.states.forward.destroy();
      await this.#evict();
    }
  }

  /**
   * Deletes states. If requests use them, they are freed later.
   * @param only the states to delete. Others that have taken their name stay
   * @returns whether there were any
   * @throws {FileError} if they cannot be removed from the folder
   */
  async delete(name: StatesName, only?: States): Promise<boolean> {
    const key = keyOf(name);
    await this.#loaded(key);
    const entry = this.#entries.get(key);
    if (only && entry?.states !== only) return false;
    if (entry) this.#remove(key, entry);
    return await this.#disk?.folder.remove(name) || entry !== undefined;
  }

  /**
   * Moves all states that no request uses to the folder, if there is one. The folder then belongs to the next store, so later
   * evictions only free states.
   */
  async close(): Promise<void> {
    if (!this.#disk) return;
    const moves = this.#idle().map(([key, entry]) => this.#move(key, entry));
    this.#disk = undefined;
    await Promise.all(moves);
  }

  #insert(name: StatesName, states: States): void {
    const { clock } = this.#options, key = keyOf(name), other = this.#entries.get(key);
    if (other) this.#remove(key, other); // a repeated request has created them at the same time
    const queue = new BoundedQueue({ concurrency: 1, maxWaiting: MAX_WAITING, clock });
    this.#entries.set(key, { name, states, queue, users: 0 });
  }

  /** Waits while the states are read from the folder. The request that reads them reports the error. */
  async #loaded(key: string): Promise<void> {
    while (this.#loading.has(key)) await this.#loading.get(key)!.catch(() => {});
  }

  /** Moves states from the folder into memory. Returns whether there were any. Requests for the same states share one reading. */
  #load(name: StatesName): Promise<boolean> {
    const key = keyOf(name);
    const loading = this.#loading.get(key) ?? this.#loadOnce(name).finally(() => this.#loading.delete(key));
    this.#loading.set(key, loading);
    return loading;
  }

  async #loadOnce(name: StatesName): Promise<boolean> {
    const disk = this.#disk, byteLength = await disk?.folder.byteLength(name);
    if (!disk || byteLength === undefined) return false;
    using _room = await this.reserve("the hidden states", byteLength, { replaced: name });
    const states = await disk.folder.take(name, disk.backend);
    if (states) this.#insert(name, states);
    return states !== undefined;
  }

  #remove(key: string, entry: Entry): void {
    this.#entries.delete(key);
    if (entry.users > 0) this.#leaving.add(entry);
    else entry.states.forward.destroy();
  }

  /** Moves states that no request uses to the folder, or frees them if there is none. */
  async #move(key: string, entry: Entry): Promise<void> {
    this.#entries.delete(key);
    this.#leaving.add(entry);
    await this.#disk?.folder.save(entry.name, entry.states);
    this.#leaving.delete(entry);
    entry.states.forward.destroy();
  }

  #idle(used?: States): [string, Entry][] {
    return [...this.#entries].filter(([, { users, states }]) => users === 0 && states !== used);
  }

  #beingWritten(): Entry[] {
    return [...this.#leaving].filter(({ users }) => users === 0);
  }

  /**
   * Drops answers and then moves states that no request uses, least recently used first, until the budget is met.
   * Evictions run one after the other.
   * @param used states that a request uses outside of `use`
   * @param first the key of the states that are freed before others
   */
  #evict(own: { readonly used?: States; readonly first?: string } = {}): Promise<void> {
    const evicted = this.#evicted.then(() => this.#evictInOrder(own));
    this.#evicted = evicted.catch(() => {});
    return evicted;
  }

  async #evictInOrder(
    { used, first }: { readonly used?: States; readonly first?: string },
  ): Promise<void> {
    const hasRoom = () => this.byteLength <= this.#options.budgetBytes;
    const idle = this.#idle(used), replaced = idle.filter(([key]) => key === first);
    const order = [...replaced, ...idle.filter(([key]) => key !== first)];
    for (const [, { states }] of order) {
      if (hasRoom()) return;
      states.answer = undefined;
    }
    if (!hasRoom()) { for (const [key, entry] of replaced) this.#remove(key, entry); }
    for (const [key, entry] of order) {
      if (hasRoom()) return;
      // A request may have taken the states while others were written.
      if (entry.users === 0 && this.#entries.get(key) === entry) await this.#move(key, entry);
    }
  }
}

function noMemory(): Refusal {
  const detail = "the memory for hidden states and blocks is in use";
  return new Refusal("busy", detail, { retryAfter: RETRY_SECONDS });
}

function keyOf({ owner, name }: StatesName): string {
  return `${owner}/${name}`;
}

/** Returns `sum` and the bytes of the states, their answer and their statistics. */
function addBytes(sum: number, { states: { byteLength, answer, sums } }: Entry): number {
  const answerBytes = answer?.parts.reduce((bytes, part) => bytes + part.byteLength, 0) ?? 0;
  return sum + byteLength + answerBytes + (sums?.byteLength ?? 0);
}
