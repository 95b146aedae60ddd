/**
 * The accepted API keys of a host in a file, so that keys can be added and removed without a restart. The host reads
 * the whole file every few seconds. It cannot wait for a change: Kubernetes mounts a secret as a link to a link, the
 * link's modification time says little, and no signal reaches the process of a container after the secret has changed.
 */

import { messageOf } from "../base/errors.ts";
import { type Key, type KeySource, parseKeyFile } from "../protocol/keys.ts";
import type { LogEntry } from "./metrics.ts";

/** The milliseconds between two readings. SECURITY.md promises that a removed key is refused within ten seconds. */
const READ_INTERVAL = 5000;

interface KeyFileOptions {
  readonly path: string;
  readonly read: () => Promise<string>;
  /** The time between two readings of the file. @default READ_INTERVAL */
  readonly intervalMilliseconds?: number;
}

/** A file of keys. If it becomes malformed or unreadable, the keys that were read last stay accepted. */
export class KeyFile implements KeySource {
  #text?: string;
  #current: readonly Key[] = [];

  private constructor(private readonly options: KeyFileOptions) {}

  /**
   * Reads a file of keys for the first time.
   * @throws {RangeError} naming the file, if it is malformed or has no key
   * @throws the error of `read`
   */
  static async open(options: KeyFileOptions): Promise<KeyFile> {
    const file = new KeyFile(options);
    await file.#readAgain();
    return file;
  }

  /** The keys that were read last. There is always at least one. */
  get current(): readonly Key[] {
    return this.#current;
  }

  /**
   * Reads the file again and again, and logs each change and each reason for which the file cannot be used.
   * @returns a function that stops the reading
   */
  watch(log: (entry: LogEntry) => void): () => void {
    const { path, intervalMilliseconds = READ_INTERVAL } = this.options;
    let timer: ReturnType<typeof setTimeout>, isStopped = false, loggedFault: string | undefined;
    const check = async () => {
      let fault: string | undefined;
      try {
        const changed = await this.#readAgain();
        if (changed) log({ event: "keys changed", file: path, keys: this.#current.length });
      } catch (error) {
        fault = messageOf(error);
        if (fault !== loggedFault) {
          log({ event: "keys not changed", file: path, fault, keys: this.#current.length });
        }
      }
      loggedFault = fault;
      if (!isStopped) timer = setTimeout(check, intervalMilliseconds);
    };
    timer = setTimeout(check, intervalMilliseconds);
    return () => {
      isStopped = true;
      clearTimeout(timer);
    };
  }

  /** Reads the file and replaces the keys. Returns whether the text has changed. */
  async #readAgain(): Promise<boolean> {
    const text = await this.options.read();
    if (text === this.#text) return false;
    try {
      this.#current = parseKeyFile(text);
    } catch (cause) {
      throw new RangeError(`key file ${this.options.path}: ${messageOf(cause)}`, { cause });
    }
    this.#text = text;
    return true;
  }
}
