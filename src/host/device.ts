/**
 * The device of a host, and everything that must be rebuilt when the device is lost: the stored statistics and the two queues. A lost
 * device is reopened in the background. Until then every use of it is refused. The entry point decides which backend is opened.
 */

import { type Backend, DeviceLostError, OutOfDeviceMemoryError } from "../backend/backend.ts";
import { DEVICE_REOPEN_SECONDS } from "../protocol/limits.ts";
import { FactorStore } from "./factor_store.ts";
import { BoundedQueue, BusyError } from "./bounded_queue.ts";
import { messageOf } from "../text/message_of.ts";

/** The machine has no device of the requested kind. Trying again does not help. */
export class NoDeviceError extends Error {
  override name = "NoDeviceError";
}

/** The limits of a device. */
export interface DeviceOptions {
  /** Device memory for stored statistics and their factors, in bytes. The default depends on the kind of backend. */
  readonly storeBytes?: number;
  /** The number of layers on the device at once. One of them is solved while others are read or answered. */
  readonly residents: number;
  /** The number of requests that may wait for a place on the device. */
  readonly queueDepth: number;
  /** Milliseconds, from any origin. */
  readonly clock: () => number;
}

/** An open device with its store and its queues. */
export interface DeviceSession {
  readonly backend: Backend;
  readonly store: FactorStore;
  /** The places for layers on the device. A layer has a place from before its first byte is read until its last byte is answered. */
  readonly residence: BoundedQueue;
  /** The solve itself, one layer at a time. Only layers that have a place wait here, so this queue is short. */
  readonly solves: BoundedQueue;
}

/** A WebAssembly memory has at most 4 GiB. A GPU for the layers of a large model has 16 GB or more. */
const DEFAULT_STORE_BYTES: Readonly<Record<Backend["kind"], number>> = { cpu: 2 ** 30, webgpu: 4 * 2 ** 30 };

type State =
  | { readonly kind: "ready"; readonly session: DeviceSession }
  | { readonly kind: "unusable"; readonly error: NoDeviceError | DeviceLostError };

/** Opens the device, and reopens it when it is lost. */
export class Device {
  readonly #open: () => Promise<Backend>;
  readonly #options: DeviceOptions;
  #state: State = { kind: "unusable", error: new NoDeviceError("the device is not open yet") };
  #retry: ReturnType<typeof setTimeout> | undefined;
  #retired = false;
  #closed = false;

  constructor(open: () => Promise<Backend>, options: DeviceOptions) {
    this.#open = open;
    this.#options = options;
  }

  /** Opens the device for the first time. If that fails, every call of `session` throws the reason. */
  async start(): Promise<void> {
    try {
      this.#begin(await this.#open());
    } catch (cause) {
      const reason = messageOf(cause);
      this.#state = { kind: "unusable", error: new NoDeviceError(reason, { cause }) };
    }
  }

  /** Returns the open device, or undefined while there is none. */
  current(): DeviceSession | undefined {
    return this.#state.kind === "ready" ? this.#state.session : undefined;
  }

  /** Returns the reason why there is no device, or undefined while there is one. */
  fault(): NoDeviceError | DeviceLostError | undefined {
    return this.#state.kind === "unusable" ? this.#state.error : undefined;
  }

  /** Returns the open device. @throws {NoDeviceError} {DeviceLostError} while there is none */
  session(): DeviceSession {
    if (this.#retired) throw new NoDeviceError("the host is shutting down");
    if (this.#state.kind === "unusable") throw this.#state.error;
    return this.#state.session;
  }

  /**
   * Handles an error of work in `session`. A lost device is reopened. If the device ran out of memory while it held other layers, the
   * error becomes a `BusyError`, because the work may succeed later.
   * @returns the error to report to the client
   */
  handleFailure(error: unknown, session: DeviceSession): unknown {
    if (error instanceof DeviceLostError) this.#lose(error, session);
    if (error instanceof OutOfDeviceMemoryError && session.residence.running > 1) {
      return new BusyError(session.residence.running - 1, session.residence.retryAfterSeconds);
    }
    return error;
  }

  /** Refuses new sessions. Work in existing sessions may finish. */
  retire(): void {
    this.#retired = true;
  }

  /** Closes the device permanently. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#retry);
    if (this.#state.kind !== "ready") return;
    const { backend } = this.#state.session;
    this.#state = { kind: "unusable", error: new NoDeviceError("the host is shutting down") };
    await backend.dispose();
  }

  #begin(backend: Backend): void {
    const { residents, queueDepth, clock, storeBytes = DEFAULT_STORE_BYTES[backend.kind] } = this.#options;
    this.#state = {
      kind: "ready",
      session: {
        backend,
        store: new FactorStore(storeBytes),
        residence: new BoundedQueue({ concurrency: residents, maxWaiting: queueDepth, clock }),
        solves: new BoundedQueue({ concurrency: 1, maxWaiting: residents, clock }),
      },
    };
  }

  #lose(error: DeviceLostError, session: DeviceSession): void {
    if (this.#state.kind !== "ready" || this.#state.session !== session) return;
    this.#state = { kind: "unusable", error };
    // If a lost device cannot be disposed of, its resources are gone with it.
    session.backend.dispose().catch(() => {});
    this.#reopenAfter(0);
  }

  #reopenAfter(seconds: number): void {
    this.#retry = setTimeout(async () => {
      try {
        const backend = await this.#open();
        if (this.#closed) await backend.dispose();
        else this.#begin(backend);
      } catch {
        // The state still holds the reason of the loss. The next attempt may succeed.
        if (!this.#closed) this.#reopenAfter(DEVICE_REOPEN_SECONDS);
      }
    }, seconds * 1000);
  }
}
