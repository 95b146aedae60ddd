/**
 * A backend that lives in a worker. Some devices are waited for on the thread that drives them (WebGPU in Deno is), which
 * would stop a server's event loop for as long as a solve takes; here only the worker stops. Every call but `read` and
 * `finish` is queued by contract, so that nothing changes for the caller, except that a full device is told at the next wait.
 */

import type { Kernel } from "../kernels/kernel.ts";
import {
  type Adapter,
  type Backend,
  type BackendCounters,
  type DeviceBuffer,
  DeviceLostError,
  OutOfRoomError,
} from "./backend.ts";
import type { Port } from "./backend_server.ts";
import {
  type Command,
  type ErrorData,
  fromErrorData,
  type Reply,
  type Request,
  type Wait,
} from "./remote_protocol.ts";

/** A port, how to end what is behind it, and how its own end is told. A Worker is one. */
export interface RemotePort extends Port {
  terminate(): void;
  addEventListener(type: "message", listener: (event: MessageEvent) => void): void;
  addEventListener(type: "error", listener: (event: ErrorEvent) => void): void;
}

/** Commands sent as one message: a message costs more than a command. */
const BATCH = 128;

/**
 * Waits for the worker behind `port`, which runs `serveBackend`, to open its backend.
 * @throws what opening threw, by its name and message; the worker is then ended
 */
export function connectBackend(port: RemotePort): Promise<Backend> {
  return new Promise((resolve, reject) => {
    let backend: RemoteBackend | undefined;
    port.addEventListener("message", ({ data }) => {
      const reply = data as Reply;
      if ("opened" in reply) resolve(backend = new RemoteBackend(port, reply.opened));
      else if ("failed" in reply) {
        port.terminate();
        reject(fromErrorData(reply.failed));
      } else backend?.answered(reply);
    });
    port.addEventListener("error", (event) => {
      event.preventDefault();
      const error = new DeviceLostError(`the worker of the device failed: ${event.message}`);
      backend?.lose(error);
      reject(error);
    });
  });
}

class RemoteBuffer implements DeviceBuffer {
  #alive = true;
  constructor(
    readonly owner: RemoteBackend,
    readonly id: number,
    readonly label: string,
    readonly byteLength: number,
  ) {}

  destroy(): void {
    if (this.#alive) this.owner.release(this);
    this.#alive = false;
  }

  get alive(): boolean {
    return this.#alive;
  }
}

interface Pending {
  resolve(bytes: Uint8Array<ArrayBuffer> | undefined): void;
  reject(error: Error): void;
}

class RemoteBackend implements Backend {
  readonly kind: Backend["kind"];
  readonly adapter: Adapter;
  readonly maxBufferBytes: number;
  readonly counters: BackendCounters = {
    dispatches: 0,
    bytesWritten: 0,
    bytesRead: 0,
    bytesLive: 0,
    bytesPeak: 0,
  };
  readonly #port: RemotePort;
  readonly #pending = new Map<number, Pending>();
  #commands: Command[] = [];
  #transfer: Transferable[] = [];
  #flushQueued = false;
  #numbers = 0;
  #lost: DeviceLostError | undefined;

  constructor(
    port: RemotePort,
    { kind, adapter, maxBufferBytes }: Pick<Backend, "kind" | "adapter" | "maxBufferBytes">,
  ) {
    this.#port = port;
    this.kind = kind;
    this.adapter = adapter;
    this.maxBufferBytes = maxBufferBytes;
  }

  createBuffer(label: string, byteLength: number): DeviceBuffer {
    if (byteLength > this.maxBufferBytes) {
      throw new OutOfRoomError(
        `buffer ${label}: ${byteLength} bytes are over the ${this.maxBufferBytes} a buffer can have on ${this.adapter.name}`,
      );
    }
    const size = Math.max(4, Math.ceil(byteLength / 4) * 4);
    const buffer = new RemoteBuffer(this, this.#numbers++, label, size);
    this.#queue({ call: "create", id: buffer.id, label, byteLength: size });
    this.counters.bytesLive += size;
    this.counters.bytesPeak = Math.max(this.counters.bytesPeak, this.counters.bytesLive);
    return buffer;
  }

  /** Called by the buffer itself, once. */
  release(buffer: RemoteBuffer): void {
    this.counters.bytesLive -= buffer.byteLength;
    // What was on a lost device is gone with it.
    if (!this.#lost) this.#queue({ call: "destroy", id: buffer.id });
  }

  write(target: DeviceBuffer, byteOffset: number, bytes: Uint8Array): void {
    const copy = new Uint8Array(bytes);
    this.counters.bytesWritten += bytes.byteLength;
    this.#queue({ call: "write", id: this.#idOf(target), byteOffset, bytes: copy }, copy.buffer);
  }

  copy(
    source: DeviceBuffer,
    sourceOffset: number,
    target: DeviceBuffer,
    targetOffset: number,
    byteLength: number,
  ): void {
    const ids = { source: this.#idOf(source), target: this.#idOf(target) };
    this.#queue({ call: "copy", ...ids, sourceOffset, targetOffset, byteLength });
  }

  clear(target: DeviceBuffer): void {
    this.#queue({ call: "clear", id: this.#idOf(target) });
  }

  dispatch<B extends string, P extends string>(
    kernel: Kernel<B, P>,
    buffers: Readonly<Record<B, DeviceBuffer>>,
    params: Readonly<Record<P, number>>,
  ): void {
    const ids = Object.entries<DeviceBuffer>(buffers).map(([name, buffer]) => [name, this.#idOf(buffer)]);
    this.#queue({ call: "dispatch", kernel: kernel.name, buffers: Object.fromEntries(ids), params });
    this.counters.dispatches++;
  }

  async read(source: DeviceBuffer, byteOffset: number, byteLength: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = await this.#wait({ call: "read", id: this.#idOf(source), byteOffset, byteLength });
    this.counters.bytesRead += byteLength;
    return bytes!;
  }

  async finish(): Promise<void> {
    await this.#wait({ call: "finish" });
  }

  async dispose(): Promise<void> {
    const lost = new DeviceLostError("dispose() was called on its backend");
    try {
      if (!this.#lost) await this.#wait({ call: "dispose" });
    } finally {
      this.lose(lost);
      this.#port.terminate();
    }
  }

  /** Takes the answer of a wait. */
  answered(
    { number, bytes, error }: { number: number; bytes?: Uint8Array<ArrayBuffer>; error?: ErrorData },
  ): void {
    const pending = this.#pending.get(number);
    this.#pending.delete(number);
    if (error === undefined) return pending?.resolve(bytes);
    const told = fromErrorData(error);
    pending?.reject(told);
    if (told instanceof DeviceLostError) this.lose(told);
  }

  #wait(wait: Wait): Promise<Uint8Array<ArrayBuffer> | undefined> {
    this.#assertAlive();
    this.#flush();
    const number = this.#numbers++;
    this.#port.postMessage({ wait, number } satisfies Request, { transfer: [] });
    return new Promise((resolve, reject) => this.#pending.set(number, { resolve, reject }));
  }

  #queue(command: Command, transfer?: Transferable): void {
    this.#assertAlive();
    this.#commands.push(command);
    if (transfer) this.#transfer.push(transfer);
    if (this.#commands.length >= BATCH) this.#flush();
    else if (!this.#flushQueued) {
      this.#flushQueued = true;
      queueMicrotask(() => this.#flush());
    }
  }

  #flush(): void {
    this.#flushQueued = false;
    if (this.#commands.length === 0 || this.#lost) return;
    this.#port.postMessage({ commands: this.#commands } satisfies Request, { transfer: this.#transfer });
    this.#commands = [];
    this.#transfer = [];
  }

  /** Makes every call from here on fail, and those that wait. */
  lose(error: DeviceLostError): void {
    this.#lost ??= error;
    for (const { reject } of this.#pending.values()) reject(this.#lost);
    this.#pending.clear();
  }

  #assertAlive(): void {
    if (this.#lost) throw this.#lost;
  }

  #idOf(buffer: DeviceBuffer): number {
    if (!(buffer instanceof RemoteBuffer) || buffer.owner !== this) {
      throw new TypeError(`buffer ${buffer.label} belongs to another backend`);
    }
    if (!buffer.alive) throw new TypeError(`buffer ${buffer.label} was destroyed`);
    return buffer.id;
  }
}
