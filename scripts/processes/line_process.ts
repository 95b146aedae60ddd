/** A child process that answers each line of its standard input with one line of its standard output. */

/** A running child process. Its standard output is read line by line, and its standard error goes to this process's own. */
export class LineProcess {
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #lines: AsyncIterator<string>;

  /** Starts `command` with `env` added to the environment, or with no other variables if `clearEnv` is set. Call {@link stop} to end it. */
  constructor(
    command: string,
    args: string[],
    { env = {}, clearEnv = false }: Pick<Deno.CommandOptions, "env" | "clearEnv"> = {},
  ) {
    this.#child = new Deno.Command(command, {
      args,
      env,
      clearEnv,
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#input = this.#child.stdin.getWriter();
    this.#lines = lines(this.#child.stdout);
  }

  /** Waits for the next line of output. @throws {Error} if the process ends first */
  async next(): Promise<string> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`process ${this.#child.pid} ended before it answered`);
    return value;
  }

  /** Sends one line and waits for the next line of output. @throws {Error} if the process ends first */
  async ask(line: string): Promise<string> {
    await this.#input.write(new TextEncoder().encode(`${line}\n`));
    return await this.next();
  }

  async stop(): Promise<void> {
    await this.#input.close().catch(() => {});
    this.#child.kill("SIGTERM");
    await this.#child.status;
  }
}

async function* lines(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string, void, void> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + text).split("\n");
    rest = parts.pop() ?? "";
    yield* parts;
  }
  if (rest) yield rest;
}
