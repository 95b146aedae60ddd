/** Explains that Deno did not permit an operation, because the process was started with the permissions of its command line only. */

/** The message of Deno's `NotCapable` error. */
const DENO_MESSAGE = /^Requires (read|write|net) access to "?(.*?)"?, run again with the --allow-/s;

const OPERATIONS = { read: "reading", write: "writing", net: "connecting to" } as const;

/**
 * Returns what was not permitted, and the option that permits it.
 * @returns undefined if no option permits the operation, for example to start a program
 */
export function explainNotPermitted(error: Error): string | undefined {
  const [, permission, target] = DENO_MESSAGE.exec(error.message) ?? [];
  if (permission === undefined) return undefined;
  const operation = OPERATIONS[permission as keyof typeof OPERATIONS];
  return `${operation} ${target} is not permitted, because the command line does not name it; ` +
    `add --allow-${permission} ${target} to permit it`;
}
