/** Starts a replayed image without a network, uses it over the loopback interface, and stops it. */

import { fileURLToPath } from "node:url";
import { startContainer } from "./container.ts";
import type { ReplayedImage } from "./replay.ts";

/** The observations of one container. Times are in ms since its start. */
export interface ContainerTrial {
  /** The adapter that the host named when it started. */
  readonly adapter: string;
  /** The user and the group of the processes. */
  readonly user: string;
  /** The names of the network interfaces. */
  readonly interfaces: readonly string[];
  readonly healthyMs: number;
  readonly readyMs: number;
  /** The shape of the pruned layer, and its zeros. */
  readonly layer: readonly number[];
  readonly zeros: number;
  readonly method: string;
  /** The exit codes of the health check while the host runs and without a host. */
  readonly healthcheck: { readonly running: number; readonly withoutHost: number };
  /** The time from SIGTERM to the end of the last process. */
  readonly stopMs: number;
}

const TRY_HOST = fileURLToPath(new URL("try_host.ts", import.meta.url));

/** The port that the image listens on by default. */
const URL_INSIDE = "http://127.0.0.1:8000";

/** Starts the image with its own CMD. @throws {Error} if a part of the trial fails */
export async function tryImage(image: ReplayedImage): Promise<ContainerTrial> {
  const key = crypto.randomUUID();
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key))).toHex();
  await using container = await startContainer(image, { args: image.cmd, env: { PARE_KEYS: digest } });
  const tryHost = [
    Deno.execPath(),
    "run",
    "-A",
    "--quiet",
    TRY_HOST,
    URL_INSIDE,
    key,
    String(container.startedAt),
  ];
  const tried = await Promise.race([container.runInNetwork(tryHost), container.failed]);
  const running = await container.exec(image.healthcheck);
  const links: { ifname: string }[] = JSON.parse(await container.runInNetwork(["ip", "-json", "link"]));
  const stopping = Date.now(), { code, output } = await container.stop();
  const stopMs = Date.now() - stopping, withoutHost = await container.exec(image.healthcheck);
  if (code !== 0 || !output.includes('"event":"stopped"')) {
    throw new Error(`the host ended with exit code ${code} after SIGTERM:\n${output}`);
  }
  const listening = /"adapter":"([^"]*)"/.exec(output);
  return {
    adapter: listening?.[1] ?? "unknown",
    user: image.user,
    interfaces: links.map(({ ifname }) => ifname),
    ...JSON.parse(tried),
    healthcheck: { running, withoutHost },
    stopMs,
  };
}
