/**
 * The soak: a host in a process of its own serves many clients for a long time, among them clients that are slow or that
 * disconnect. Every answer is compared with the expected bytes, and the memory of the host is sampled.
 */

import { sleep } from "../../src/base/waiting.ts";
import { uniform } from "../fixtures/random.ts";
import { percentile } from "../bench/measure/statistics.ts";
import { type ChildHost, startHost } from "../processes/child_host.ts";
import { memoryBytes } from "../processes/process_tree.ts";
import { type Counts, KINDS, noObservations, requestCount, runClient } from "./clients.ts";
import { makeRequests } from "./layer_requests.ts";
import { blockMeans, linearFit } from "./linear_fit.ts";

/** Options of {@link soak}. */
export interface SoakOptions {
  readonly minutes: number;
  readonly clients: number;
  /** @default cpu */
  readonly backend?: string;
  /** Called about every ten seconds with a line that describes the state. */
  readonly report?: (line: string) => void;
}

export interface SoakFigures {
  readonly minutes: number;
  readonly clients: number;
  readonly counts: Counts;
  /** The first outcomes that the soak does not expect, and the number of all of them. */
  readonly unexpected: { readonly count: number; readonly first: readonly string[] };
  /** The times of accepted requests of clients that are not slow, from the connection to the last byte. */
  readonly milliseconds: { readonly p50: number; readonly p99: number };
  readonly memory: {
    /** Resident memory in MiB: after the warm-up, at the end, and the largest sample. */
    readonly afterWarmUp: number;
    readonly atEnd: number;
    readonly peak: number;
    /** MiB per 1,000 requests after the warm-up, and its standard error. */
    readonly slope: number;
    readonly standardError: number;
    readonly samples: number;
    /** The mean resident memory of successive blocks of samples, in MiB. The line of the slope is fitted to them. */
    readonly blockMeans: readonly number[];
  };
  /** Bytes in buffers of the device after the last request. Statistics are not stored in a soak, so it should be 0. */
  readonly deviceBytesAtEnd: number;
  /** Whether the process of the host ended after SIGTERM with exit code 0. */
  readonly endedCleanly: boolean;
}

/** The part of the soak that counts as the warm-up. */
const WARM_UP = 0.4;
/**
 * The samples after the warm-up are averaged in this number of blocks, through which the line is fitted. Successive samples depend on each
 * other, because memory grows until a garbage collection and then falls. The means of blocks depend on each other much less.
 */
const BLOCKS = 12;
const SAMPLE_MILLISECONDS = 500, REPORT_MILLISECONDS = 10_000, SETTLE_MILLISECONDS = 30_000;
/** The number of unexpected outcomes that are kept as texts. */
const KEPT_TEXTS = 20;

/** Runs the soak. @throws {Error} if the host does not start or refuses one of the requests beforehand */
export async function soak(options: SoakOptions): Promise<{ figures: SoakFigures; host: ChildHost }> {
  const { minutes, clients, backend = "cpu", report = () => {} } = options;
  const requests = await (async () => {
    await using undisturbed = await startHost(["--backend", backend]);
    return await makeRequests(undisturbed);
  })();
  await using host = await startHost(["--backend", backend]);
  const seen = noObservations(), started = performance.now(), end = started + minutes * 60_000;
  const isOver = () => performance.now() >= end;
  const running = Promise.all(
    Array.from(
      { length: clients },
      (_, i) =>
        runClient(KINDS[i % KINDS.length], host.url, requests, seen, { random: uniform(i + 1), isOver }),
    ),
  );
  const samples: (readonly [thousands: number, mebibytes: number])[] = [];
  let warm = -1, reported = started;
  while (!isOver()) {
    await sleep(SAMPLE_MILLISECONDS);
    samples.push([requestCount(seen.counts) / 1000, memoryBytes(host.pid, "VmRSS") / 2 ** 20]);
    const now = performance.now();
    if (warm < 0 && now >= started + WARM_UP * (end - started)) warm = samples.length - 1;
    if (now - reported < REPORT_MILLISECONDS) continue;
    reported = now;
    report(
      `${((now - started) / 60_000).toFixed(1)} min, ${samples.at(-1)![1].toFixed(0)} MiB, ` +
        `${JSON.stringify(seen.counts)}, ${seen.unexpected.length} unexpected`,
    );
  }
  await running;
  const deviceBytesAtEnd = await settledDeviceBytes(host);
  const measured = samples.slice(Math.max(0, warm));
  const blocks = blockMeans(measured, BLOCKS), { slope, standardError } = linearFit(blocks);
  await host[Symbol.asyncDispose]();
  const status = await host.ended as Deno.CommandStatus;
  const figures: SoakFigures = {
    minutes,
    clients,
    counts: seen.counts,
    unexpected: { count: seen.unexpected.length, first: seen.unexpected.slice(0, KEPT_TEXTS) },
    milliseconds: { p50: percentile(seen.milliseconds, 50), p99: percentile(seen.milliseconds, 99) },
    memory: {
      afterWarmUp: measured[0][1],
      atEnd: measured.at(-1)![1],
      peak: Math.max(...samples.map(([, mebibytes]) => mebibytes)),
      slope,
      standardError,
      samples: measured.length,
      blockMeans: blocks.map(([, mebibytes]) => mebibytes),
    },
    deviceBytesAtEnd,
    endedCleanly: status.code === 0,
  };
  return { figures, host };
}

/** Waits until the device holds no buffers, for half a minute at most. Returns the bytes that it holds then. */
async function settledDeviceBytes({ url }: ChildHost): Promise<number> {
  for (const end = performance.now() + SETTLE_MILLISECONDS;;) {
    const text = await (await fetch(`${url}/metrics`)).text();
    const bytes = Number(/^pare_device_live_bytes (\S+)$/m.exec(text)?.[1] ?? NaN);
    if (bytes === 0 || performance.now() > end) return bytes;
    await sleep(100);
  }
}
