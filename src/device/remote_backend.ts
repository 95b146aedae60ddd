/**
 * A backend whose device is driven by a Web Worker. In Deno, waiting for a WebGPU device blocks the thread that waits,
 * and a server's event loop must keep running. Each call is sent to a backend server in the worker
 * (`backend_server.ts`). Callers see one difference: if memory is full, the error comes from the next `read` or
 * `finish` and not from `createBuffer`.
 */

import type { Kernel } from "./kernels/kernel.ts";
import {
  type Adapter,
  type Backend,
  type DeviceBuffer,
  DeviceLostError,
  type HostMemory,
  newCounters,
  OutOfDeviceMemoryError,
} from "./backend.ts";
import type { Port } from "./backend_server.ts";
import { MemoryPool } from "./memory_pool.ts";
import {
  type AwaitedCall,
  type ErrorData,
  fromErrorData,
  type QueuedCall,
  type ReplyMessage,
  type RequestMessage,
} from "./remote_protocol.ts";

/** The interface of a Worker: a port that can stop the worker and reports when the worker fails. */
export interface RemotePort extends Port {
  terminate(): void;
  addEventListener(type: "message", listener: (event: MessageEvent) => void): void;
  addEventListener(type: "error", listener: (event: ErrorEvent) => void): void;
}

/** The most queued calls in one message. They are batched, because sending a message costs more than running a call. */
const CALLS_PER_MESSAGE = 128;

/**
 * Connects to the worker behind `port`, which must run `serveBackend`, and waits until it has opened its backend.
 * @throws {DeviceLostError} if the worker fails
 * @throws {Error} with the name and message of the error with which the worker failed to open its backend
 */
export function connectBackend(port: RemotePort): Promise<Backend> {
  return new Promise((resolve, reject) => {
    let backend: RemoteBackend | undefined;
    port.addEventListener("message", ({ data }) => {
      const reply = data as ReplyMessage;
      if ("opened" in reply) resolve(backend = new RemoteBackend(port, reply.opened));
      else if ("failed" in reply) {
        port.terminate();
        reject(fromErrorData(reply.failed));
      } else if ("returned" in reply) backend?.takeBack(reply);
      else backend?.handleReply(reply);
    });
    port.addEventListener("error", (event) => {
      event.preventDefault();
      const error = new DeviceLostError(`the worker that drives the device failed: ${event.message}`);
      backend?.markLost(error);
      reject(error);
    });
  });
}

class RemoteBuffer implements DeviceBuffer {
  #destroyed = false;
  constructor(
    readonly owner: RemoteBackend,
    readonly id: number,
    readonly label: string,
    readonly byteLength: number,
  ) {}

  destroy(): void {
    if (!this.#destroyed) this.owner.release(this);
    this.#destroyed = true;
  }

  get destroyed(): boolean {
    return this.#destroyed;
  }
}

interface PendingCall {
  resolve(bytes: Uint8Array<ArrayBuffer> | undefined): void;
  reject(error: Error): void;
}

/** The backend that callers in this thread use. It sends their calls to the server. */
class RemoteBackend implements Backend {
  readonly kind: Backend["kind"];
  readonly adapter: Adapter;
  readonly maxBufferBytes: number;
  readonly memoryBytes?: number;
  readonly counters = newCounters();
  readonly #pending = new Map<number, PendingCall>();
  readonly #memory = new MemoryPool();
  #unsentCalls: QueuedCall[] = [];
  #unsentTransfer: Transferable[] = [];
  #flushScheduled = false;
  #nextId = 0;
  #lost: DeviceLostError | undefined;

  constructor(
    private readonly port: RemotePort,
    { kind, adapter, maxBufferBytes, memoryBytes }: Pick<
      Backend,
      "kind" | "adapter" | "maxBufferBytes" | "memoryBytes"
    >,
  ) {
    this.kind = kind;
    this.adapter = adapter;
    this.maxBufferBytes = maxBufferBytes;
    this.memoryBytes = memoryBytes;
  }

  createBuffer(label: string, byteLength: number): DeviceBuffer {
    if (byteLength > this.maxBufferBytes) {
      throw new OutOfDeviceMemoryError(
        `buffer ${label}: ${byteLength} bytes are over the limit of ${this.maxBufferBytes} bytes per buffer on ` +
          this.adapter.name,
      );
    }
    const size = Math.max(4, Math.ceil(byteLength / 4) * 4);
    const buffer = new RemoteBuffer(this, this.#nextId++, label, size);
    this.#queue({ name: "createBuffer", id: buffer.id, label, byteLength: size });
    this.counters.bytesLive += size;
    this.counters.bytesPeak = Math.max(this.counters.bytesPeak, this.counters.bytesLive);
    return buffer;
  }

  release(buffer: RemoteBuffer): void {
    this.counters.bytesLive -= buffer.byteLength;
    // The buffers of a lost device were freed with the device.
    if (!this.#lost) this.#queue({ name: "destroyBuffer", id: buffer.id });
  }

  write(target: DeviceBuffer, byteOffset: number, bytes: Uint8Array): void {
    const id = this.#idOf(target);
    this.#assertAlive();
    this.counters.bytesWritten += bytes.byteLength;
    const returnsMemory = this.#memory.send(bytes.buffer);
    // Borrowed memory is an ArrayBuffer, which can be transferred. Other bytes are copied, because the caller may reuse
    // them at once.
    const sent = returnsMemory ? bytes as Uint8Array<ArrayBuffer> : new Uint8Array(bytes);
    this.#queue({ name: "write", id, byteOffset, bytes: sent, returnsMemory }, sent.buffer);
    // Flushing detaches borrowed memory before the caller can write to it again, and starts the transfer at once.
    if (returnsMemory) this.#flush();
  }

  borrowMemory(byteLength: number): Promise<HostMemory> {
    return this.#memory.borrow(byteLength);
  }

  copy(
    source: DeviceBuffer,
    sourceOffset: number,
    target: DeviceBuffer,
    targetOffset: number,
    byteLength: number,
  ): void {
    const ids = { source: this.#idOf(source), target: this.#idOf(target) };
    this.#queue({ name: "copy", ...ids, sourceOffset, targetOffset, byteLength });
  }

  clear(target: DeviceBuffer): void {
    this.#queue({ name: "clear", id: this.#idOf(target) });
  }

  dispatch<B extends string, P extends string>(
    kernel: Kernel<B, P>,
    buffers: Readonly<Record<B, DeviceBuffer>>,
    params: Readonly<Record<P, number>>,
  ): void {
    const ids = Object.entries<DeviceBuffer>(buffers).map(([name, buffer]) => [name, this.#idOf(buffer)]);
    this.#queue({ name: "dispatch", kernel: kernel.name, buffers: Object.fromEntries(ids), params });
    this.counters.dispatches++;
  }

  async read(source: DeviceBuffer, byteOffset: number, byteLength: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = await this.#call({ name: "read", id: this.#idOf(source), byteOffset, byteLength });
    this.counters.bytesRead += byteLength;
    return bytes!;
  }

  async finish(): Promise<void> {
    await this.#call({ name: "finish" });
  }

  async dispose(): Promise<void> {
    const lost = new DeviceLostError("the backend was disposed of");
    try {
      if (!this.#lost) await this.#call({ name: "dispose" });
    } finally {
      this.markLost(lost);
      this.port.terminate();
    }
  }

  /** Takes back borrowed memory that a write had moved to the worker. */
  takeBack({ returned, error }: { returned: ArrayBuffer; error?: ErrorData }): void {
    this.#memory.receive(returned);
    const restored = error && fromErrorData(error);
    if (restored instanceof DeviceLostError) this.markLost(restored);
  }

  handleReply(
    { id, bytes, error }: { id: number; bytes?: Uint8Array<ArrayBuffer>; error?: ErrorData },
  ): void {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (error === undefined) return pending?.resolve(bytes);
    const restored = fromErrorData(error);
    pending?.reject(restored);
    if (restored instanceof DeviceLostError) this.markLost(restored);
  }

  /** Rejects all pending calls with `error` and makes every later call throw it. */
  markLost(error: DeviceLostError): void {
    this.#lost ??= error;
    for (const { reject } of this.#pending.values()) reject(this.#lost);
    this.#pending.clear();
    this.#memory.fail(this.#lost);
  }

  #call(awaited: AwaitedCall): Promise<Uint8Array<ArrayBuffer> | undefined> {
    this.#assertAlive();
    this.#flush();
    const id = this.#nextId++;
    this.port.postMessage({ awaited, id } satisfies RequestMessage, { transfer: [] });
    return new Promise((resolve, reject) => this.#pending.set(id, { resolve, reject }));
  }

  #queue(call: QueuedCall, transfer?: Transferable): void {
    this.#assertAlive();
    this.#unsentCalls.push(call);
    if (transfer) this.#unsentTransfer.push(transfer);
    if (this.#unsentCalls.length >= CALLS_PER_MESSAGE) this.#flush();
    else if (!this.#flushScheduled) {
      this.#flushScheduled = true;
      queueMicrotask(() => this.#flush());
    }
  }

  #flush(): void {
    this.#flushScheduled = false;
    if (this.#unsentCalls.length === 0 || this.#lost) return;
    const message: RequestMessage = { queued: this.#unsentCalls };
    this.port.postMessage(message, { transfer: this.#unsentTransfer });
    this.#unsentCalls = [];
    this.#unsentTransfer = [];
  }

  #assertAlive(): void {
    if (this.#lost) throw this.#lost;
  }

  #idOf(buffer: DeviceBuffer): number {
    if (!(buffer instanceof RemoteBuffer) || buffer.owner !== this) {
      throw new TypeError(`buffer ${buffer.label} belongs to another backend`);
    }
    if (buffer.destroyed) throw new TypeError(`buffer ${buffer.label} was destroyed`);
    return buffer.id;
  }
}
