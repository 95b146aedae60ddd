/**
 * Moves the tensors of one safetensors body into their sinks as its bytes arrive, in whatever order the file has them. Host memory is one
 * strip, and what the device has not yet taken of the last 128 MiB.
 */

import type { Backend } from "../../backend/backend.ts";
import type { SafetensorsStream } from "../../safetensors/decode.ts";
import { DeferredChecks } from "./deferred_checks.ts";
import { StripAssembler, stripBufferBytes } from "./strips.ts";
import type { TensorSink } from "./tensor_sink.ts";
import { Uploader } from "./upload.ts";

/** Bytes queued before the device is waited for: they may all be in staging memory until then. */
const BACKPRESSURE_BYTES = 128 * 2 ** 20;

/**
 * Reads `stream` to its end into `sinks`, one for every tensor of the file, and judges the values. The sinks stay the caller's.
 * @throws {SafetensorsError} the body ends early, or goes on after the last tensor
 * @throws {NonFiniteError} {NotSymmetricError} the first flaw in file order
 * @throws {RangeError} when the device has no room; {DeviceLostError}; errors of the source
 */
export async function ingest(
  backend: Backend,
  stream: SafetensorsStream,
  sinks: ReadonlyMap<string, TensorSink>,
): Promise<void> {
  const all = [...sinks.values()];
  const slots = all.reduce((sum, { strips, slotsPerStrip }) => sum + strips.length * slotsPerStrip, 0);
  const buffer = new Uint8Array(Math.max(...all.map(({ strips }) => stripBufferBytes(strips))));
  const assemblers = new Map(
    [...sinks].map(([name, { strips }]) => [name, new StripAssembler(strips, buffer)]),
  );
  const flaws = new DeferredChecks(backend, slots);
  const uploader = new Uploader(backend, flaws);
  try {
    let queued = 0;
    for await (const { tensor, bytes: chunk } of stream.chunks()) {
      const sink = sinks.get(tensor.name)!;
      for (const { strip, bytes } of assemblers.get(tensor.name)!.push(chunk)) {
        sink.accept(strip, bytes, uploader, flaws);
        queued += bytes.byteLength;
      }
      if (queued >= BACKPRESSURE_BYTES) {
        await backend.finish();
        queued = 0;
      }
    }
    await flaws.settle();
  } finally {
    uploader.destroy();
    flaws.destroy();
  }
}
