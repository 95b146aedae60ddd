/**
 * Moves the tensors of one safetensors body into their sinks while its bytes arrive, in the order of the file. The host's memory holds
 * one strip, and at most 128 MiB that the device has not taken yet.
 */

import type { Backend } from "../../backend/backend.ts";
import type { SafetensorsStream } from "../../safetensors/decode.ts";
import { DeferredChecks } from "./deferred_checks.ts";
import { StripAssembler, stripBufferBytes } from "./strips.ts";
import type { TensorSink } from "./tensor_sink.ts";
import { Uploader } from "./upload.ts";

/** After this many queued bytes the device is waited for, because they may all be in staging memory until then. */
const BACKPRESSURE_BYTES = 128 * 2 ** 20;

/**
 * Reads `stream` to its end into `sinks`, which has one sink per tensor of the file, and checks the values. The caller keeps the sinks.
 * @throws {SafetensorsError} if the body ends early, or continues after the last tensor
 * @throws {NonFiniteError} {NotSymmetricError} for the first invalid value in file order
 * @throws {OutOfDeviceMemoryError} {DeviceLostError} and errors of the source
 */
export async function ingest(
  backend: Backend,
  stream: SafetensorsStream,
  sinks: ReadonlyMap<string, TensorSink>,
): Promise<void> {
  const all = [...sinks.values()];
  const slots = all.reduce((sum, { strips, checksPerStrip }) => sum + strips.length * checksPerStrip, 0);
  const buffer = new Uint8Array(Math.max(...all.map(({ strips }) => stripBufferBytes(strips))));
  const assemblers = new Map(
    [...sinks].map(([name, { strips }]) => [name, new StripAssembler(strips, buffer)]),
  );
  const checks = new DeferredChecks(backend, slots);
  const uploader = new Uploader(backend, checks);
  try {
    let queued = 0;
    for await (const { tensor, bytes: chunk } of stream.chunks()) {
      const sink = sinks.get(tensor.name)!;
      for (const { strip, bytes } of assemblers.get(tensor.name)!.push(chunk)) {
        sink.accept(strip, bytes, uploader, checks);
        queued += bytes.byteLength;
      }
      if (queued >= BACKPRESSURE_BYTES) {
        await backend.finish();
        queued = 0;
      }
    }
    await checks.settle();
  } finally {
    uploader.destroy();
    checks.destroy();
  }
}
