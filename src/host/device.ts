/**
 * The device a host works on, and what lives and dies with it: the stored statistics and the two lanes. A device that is lost is
 * opened anew in the background; until then every use is refused. Which backend is opened is the entry point's business.
 */

import { type Backend, DeviceLostError, OutOfDeviceMemoryError } from "../backend/backend.ts";
import { DEVICE_REOPEN_SECONDS } from "../protocol/limits.ts";
import { FactorStore } from "./factor_store.ts";
import { BoundedQueue, BusyError } from "./bounded_queue.ts";
import { messageOf } from "../text/message_of.ts";

/** There is no device of the kind asked for. Trying again will not help. */
export class NoDeviceError extends Error {
  override name = "NoDeviceError";
}

/** What the host keeps within. */
export interface DeviceOptions {
  /** Device bytes for stored statistics and their factors; by the kind of backend unless given. */
  readonly storeBytes?: number;
  /** Layers on the device at once: one is solved while others stream in or out. */
  readonly residents: number;
  /** Requests that may wait to become residents. */
  readonly queueDepth: number;
  /** Milliseconds, from any origin. */
  readonly clock: () => number;
}

/** A device in use. */
export interface DeviceSession {
  readonly backend: Backend;
  readonly store: FactorStore;
  /** Places for layers on the device, from before the first byte is read to after the last is answered. */
  readonly residence: BoundedQueue;
  /** The solve itself, one at a time. Whoever waits here is a resident, so that this queue is short. */
  readonly solves: BoundedQueue;
}

/** A WebAssembly memory ends at 4 GiB; a GPU that holds the layers of a large model has 16 GB and more. */
const DEFAULT_STORE_BYTES: Readonly<Record<Backend["kind"], number>> = { cpu: 2 ** 30, webgpu: 4 * 2 ** 30 };

type State =
  | { readonly kind: "ready"; readonly session: DeviceSession }
  | { readonly kind: "unusable"; readonly error: NoDeviceError | DeviceLostError };

/** Opens the device, and opens it again when it is lost. */
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

  /** Opens the device for the first time. Where it cannot be had, every `session` says why. */
  async start(): Promise<void> {
    try {
      this.#begin(await this.#open());
    } catch (cause) {
      const reason = messageOf(cause);
      this.#state = { kind: "unusable", error: new NoDeviceError(reason, { cause }) };
    }
  }

  /** The device now; undefined while there is none. */
  current(): DeviceSession | undefined {
    return this.#state.kind === "ready" ? this.#state.session : undefined;
  }

  /** Why there is no device now; undefined while there is one. */
  fault(): NoDeviceError | DeviceLostError | undefined {
    return this.#state.kind === "unusable" ? this.#state.error : undefined;
  }

  /** The device now. @throws {NoDeviceError} {DeviceLostError} */
  session(): DeviceSession {
    if (this.#retired) throw new NoDeviceError("the host is shutting down");
    if (this.#state.kind === "unusable") throw this.#state.error;
    return this.#state.session;
  }

  /**
   * Judges a failure of work in `session`: a lost device is given up and opened anew; one without room for this work while other
   * work holds some is busy.
   * @returns the error to tell
   */
  handleFailure(error: unknown, session: DeviceSession): unknown {
    if (error instanceof DeviceLostError) this.#lose(error, session);
    if (error instanceof OutOfDeviceMemoryError && session.residence.running > 1) {
      return new BusyError(session.residence.running - 1, session.residence.retryAfterSeconds);
    }
    return error;
  }

  /** Gives out no more sessions; who has one may finish. */
  retire(): void {
    this.#retired = true;
  }

  /** Frees the device for good. */
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
        residence: new BoundedQueue({ width: residents, depth: queueDepth, clock }),
        solves: new BoundedQueue({ width: 1, depth: residents, clock }),
      },
    };
  }

  #lose(error: DeviceLostError, session: DeviceSession): void {
    if (this.#state.kind !== "ready" || this.#state.session !== session) return;
    this.#state = { kind: "unusable", error };
    // What a lost device cannot even dispose of is gone with it.
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
        // The state goes on saying what was lost; the next try may find the device back.
        if (!this.#closed) this.#reopenAfter(DEVICE_REOPEN_SECONDS);
      }
    }, seconds * 1000);
  }
}
