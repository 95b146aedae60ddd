/**
 * The worker's side of a backend that runs in a Web Worker. The server opens the real backend, and runs the calls that
 * a `RemoteBackend` in another thread (`remote_backend.ts`) sends over a message port, in order.
 */

import { type Backend, type DeviceBuffer, DeviceLostError } from "./backend.ts";
import { freeArray } from "./host_memory.ts";
import {
  type AwaitedCall,
  type ErrorData,
  findKernel,
  type QueuedCall,
  type ReplyMessage,
  type RequestMessage,
  toErrorData,
} from "./remote_protocol.ts";

/** The methods that a MessagePort, a Worker and a worker's global scope have in common. */
export interface Port {
  postMessage(message: unknown, options: { transfer: Transferable[] }): void;
  addEventListener(type: "message", listener: (event: MessageEvent) => void): void;
}

/**
 * Opens a backend and runs the calls that arrive at `port` on it, until the backend is disposed of. The first reply
 * reports whether the backend could be opened. The other side must wait for that reply before it sends a call.
 */
export async function serveBackend(port: Port, open: () => Promise<Backend>): Promise<void> {
  const reply = (message: ReplyMessage, transfer: Transferable[] = []) =>
    port.postMessage(message, { transfer });
  let backend: Backend;
  try {
    backend = await open();
  } catch (error) {
    reply({ failed: toErrorData(error) });
    return;
  }
  const server = new BackendServer(backend, reply);
  port.addEventListener("message", ({ data }) => void server.handle(data as RequestMessage));
  const { kind, adapter, maxBufferBytes, memoryBytes } = backend;
  reply({ opened: { kind, adapter, maxBufferBytes, memoryBytes } });
}

/** Runs the calls that arrive in messages. Buffers are identified by the ids that the other side chose. */
class BackendServer {
  readonly #reply: (message: ReplyMessage, transfer?: Transferable[]) => void;
  readonly #buffers = new Map<number, DeviceBuffer>();
  /** The first error of a queued call. Queued calls get no reply, so the next awaited call reports the error. */
  #firstError: unknown;

  constructor(
    private readonly backend: Backend,
    reply: (message: ReplyMessage, transfer?: Transferable[]) => void,
  ) {
    this.#reply = reply;
  }

  async handle(request: RequestMessage): Promise<void> {
    if ("queued" in request) {
      for (const call of request.queued) this.#tryQueued(call);
      return;
    }
    const { id, awaited } = request;
    try {
      const bytes = await this.#runAwaited(awaited);
      this.#reply({ id, bytes }, bytes ? [bytes.buffer] : []);
    } catch (error) {
      this.#reply({ id, error: toErrorData(error) });
    }
  }

  #tryQueued(call: QueuedCall): void {
    try {
      this.#runQueued(call);
    } catch (error) {
      this.#firstError ??= error;
    }
  }

  #runQueued(call: QueuedCall): void {
    switch (call.name) {
      case "createBuffer":
        this.#buffers.set(call.id, this.backend.createBuffer(call.label, call.byteLength));
        return;
      case "destroyBuffer":
        this.#buffers.get(call.id)?.destroy();
        this.#buffers.delete(call.id);
        return;
      case "clear":
        this.backend.clear(this.#buffer(call.id));
        return;
      case "write":
        try {
          this.backend.write(this.#buffer(call.id), call.byteOffset, call.bytes);
        } finally {
          if (call.returnsMemory) void this.#returnMemory(call.bytes);
          else freeArray(call.bytes);
        }
        return;
      case "copy": {
        const { source, sourceOffset, target, targetOffset, byteLength } = call;
        this.backend.copy(
          this.#buffer(source),
          sourceOffset,
          this.#buffer(target),
          targetOffset,
          byteLength,
        );
        return;
      }
      case "dispatch": {
        const bound = Object.entries(call.buffers).map(([name, id]) => [name, this.#buffer(id)]);
        this.backend.dispatch(findKernel(call.kernel), Object.fromEntries(bound), call.params);
      }
    }
  }

  /**
   * Sends the memory of a write back as soon as the backend has room for another write of that size. So the other side
   * cannot run further ahead of the device than the staging memory allows.
   */
  async #returnMemory({ buffer: returned, byteLength }: Uint8Array<ArrayBuffer>): Promise<void> {
    let error: ErrorData | undefined;
    try {
      await this.backend.stagingRoom?.(byteLength);
    } catch (reason) {
      if (reason instanceof DeviceLostError) error = toErrorData(reason);
      else this.#firstError ??= reason;
    }
    this.#reply({ returned, error }, [returned]);
  }

  async #runAwaited(call: AwaitedCall): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (call.name === "dispose") {
      await this.backend.dispose();
      return undefined;
    }
    const error = this.#firstError;
    this.#firstError = undefined;
    if (error !== undefined) throw error;
    if (call.name === "read") {
      return await this.backend.read(this.#buffer(call.id), call.byteOffset, call.byteLength);
    }
    await this.backend.finish();
    return undefined;
  }

  /**
   * Returns the buffer with this id.
   * @throws {TypeError} if its allocation failed. The next awaited call reports the error of the allocation instead,
   *   because that error came first
   */
  #buffer(id: number): DeviceBuffer {
    const buffer = this.#buffers.get(id);
    if (!buffer) throw new TypeError(`buffer ${id} was never created`);
    return buffer;
  }
}
