/**
 * A headless Chromium driven over its debugging protocol, for tests of how a page looks. It is Debian's package or
 * none: `browserMissing` says why a test is skipped.
 */

const CHROMIUM = "/usr/bin/chromium";

/** Why there is no browser here; undefined where there is one. */
export function browserMissing(): string | undefined {
  try {
    return Deno.statSync(CHROMIUM).isFile ? undefined : `${CHROMIUM} is not a file`;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return `${CHROMIUM} is not there`;
    throw error;
  }
}

/** How a page is laid out. */
export interface Layout {
  readonly width: number;
  readonly height: number;
  readonly media?: "screen" | "print";
  readonly scheme?: "light" | "dark";
}

/** One page in a browser of its own. */
export class Browser implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #profile: string;
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, PromiseWithResolvers<Record<string, unknown>>>();
  #loaded = Promise.withResolvers<void>();
  #session: string | undefined;
  #next = 0;

  private constructor(process: Deno.ChildProcess, profile: string, socket: WebSocket) {
    this.#process = process;
    this.#profile = profile;
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
  }

  /** Starts it, with an empty page. */
  static async start(): Promise<Browser> {
    const profile = await Deno.makeTempDir({ prefix: "pare-test-" });
    const process = new Deno.Command(CHROMIUM, {
      args: [
        ...["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0"],
        ...[`--user-data-dir=${profile}`, "about:blank"],
      ],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const socket = new WebSocket(await debuggingUrl(process.stderr));
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = reject;
    });
    const browser = new Browser(process, profile, socket);
    const { targetId } = await browser.send("Target.createTarget", { url: "about:blank" });
    const attached = await browser.send("Target.attachToTarget", { targetId, flatten: true });
    browser.#session = String(attached.sessionId);
    await browser.send("Page.enable");
    return browser;
  }

  /** Sends a command of the protocol and gives its result. */
  send(method: string, params: Readonly<Record<string, unknown>> = {}): Promise<Record<string, unknown>> {
    const id = this.#next++, answer = Promise.withResolvers<Record<string, unknown>>();
    this.#waiting.set(id, answer);
    this.#socket.send(JSON.stringify({ id, method, params, sessionId: this.#session }));
    return answer.promise;
  }

  /** Shows the page at `url`, whole. */
  async open(url: string): Promise<void> {
    this.#loaded = Promise.withResolvers();
    await this.send("Page.navigate", { url });
    await this.#loaded.promise;
  }

  /** Lays the page out. */
  async layOut({ width, height, media = "screen", scheme = "light" }: Layout): Promise<void> {
    await this.send("Emulation.setDeviceMetricsOverride", {
      width,
      height,
      deviceScaleFactor: 1,
      mobile: width < 600,
    });
    const features = [{ name: "prefers-color-scheme", value: scheme }];
    await this.send("Emulation.setEmulatedMedia", { media, features });
  }

  /** The value of an expression in the page. */
  async evaluate<T>(expression: string): Promise<T> {
    const { result } = await this.send("Runtime.evaluate", { expression, returnByValue: true });
    return (result as { value: T }).value;
  }

  /** The bytes that `method` answers in base64: a screenshot, a PDF. */
  async bytes(method: string, params?: Readonly<Record<string, unknown>>): Promise<Uint8Array> {
    return Uint8Array.fromBase64(String((await this.send(method, params)).data));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.race([this.send("Browser.close"), this.#process.status]);
    await this.#process.status;
    this.#socket.close();
    await Deno.remove(this.#profile, { recursive: true });
  }

  #receive(
    message: { id?: number; method?: string; result?: Record<string, unknown>; error?: { message: string } },
  ) {
    if (message.method === "Page.loadEventFired") this.#loaded.resolve();
    const answer = message.id === undefined ? undefined : this.#waiting.get(message.id);
    if (!answer) return;
    this.#waiting.delete(message.id!);
    if (message.error) answer.reject(new Error(message.error.message));
    else answer.resolve(message.result ?? {});
  }
}

/** The address in the line that the browser greets with. The rest of what it says is read and dropped. */
async function debuggingUrl(stderr: ReadableStream<Uint8Array>): Promise<string> {
  const lines = stderr.pipeThrough(new TextDecoderStream()).getReader();
  let said = "";
  for (;;) {
    const { done, value } = await lines.read();
    if (done) throw new Error(`chromium ended: ${said}`);
    said += value;
    const url = said.match(/DevTools listening on (ws:\S+)/)?.[1];
    if (!url) continue;
    drain(lines);
    return url;
  }
}

function drain(lines: ReadableStreamDefaultReader<string>): void {
  lines.read().then(({ done }) => done || drain(lines), () => {});
}
