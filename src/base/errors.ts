/** Messages and reasons of caught errors. Their type is unknown, because JavaScript can throw any value. */

/** Returns the message of `error`. A value that is not an Error is converted to a string. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Returns the stack of `error` for a log. A value that has no stack is converted to a string. */
export function stackOf(error: unknown): string {
  return error instanceof Error ? error.stack ?? String(error) : String(error);
}

/** Whether Deno refused an operation because the process lacks the permission. Retries are refused too. */
export function isNotPermitted(error: unknown): error is Error {
  return error instanceof Error && error.name === "NotCapable";
}

/** Permanent failures: a pattern in the runtime's message, and the reason that Pare reports. */
const PERMANENT_REASONS: readonly (readonly [found: RegExp, reason: string])[] = [
  [
    /bad port|requests to port \d+ are blocked/i,
    "the runtime sends no requests to this port, which is reserved for another service",
  ],
  [
    /invalid HTTP|invalid content-length|message head is too large|HPE_|HEADERS_OVERFLOW|corrupt message|wrong version number/i,
    "the server does not answer in HTTP, or in HTTPS if the URL says so",
  ],
];

/** Transient failures. Node reports codes, and Deno reports sentences. */
const TRANSIENT_REASONS: readonly (readonly [found: RegExp, reason: string])[] = [
  [/ECONNREFUSED|connection refused/i, "connection refused"],
  [/ENOTFOUND|EAI_AGAIN|dns error|failed to lookup address/i, "the name of the server cannot be resolved"],
  [/ENETUNREACH|EHOSTUNREACH|network is unreachable|no route to host/i, "no route to host"],
  [/ETIMEDOUT|CONNECT_TIMEOUT|HEADERS_TIMEOUT|timed out/i, "the server did not answer in time"],
  [
    /ECONNRESET|EPIPE|UND_ERR_SOCKET|connection (reset|closed)|reading a body|other side closed|broken pipe/i,
    "connection closed by the server",
  ],
];

/** The part of Deno's message that repeats the URL. */
const DENO_PREFIX = /^error sending request.*client error \(\w+\): /;

/**
 * Returns the reason why a request failed, such as `connection refused`, from the chain of causes, because `fetch`
 * itself says only "fetch failed". If no pattern matches, the result is the message of the root cause.
 */
export function connectionReason(error: unknown): string {
  const chain = [...causes(error)], text = textOf(chain);
  const match = [...PERMANENT_REASONS, ...TRANSIENT_REASONS].find(([found]) => found.test(text));
  return match?.[1] ?? messageOf(chain.at(-1)).replace(DENO_PREFIX, "");
}

/** Whether every retry fails for the same reason. */
export function isPermanentFailure(error: unknown): boolean {
  const text = textOf([...causes(error)]);
  return PERMANENT_REASONS.some(([found]) => found.test(text));
}

function textOf(chain: readonly unknown[]): string {
  return chain.map((cause) => `${codeOf(cause)} ${messageOf(cause)}`).join("\n");
}

/** Yields the error, its cause, the cause of that cause, and so on. */
function* causes(error: unknown): Generator<unknown> {
  for (let next = error; next !== undefined; next = next instanceof Error ? next.cause : undefined) {
    yield next;
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}
