/**
 * Moves the tensors of one request into their sinks while the bytes arrive, in the order of the file. A sink builds a matrix on the device
 * from the strips of a tensor, which are ranges of whole rows. The CPU's memory holds one strip, and strips that are on their way to the
 * device, whose number `device/host_memory.ts` bounds.
 */

import type { Backend } from "../../device/backend.ts";
import { UploadMemory } from "../../device/host_memory.ts";
import { type Strip, StripAssembler, stripBufferBytes, type StripRules } from "./strips.ts";
import { DeferredChecks, Uploader } from "./upload.ts";

/**
 * The least number of checks whose results may be pending. When all slots are in use, reading waits for the results. With this number, the
 * strips of a layer of 4 GiB need one wait, and the slots take only 16 KiB. The number must not follow from the sizes in the header,
 * because a request can announce more than it sends.
 */
export const MIN_CHECK_SLOTS = 4096;

/** Bytes of one tensor, which continue those of its last chunk. */
export interface NamedChunk {
  readonly tensor: { readonly name: string };
  readonly bytes: Uint8Array;
}

/**
 * Reads all `chunks` into `sinks`, and checks the values.
 * @param sinks one sink for each tensor of the file, by the name of the tensor. The caller owns the sinks
 * @throws {SafetensorsError} if the body ends early, or continues after the last tensor
 * @throws {NonFiniteError} {NotSymmetricError} for the first invalid value in file order
 * @throws {OutOfDeviceMemoryError} {DeviceLostError} and errors of the source
 */
export async function ingest(
  backend: Backend,
  chunks: AsyncIterable<NamedChunk> | Iterable<NamedChunk>,
  sinks: ReadonlyMap<string, TensorSink<unknown>>,
): Promise<void> {
  const all = [...sinks.values()];
  const stripBytes = Math.max(...all.map(({ stripRules }) => stripBufferBytes(stripRules)));
  using memory = await UploadMemory.open(backend, stripBytes);
  const assemblers = new Map(
    [...sinks].map(([name, { stripRules }]) => [name, new StripAssembler(stripRules, memory)]),
  );
  const checks = new DeferredChecks(
    backend,
    Math.max(MIN_CHECK_SLOTS, ...all.map(({ checksPerStrip }) => checksPerStrip)),
  );
  const uploader = new Uploader(backend, checks);
  try {
    for await (const { tensor, bytes: chunk } of chunks) {
      const sink = sinks.get(tensor.name)!;
      for (const { strip, bytes } of assemblers.get(tensor.name)!.push(chunk)) {
        if (checks.freeSlots < sink.checksPerStrip) await checks.throwFirstFailure();
        sink.accept(strip, bytes, uploader, checks);
        await memory.next(strip.byteLength);
      }
    }
    await checks.throwFirstFailure();
  } finally {
    uploader.destroy();
    checks.destroy();
  }
}

/**
 * Receives one tensor in strips, which are ranges of whole rows, and builds a `Result` from it on the device. A sink owns the device memory
 * that it allocates. Whoever creates a sink must call `destroy`, even after `take`.
 */
export interface TensorSink<Result> {
  /** The rules by which the tensor is split into the strips that `accept` expects, in order. */
  readonly stripRules: StripRules;
  /** The largest number of checks that one call of `accept` adds to its `DeferredChecks`. */
  readonly checksPerStrip: number;
  /**
   * Queues the upload of the next strip.
   * @param bytes the data of the strip, padded with zeros to a multiple of 4. The sink may pass them to one write of the backend, and may
   *   change them if its rules say so. They are not valid after the call
   */
  accept(strip: Strip, bytes: Uint8Array, uploader: Uploader, checks: DeferredChecks): void;
  /** Returns the result after the last strip. The caller now owns it. */
  take(): Result;
  /** Frees all device memory of the sink, except a result that was taken. */
  destroy(): void;
}
