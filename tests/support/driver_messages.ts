/**
 * Messages that graphics drivers print on standard error while a process looks for a WebGPU adapter, such as
 * Mesa's "XDG_RUNTIME_DIR is invalid or not set in the environment". The messages depend on the machine, so
 * tests that compare standard error remove them first.
 */

let messages: Promise<ReadonlySet<string>> | undefined;

/** The lines that the drivers of this machine print when a process requests an adapter and does nothing else. They are collected once. */
export function driverMessages(): Promise<ReadonlySet<string>> {
  return messages ??= collectMessages();
}

async function collectMessages(): Promise<ReadonlySet<string>> {
  const { stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--quiet", "await navigator.gpu?.requestAdapter()"],
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).output();
  return new Set(new TextDecoder().decode(stderr).split("\n").filter((line) => line !== ""));
}

/** Removes the lines of `text` that are in `messages`. */
export function withoutLines(text: string, messages: ReadonlySet<string>): string {
  return text.split("\n").filter((line) => !messages.has(line)).join("\n");
}
