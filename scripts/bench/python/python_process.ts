/** Runs `python_client.py`, which prunes a layer with the Python client whenever it is asked to. */

import { fileURLToPath } from "node:url";
import { VENVS } from "../../peers/venv.ts";
import type { TimedAnswer } from "../measure/post_layer.ts";

const SCRIPT = fileURLToPath(new URL("python_client.py", import.meta.url));
const PACKAGE = fileURLToPath(new URL("../../../src/python", import.meta.url));

/** A running process with the Python client. */
export interface PythonProcess extends AsyncDisposable {
  /** Prunes the layer once. @throws {Error} if the process has ended */
  prune(library: "numpy" | "torch", statistics: "sent" | "stored"): Promise<TimedAnswer>;
}

/** Starts the process. It prunes the layer of the file `path` at the server `url`. */
export function startPython(url: string, path: string): PythonProcess {
  const child = new Deno.Command(VENVS.readers.python, {
    args: ["-B", SCRIPT, url, path],
    env: { PYTHONPATH: PACKAGE, OMP_NUM_THREADS: "1" },
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const requests = child.stdin.getWriter(), answers = readLines(child.stdout);
  return {
    async prune(library, statistics) {
      await requests.write(new TextEncoder().encode(`${library} ${statistics}\n`));
      const { value, done } = await answers.next();
      if (done) throw new Error(`${SCRIPT}: ended with code ${(await child.status).code}`);
      return JSON.parse(value);
    },
    async [Symbol.asyncDispose]() {
      await requests.close();
      await child.status;
    },
  };
}

async function* readLines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string, void, void> {
  let text = "";
  for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (text + chunk).split("\n");
    text = lines.pop()!;
    yield* lines;
  }
}
