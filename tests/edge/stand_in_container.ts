/**
 * Stands in for a container of Cloudflare, which the local runtime cannot start. The container is a process that runs
 * `pare serve` with the arguments of the image and with the variables that the Durable Object sets.
 */

import { freePort } from "../../scripts/processes/child_edge.ts";
import { type ChildHost, startHost } from "../../scripts/processes/child_host.ts";
import { SOLVER_PORT } from "../../src/edge/hosts/solver_container.ts";
import type { Container } from "../../src/edge/runtime.ts";

export class StandInContainer implements Container {
  /** The variables of each start. */
  readonly starts: Readonly<Record<string, string>>[] = [];
  readonly #port = freePort();
  #host: Promise<ChildHost> | undefined;

  get running(): boolean {
    return this.#host !== undefined;
  }

  start({ env }: Parameters<Container["start"]>[0]): void {
    this.starts.push(env);
    // The port is that of another process on this machine.
    this.#host = startHost(["--host", "0.0.0.0", "--port", String(this.#port)], env);
    this.#host.then(({ ended }) => ended).finally(() => this.#host = undefined);
  }

  getTcpPort(port: number): ReturnType<Container["getTcpPort"]> {
    if (port !== SOLVER_PORT) {
      throw new Error(`port ${port}: the host of the image listens on ${SOLVER_PORT}`);
    }
    return {
      fetch: (request) => {
        const url = Object.assign(new URL(request.url), { host: `127.0.0.1:${this.#port}` });
        return fetch(new Request(url, request));
      },
    };
  }

  setInactivityTimeout(): Promise<void> {
    return Promise.resolve();
  }

  /** Sends SIGTERM to the process as soon as it listens. Resolves when it has ended. */
  async signal(): Promise<void> {
    await (await this.#host)?.[Symbol.asyncDispose]();
  }
}
