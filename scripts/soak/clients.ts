/** The clients of the soak. Each sends one request after the other until the soak ends. */

import { comparableAnswer, equalBytes } from "./comparable_answer.ts";
import { type Behaviour, exchange } from "./exchange.ts";
import type { LayerRequest } from "./layer_requests.ts";
import { resetConnection } from "./reset.ts";

export type ClientKind =
  | "steady"
  | "impatient"
  | "slow"
  | "leaves_sending"
  | "leaves_reading"
  | "resets_connecting"
  | "resets_sending"
  | "resets_reading"
  | "health";

/**
 * The kinds of the clients, in turn. Steady clients wait as long as Retry-After says. Impatient ones wait a tenth of a second, so
 * that the queue of the host stays full. Slow clients send and read in small pieces. Some clients reset their connections, and
 * those who do so before the host accepts them do it again and again. Meanwhile, honest clients ask `/healthz` on new connections.
 */
export const KINDS: readonly ClientKind[] = [
  "steady",
  "impatient",
  "steady",
  "slow",
  "steady",
  "leaves_sending",
  "resets_connecting",
  "leaves_reading",
  "resets_sending",
  "steady",
  "resets_reading",
  "health",
];

export interface Counts {
  /** Answers with status 200 whose bytes are the expected ones. */
  accepted: number;
  /** Answers with status 200 and other bytes. */
  wrong: number;
  /** Answers with status 429 and a Retry-After of whole seconds. */
  busy: number;
  /** Clients that disconnected in the middle of a body that the host had not refused, and in the middle of an answer. */
  leftSending: number;
  leftReading: number;
  /** Connections that clients reset before they sent a byte, in the middle of a body, and in the middle of an answer. */
  resetConnecting: number;
  resetSending: number;
  resetReading: number;
  /** Answers with status 200 of `/healthz`. */
  healthy: number;
  /** Answers to slow clients. They are also counted in `accepted`. */
  slow: number;
}

/** What the clients have seen so far. */
export interface Observations {
  readonly counts: Counts;
  /** Any other outcome, such as a broken connection or a status that the soak does not expect. */
  readonly unexpected: string[];
  /** The times of the accepted requests of clients that are not slow, in milliseconds. */
  readonly milliseconds: number[];
}

/** The number of requests for layers whose outcome is known. */
export function requestCount(
  { accepted, wrong, busy, leftSending, leftReading, resetSending, resetReading }: Counts,
): number {
  return accepted + wrong + busy + leftSending + leftReading + resetSending + resetReading;
}

export function noObservations(): Observations {
  const counts = {
    accepted: 0,
    wrong: 0,
    busy: 0,
    leftSending: 0,
    leftReading: 0,
    resetConnecting: 0,
    resetSending: 0,
    resetReading: 0,
    healthy: 0,
    slow: 0,
  };
  return { counts, unexpected: [], milliseconds: [] };
}

const IMPATIENT_MILLISECONDS = 100;

/** The pauses of a client that resets connections before they are accepted. Together they reset more than a hundred per second. */
const RESET_MILLISECONDS = 30;

const HEALTH_MILLISECONDS = 200;

/** Sends requests until `isOver` returns true. @param random returns uniformly distributed numbers in [0, 1) */
export async function runClient(
  kind: ClientKind,
  url: string,
  requests: readonly LayerRequest[],
  seen: Observations,
  { random, isOver }: { random: () => number; isOver: () => boolean },
): Promise<void> {
  while (!isOver()) {
    const request = requests[Math.floor(random() * requests.length)];
    let wait = 0;
    try {
      wait = await runOnce(kind, url, request, seen, random);
    } catch (error) {
      const { message, cause } = error as Error;
      seen.unexpected.push(`${kind}, ${request.name}: ${message}: ${cause ?? ""}`);
    }
    for (const end = performance.now() + wait; performance.now() < end && !isOver();) {
      await new Promise((resolve) => setTimeout(resolve, Math.min(200, end - performance.now() + 1)));
    }
  }
}

/** Sends one request, or resets one connection. Returns the milliseconds to wait before the next. */
async function runOnce(
  kind: ClientKind,
  url: string,
  request: LayerRequest,
  seen: Observations,
  random: () => number,
): Promise<number> {
  const { counts } = seen, started = performance.now();
  switch (kind) {
    case "resets_connecting":
      await resetConnection(url, "connecting", request, 0);
      counts.resetConnecting++;
      return RESET_MILLISECONDS;
    case "resets_sending":
      await resetConnection(url, "sending", request, random());
      counts.resetSending++;
      return IMPATIENT_MILLISECONDS;
    case "resets_reading":
      await resetConnection(url, "reading", request, 0.9 * random());
      counts.resetReading++;
      return IMPATIENT_MILLISECONDS;
    case "health": {
      const { status } = await exchange(url, { method: "GET", path: "/healthz" });
      if (status === 200) counts.healthy++;
      else seen.unexpected.push(`/healthz: ${status}`);
      return HEALTH_MILLISECONDS;
    }
  }
  const answer = await exchange(url, request, behaviourOf(kind, request, random));
  if (answer.status === 0) counts[kind === "leaves_sending" ? "leftSending" : "leftReading"]++;
  else if (answer.status === 200) {
    if (!equalBytes(comparableAnswer(answer.body), request.expected)) counts.wrong++;
    else {
      counts.accepted++;
      if (kind === "slow") counts.slow++;
      else seen.milliseconds.push(performance.now() - started);
    }
  } else {
    const retry = answer.headers.get("Retry-After") ?? "";
    if (answer.status === 429 && /^[1-9]\d*$/.test(retry)) {
      counts.busy++;
      return kind === "impatient" ? IMPATIENT_MILLISECONDS : 1000 * Number(retry);
    }
    seen.unexpected.push(
      `${kind}, ${request.name}: ${answer.status} ${new TextDecoder().decode(answer.body)}`,
    );
  }
  return 0;
}

function behaviourOf(
  kind: "steady" | "impatient" | "slow" | "leaves_sending" | "leaves_reading",
  request: LayerRequest,
  random: () => number,
): Behaviour {
  switch (kind) {
    case "steady":
    case "impatient":
      return {};
    case "slow":
      // Forty pieces of each direction, with pauses of up to 50 ms: at most four seconds in all.
      return {
        pieceBytes: Math.ceil(Math.max(request.body.byteLength, request.answerBytes) / 40),
        pauseMilliseconds: 50 * random(),
      };
    case "leaves_sending":
      return {
        leaveAfterSent: Math.floor(random() * request.body.byteLength),
        silenceMilliseconds: 1000 * random(),
      };
    case "leaves_reading":
      return { leaveAfterRead: 1 + Math.floor(random() * 0.9 * request.answerBytes) };
  }
}
