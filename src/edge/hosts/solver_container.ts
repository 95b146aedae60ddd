/**
 * The solver of a deployment: a host without a GPU in a container of Cloudflare. A Durable Object starts the container
 * at the first request, and stops it when it is idle. For the registry it is a host that is woken by a request.
 */

import type { Container, DurableObjectNamespace, DurableObjectState, Remote } from "../runtime.ts";
import type { WokenHost } from "./woken_hosts.ts";

/** The solver in the registry. No server has this URL, because `hostFetch` sends its requests to the Durable Object. */
export const SOLVER_HOST: WokenHost = { id: "solver", url: "http://solver.invalid" };

/** The port on which the host listens in its container. */
export const SOLVER_PORT = 8000;

/** The time after the last request at which the container is stopped. The edge asks for a running task more often. */
const IDLE_MILLISECONDS = 5 * 60_000;

/** The time after which the runtime itself stops an idle container. The alarm comes earlier. */
const INACTIVITY_MILLISECONDS = 2 * IDLE_MILLISECONDS;

const SIGTERM = 15;

/** The methods of the Durable Object of the binding `SOLVER`. */
export class SolverContainer {
  readonly #storage: DurableObjectState["storage"];
  readonly #container: Container | undefined;
  readonly #variables: () => Record<string, string>;

  /** @param variables returns the environment variables of the host */
  constructor({ storage, container }: DurableObjectState, variables: () => Record<string, string>) {
    this.#storage = storage;
    this.#container = container;
    this.#variables = variables;
  }

  /**
   * Sends a request to the host. If its container does not run, it is started.
   * @throws {Error} if the class has no container, or while the host does not listen yet
   */
  async fetch(request: Request): Promise<Response> {
    const container = this.#container;
    if (!container) throw new Error("SOLVER: wrangler.toml declares no container for its class");
    await this.#storage.setAlarm(Date.now() + IDLE_MILLISECONDS);
    if (!container.running) {
      container.start({ env: this.#variables(), enableInternet: true });
      await container.setInactivityTimeout(INACTIVITY_MILLISECONDS);
    }
    return await container.getTcpPort(SOLVER_PORT).fetch(request);
  }

  /** Stops the idle container. The runtime calls this method at the time that the last request has set. */
  alarm(): void {
    if (this.#container?.running) this.#container.signal(SIGTERM);
  }
}

/** Returns the function that sends requests to hosts. Those to the solver go to its Durable Object. */
export function hostFetch(
  solver: DurableObjectNamespace<Remote<SolverContainer>> | undefined,
): (url: URL, init: RequestInit) => Promise<Response> {
  return (url, init) =>
    solver && url.origin === SOLVER_HOST.url
      ? solver.getByName(SOLVER_HOST.id).fetch(new Request(url, init))
      : fetch(url, init);
}
