/**
 * The device of a host. If the device is lost, it is reopened in the background, and meanwhile every request that
 * needs the device is refused. The stored statistics are lost with the device, and so are hidden states without a folder.
 */

import { type Backend, DeviceLostError, OutOfDeviceMemoryError } from "../device/backend.ts";
import { DEFAULT_STORE_BYTES } from "../layer/loan.ts";
import { SelfCheckError } from "./self_check/self_check.ts";
import {
  DEVICE_REOPEN_SECONDS,
  RESTART_SECONDS,
  STARTING_SECONDS,
  STATES_BYTES,
} from "../protocol/limits.ts";
import { messageOf } from "../base/errors.ts";
import { Refusal } from "../protocol/refusal.ts";
import { BoundedQueue } from "./bounded_queue.ts";
import type { StatesFolder } from "./blocks/states_folder.ts";
import { StatesStore } from "./blocks/states_store.ts";
import { FactorStore } from "./factor_store.ts";

/** Returns the refusal of a host that is shutting down, so that it accepts no new work. */
export function shuttingDown(): Refusal {
  return new Refusal("shutting_down", "the host is shutting down", { retryAfter: RESTART_SECONDS });
}

/** Returns the refusal of requests while no device is usable. A device that could not be opened at the start is not opened again. */
function noDevice(reason: string, cause?: unknown, retryAfter = RESTART_SECONDS): Refusal {
  return new Refusal("no_device", reason, { cause, retryAfter });
}

export interface DeviceOptions {
  /** The device memory for stored statistics and factors, in bytes. @default DEFAULT_STORE_BYTES of the backend */
  readonly storeBytes?: number;
  /** The host memory for the hidden states of models, in bytes. @default STATES_BYTES */
  readonly statesBytes?: number;
  /** The folder for hidden states without memory, and for all of them while the host restarts. @default they are lost */
  readonly statesFolder?: StatesFolder;
  /** The largest number of layers on the device at once. One of them is solved while others are read or answered. */
  readonly maxResidentLayers: number;
  readonly queueDepth: number;
  /** The longest time for which a request waits for a place on the device. */
  readonly queueMilliseconds: number;
  readonly clock: () => number;
}

/** An open device, with the parts of the host that are rebuilt when the device is lost. */
export interface DeviceSession {
  readonly backend: Backend;
  readonly store: FactorStore;
  readonly states: StatesStore;
  /** Limits the requests that use device memory. README.md says how long a layer holds its place. */
  readonly residentQueue: BoundedQueue;
  /** Limits the solves to one at a time. Only requests with a place in `residentQueue` wait here. */
  readonly solveQueue: BoundedQueue;
}

type DeviceState =
  | { readonly kind: "ready"; readonly session: DeviceSession }
  | { readonly kind: "unusable"; readonly error: Refusal | DeviceLostError };

export class Device {
  #state: DeviceState = {
    kind: "unusable",
    error: noDevice("the device is not open yet", undefined, STARTING_SECONDS),
  };
  #reopenTimer: ReturnType<typeof setTimeout> | undefined;
  #isStarting = true;
  #isAccepting = true;
  #isClosed = false;

  /** @param open opens a backend. It is called again after every loss */
  constructor(private readonly open: () => Promise<Backend>, private readonly options: DeviceOptions) {}

  get maxResidentLayers(): number {
    return this.options.maxResidentLayers;
  }

  /** Opens the device for the first time. If that fails, every call of `session` throws the reason. */
  async start(): Promise<void> {
    try {
      this.#openSession(await this.open());
    } catch (cause) {
      this.#state = { kind: "unusable", error: noDevice(messageOf(cause), cause) };
    } finally {
      this.#isStarting = false;
    }
  }

  /** True until `start` has ended. */
  get isStarting(): boolean {
    return this.#isStarting;
  }

  current(): DeviceSession | undefined {
    return this.#state.kind === "ready" ? this.#state.session : undefined;
  }

  unavailableReason(): Refusal | DeviceLostError | undefined {
    return this.#state.kind === "unusable" ? this.#state.error : undefined;
  }

  /** Returns the open device. @throws {Refusal} {DeviceLostError} if there is none */
  session(): DeviceSession {
    if (!this.#isAccepting) throw shuttingDown();
    if (this.#state.kind === "unusable") throw this.#state.error;
    return this.#state.session;
  }

  /**
   * Handles an error of a request that holds a place on the device of `session`. If the device was lost, it is reopened. If the device ran out of
   * memory while it also held other layers, the result is the refusal `busy`, because the request may succeed later.
   * @returns the error to report to the client
   */
  handleFailure(error: unknown, session: DeviceSession): unknown {
    if (error instanceof DeviceLostError) this.#handleDeviceLost(error, session);
    const { running, retryAfterSeconds } = session.residentQueue;
    if (error instanceof OutOfDeviceMemoryError && running > 1) {
      const others = running === 2 ? "another layer" : `${running - 1} other layers`;
      const detail = `the device has no memory for this layer beside ${others}`;
      return new Refusal("busy", detail, { retryAfter: retryAfterSeconds });
    }
    return error;
  }

  /**
   * Calls `work` with the open device. If the work loses the device, the device is reopened.
   * @throws the errors of `session` and of the work
   */
  async use<T>(work: (session: DeviceSession) => Promise<T>): Promise<T> {
    const session = this.session();
    try {
      return await work(session);
    } catch (error) {
      if (error instanceof DeviceLostError) this.#handleDeviceLost(error, session);
      throw error;
    }
  }

  /**
   * Calls `work` while it holds a place on the device of `session`. An error of the work is handled before the place is released.
   * @throws the errors of `BoundedQueue.acquire`, and the errors of the work as `handleFailure` returns them
   */
  withPlace<T>(session: DeviceSession, work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    return session.residentQueue.run(async () => {
      try {
        return await work();
      } catch (error) {
        throw this.handleFailure(error, session);
      }
    }, signal);
  }

  /** Makes `session` throw from now on. Requests that already have a session may finish. */
  stopAccepting(): void {
    this.#isAccepting = false;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#reopenTimer);
    if (this.#state.kind !== "ready") return;
    const { backend, states } = this.#state.session;
    this.#state = { kind: "unusable", error: shuttingDown() };
    await states.close();
    await backend.dispose();
  }

  #openSession(backend: Backend): void {
    const { maxResidentLayers, clock, storeBytes = DEFAULT_STORE_BYTES[backend.kind] } = this.options;
    const { queueDepth: maxWaiting, queueMilliseconds: maxWaitMilliseconds } = this.options;
    const { statesBytes = STATES_BYTES, statesFolder: folder } = this.options;
    this.#state = {
      kind: "ready",
      session: {
        backend,
        store: new FactorStore(storeBytes),
        states: new StatesStore({ budgetBytes: statesBytes, clock, disk: folder && { folder, backend } }),
        residentQueue: new BoundedQueue({
          concurrency: maxResidentLayers,
          maxWaiting,
          maxWaitMilliseconds,
          clock,
        }),
        solveQueue: new BoundedQueue({ concurrency: 1, maxWaiting: maxResidentLayers, clock }),
      },
    };
  }

  #handleDeviceLost(error: DeviceLostError, session: DeviceSession): void {
    // Several requests may report the same loss.
    if (this.#state.kind !== "ready" || this.#state.session !== session) return;
    this.#state = { kind: "unusable", error };
    // Hidden states are in host memory, so they can still be written to the folder. An error of `dispose` does not matter,
    // because the resources of a lost device are gone.
    session.states.close().then(() => session.backend.dispose()).catch(() => {});
    this.#reopenAfter(0);
  }

  #reopenAfter(seconds: number): void {
    this.#reopenTimer = setTimeout(async () => {
      try {
        const backend = await this.open();
        if (this.#isClosed) await backend.dispose();
        else this.#openSession(backend);
      } catch (error) {
        // The next attempt may succeed. Until then, requests get the reason of the loss, or why the device is refused.
        if (error instanceof SelfCheckError) {
          this.#state = { kind: "unusable", error: noDevice(error.message, error) };
        }
        if (!this.#isClosed) this.#reopenAfter(DEVICE_REOPEN_SECONDS);
      }
    }, seconds * 1000);
  }
}
