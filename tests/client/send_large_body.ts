/** Sends a body of 256 MiB to the server in the first argument, and prints by how many bytes the memory of this process has grown. */

import { Transport } from "../../src/client/transport.ts";
import { memoryBytes } from "../../scripts/processes/process_tree.ts";

const CHUNKS = 256, CHUNK_BYTES = 2 ** 20;

const part = {
  byteLength: CHUNKS * CHUNK_BYTES,
  async *chunks() {
    for (let i = 0; i < CHUNKS; i++) {
      await Promise.resolve();
      yield new Uint8Array(CHUNK_BYTES).fill(i);
    }
  },
};
const before = memoryBytes(Deno.pid, "VmRSS");
await new Transport({ baseUrl: Deno.args[0], backoffMs: 1 }).send({ method: "PUT", path: "/", body: [part] });
console.log(memoryBytes(Deno.pid, "VmHWM") - before);
