/** The far end of a RemoteBackend: runs its calls on a real backend, in order, inside the worker that owns the device. */

import type { Backend, DeviceBuffer } from "./backend.ts";
import {
  type Command,
  kernelNamed,
  type Reply,
  type Request,
  toErrorData,
  type Wait,
} from "./remote_protocol.ts";

/** The part of a MessagePort, a Worker or a worker's global scope that both ends use. */
export interface Port {
  postMessage(message: unknown, options: { transfer: Transferable[] }): void;
  addEventListener(type: "message", listener: (event: MessageEvent) => void): void;
}

/** Opens a backend and serves it to `port` until it is disposed of. What is sent before it is open waits. */
export async function serveBackend(port: Port, open: () => Promise<Backend>): Promise<void> {
  const reply = (message: Reply, transfer: Transferable[] = []) => port.postMessage(message, { transfer });
  let backend: Backend;
  try {
    backend = await open();
  } catch (error) {
    reply({ failed: toErrorData(error) });
    return;
  }
  const server = new BackendServer(backend, reply);
  port.addEventListener("message", ({ data }) => void server.take(data as Request));
  const { kind, adapter, maxBufferBytes } = backend;
  reply({ opened: { kind, maxBufferBytes, adapter: { name: adapter.name, software: adapter.software } } });
}

class BackendServer {
  readonly #backend: Backend;
  readonly #reply: (message: Reply, transfer?: Transferable[]) => void;
  readonly #buffers = new Map<number, DeviceBuffer>();
  /** The first error of a command: commands are not answered, so that the next wait tells it. */
  #fault: unknown;

  constructor(backend: Backend, reply: (message: Reply, transfer?: Transferable[]) => void) {
    this.#backend = backend;
    this.#reply = reply;
  }

  async take(request: Request): Promise<void> {
    if ("commands" in request) {
      for (const command of request.commands) this.#try(command);
      return;
    }
    const { number, wait } = request;
    try {
      const bytes = await this.#wait(wait);
      this.#reply({ number, bytes }, bytes ? [bytes.buffer] : []);
    } catch (error) {
      this.#reply({ number, error: toErrorData(error) });
    }
  }

  #try(command: Command): void {
    try {
      this.#run(command);
    } catch (error) {
      this.#fault ??= error;
    }
  }

  #run(command: Command): void {
    switch (command.call) {
      case "create":
        this.#buffers.set(command.id, this.#backend.createBuffer(command.label, command.byteLength));
        return;
      case "destroy":
        this.#buffers.get(command.id)?.destroy();
        this.#buffers.delete(command.id);
        return;
      case "clear":
        this.#backend.clear(this.#buffer(command.id));
        return;
      case "write":
        this.#backend.write(this.#buffer(command.id), command.byteOffset, command.bytes);
        return;
      case "copy": {
        const { source, sourceOffset, target, targetOffset, byteLength } = command;
        this.#backend.copy(
          this.#buffer(source),
          sourceOffset,
          this.#buffer(target),
          targetOffset,
          byteLength,
        );
        return;
      }
      case "dispatch": {
        const bound = Object.entries(command.buffers).map(([name, id]) => [name, this.#buffer(id)]);
        this.#backend.dispatch(kernelNamed(command.kernel), Object.fromEntries(bound), command.params);
      }
    }
  }

  async #wait(wait: Wait): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (wait.call === "dispose") {
      await this.#backend.dispose();
      return undefined;
    }
    const fault = this.#fault;
    this.#fault = undefined;
    if (fault !== undefined) throw fault;
    if (wait.call === "read") {
      return await this.#backend.read(this.#buffer(wait.id), wait.byteOffset, wait.byteLength);
    }
    await this.#backend.finish();
    return undefined;
  }

  /** One that could not be created is missed by whoever uses it; the reason comes first all the same. */
  #buffer(id: number): DeviceBuffer {
    const buffer = this.#buffers.get(id);
    if (!buffer) throw new TypeError("a buffer is used that does not exist");
    return buffer;
  }
}
