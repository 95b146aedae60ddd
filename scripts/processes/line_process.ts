/** A child process that answers each line of JSON on its standard input with one line of JSON on its standard output. */

/** A running child process. Its standard output is read line by line, and its standard error goes to this process's own. */
export class LineProcess implements AsyncDisposable {
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

  /**
   * Sends a request and waits for the answer.
   * @throws {Error} if the process ends first, or with the text `error` of the answer if there is one
   */
  async ask<Answer>(request: unknown): Promise<Answer> {
    await this.#input.write(new TextEncoder().encode(`${JSON.stringify(request)}\n`));
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`process ${this.#child.pid} ended before it answered`);
    const answer: Answer & { readonly error?: string } = JSON.parse(value);
    if (answer.error) throw new Error(answer.error);
    return answer;
  }

  async stop(): Promise<void> {
    await this.#input.close().catch(() => {});
    this.#child.kill("SIGTERM");
    await this.#child.status;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
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
