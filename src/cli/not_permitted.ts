/** Explains that Deno did not permit an operation, because the process was started with the permissions of its command line only. */

/** The message of Deno's `NotCapable` error. `all` stands for folders of the system, such as /proc, which only a process with all permissions may use. */
const DENO_MESSAGE = /^Requires (read|write|net|all) access to "?(.*?)"?, run again with the --allow-/s;

const OPERATIONS = { read: "reading", write: "writing", net: "connecting to" } as const;

/**
 * Returns what was not permitted, and the option that permits it.
 * @returns undefined if the command line cannot permit the operation, for example to start a program
 */
export function explainNotPermitted(error: Error): string | undefined {
  const [, permission, target] = DENO_MESSAGE.exec(error.message) ?? [];
  if (permission === undefined) return undefined;
  if (permission === "all") {
    return `${target}: lies in a folder of the operating system, which a command may not use`;
  }
  const operation = OPERATIONS[permission as keyof typeof OPERATIONS];
  return `${operation} ${target} is not permitted, because the command line does not name it; ` +
    `add --allow-${permission} ${target} to permit it`;
}
