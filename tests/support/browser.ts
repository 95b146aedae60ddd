/**
 * Controls a headless Chromium over the Chrome DevTools Protocol, for tests of the layout of pages. Only the browser at the path
 * of Debian's package is used. If it is missing, `browserSkipReason` returns the reason why the tests are skipped.
 */

const CHROMIUM = "/usr/bin/chromium";

/** The reason why there is no browser on this machine. Undefined if there is one. */
export function browserSkipReason(): string | undefined {
  try {
    return Deno.statSync(CHROMIUM).isFile ? undefined : `${CHROMIUM} is not a file`;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return `${CHROMIUM} does not exist`;
    throw error;
  }
}

/** The size of the window in CSS pixels, and the medium and colour scheme of the page. */
export interface Layout {
  readonly width: number;
  readonly height: number;
  readonly media?: "screen" | "print";
  readonly scheme?: "light" | "dark";
}

/** A browser process with one page. */
export class Browser implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #profile: string;
  readonly #socket: WebSocket;
  /** The commands without a response yet, by id. */
  readonly #pending = new Map<number, PromiseWithResolvers<Record<string, unknown>>>();
  #loaded = Promise.withResolvers<void>();
  #session: string | undefined;
  #nextId = 0;

  private constructor(process: Deno.ChildProcess, profile: string, socket: WebSocket) {
    this.#process = process;
    this.#profile = profile;
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
  }

  /** Starts a browser with an empty page. @param switches further switches of its command line */
  static async start(switches: readonly string[] = []): Promise<Browser> {
    const profile = await Deno.makeTempDir({ prefix: "pare-test-" });
    const process = new Deno.Command(CHROMIUM, {
      args: [
        ...["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0"],
        ...switches,
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

  /** Sends a command of the protocol and returns its result. */
  send(method: string, params: Readonly<Record<string, unknown>> = {}): Promise<Record<string, unknown>> {
    const id = this.#nextId++, response = Promise.withResolvers<Record<string, unknown>>();
    this.#pending.set(id, response);
    this.#socket.send(JSON.stringify({ id, method, params, sessionId: this.#session }));
    return response.promise;
  }

  /** Opens the page at `url` and waits until it is loaded. */
  async open(url: string): Promise<void> {
    this.#loaded = Promise.withResolvers();
    await this.send("Page.navigate", { url });
    await this.#loaded.promise;
  }

  /** Applies a layout to the page. */
  async setLayout({ width, height, media = "screen", scheme = "light" }: Layout): Promise<void> {
    await this.send("Emulation.setDeviceMetricsOverride", {
      width,
      height,
      deviceScaleFactor: 1,
      mobile: width < 600,
    });
    const features = [{ name: "prefers-color-scheme", value: scheme }];
    await this.send("Emulation.setEmulatedMedia", { media, features });
  }

  /** Evaluates a JavaScript expression in the page and returns its value. */
  async evaluate<T>(expression: string): Promise<T> {
    const { result } = await this.send("Runtime.evaluate", { expression, returnByValue: true });
    return (result as { value: T }).value;
  }

  /** Sends a command whose result is base64 data, such as a screenshot or a PDF, and returns the bytes. */
  async sendForBytes(method: string, params?: Readonly<Record<string, unknown>>): Promise<Uint8Array> {
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
    const response = message.id === undefined ? undefined : this.#pending.get(message.id);
    if (!response) return;
    this.#pending.delete(message.id!);
    if (message.error) response.reject(new Error(message.error.message));
    else response.resolve(message.result ?? {});
  }
}

/** Reads the address of the debugger from the first output of the browser. The later output is read and ignored. */
async function debuggingUrl(stderr: ReadableStream<Uint8Array>): Promise<string> {
  const lines = stderr.pipeThrough(new TextDecoderStream()).getReader();
  let output = "";
  for (;;) {
    const { done, value } = await lines.read();
    if (done) throw new Error(`Chromium exited: ${output}`);
    output += value;
    const url = output.match(/DevTools listening on (ws:\S+)/)?.[1];
    if (!url) continue;
    drain(lines);
    return url;
  }
}

/** Reads and ignores everything until the end. */
function drain(lines: ReadableStreamDefaultReader<string>): void {
  lines.read().then(({ done }) => done || drain(lines), () => {});
}
