/**
 * Moves the tensors of a request to the device, in strips, while the bytes arrive. On the device, the strips are
 * converted to f32 and checked for values that are not finite. `DeferredChecks` collects the results of the checks, so
 * that the CPU rarely waits for them.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import {
  createBufferOf,
  DEFAULT_STRIP_BYTES,
  splitIntoStrips,
  type Strip,
  type StripRules,
  UploadMemory,
} from "../../device/host_memory.ts";
import { checkFinite, NOTHING_FOUND, OVERFLOW_BITS } from "../../device/kernels/transfer/check.ts";
import { DTYPE_CODE, toFloat32 } from "../../device/kernels/transfer/convert.ts";
import { ResourceSet } from "../../device/owned.ts";
import { nonFinite } from "../errors.ts";
import { BYTES_PER_ELEMENT, type FloatDtype } from "../../tensor/dtype.ts";

/**
 * The checks of one body. Each check has a slot, which is one element of a device buffer. If the check fails, its
 * kernel stores the index of the first invalid element in the slot. The slots are read back at the end of the body, and
 * before that whenever all are in use.
 */
export class DeferredChecks {
  /** (capacity) u32, one slot per check. It is the `first` binding of the check kernels. */
  readonly buffer: DeviceBuffer;
  #errors: ((index: number) => Error)[] = [];

  /**
   * @param capacity the largest number of checks whose results may be pending
   * @throws {OutOfDeviceMemoryError}
   */
  constructor(private readonly backend: Backend, private readonly capacity: number) {
    this.buffer = createBufferOf(backend, "deferred checks", new Uint32Array(capacity).fill(NOTHING_FOUND));
  }

  get freeSlots(): number {
    return this.capacity - this.#errors.length;
  }

  /**
   * Adds a check. The caller queues the kernel that performs it.
   * @param toError turns the index at which the check failed into an error
   * @returns the slot of the check
   */
  add(toError: (index: number) => Error): number {
    if (this.#errors.length === this.capacity) {
      throw new TypeError(`deferred checks: all ${this.capacity} slots are in use`);
    }
    return this.#errors.push(toError) - 1;
  }

  /**
   * Waits for all checks that were added, and frees their slots. A slot needs no reset, because a kernel writes to it
   * only if the check fails.
   * @throws the error of the first failed check, in the order of `add`
   */
  async throwFirstFailure(): Promise<void> {
    if (this.#errors.length === 0) return;
    const bytes = await this.backend.read(this.buffer, 0, 4 * this.#errors.length);
    const found = new Uint32Array(bytes.buffer);
    const slot = found.findIndex((index) => index !== NOTHING_FOUND);
    if (slot >= 0) throw this.#errors[slot](found[slot]);
    this.#errors = [];
  }

  destroy(): void {
    this.buffer.destroy();
  }
}

export interface UploadedTensor {
  readonly name: string;
  readonly dtype: FloatDtype;
}

/** A position in a device buffer. The offset is in elements of f32. */
export interface UploadTarget {
  readonly buffer: DeviceBuffer;
  readonly offset: number;
}

/** Uploads the strips of one body. All strips share two staging buffers on the device. */
export class Uploader {
  /** The staging buffer for the elements of a strip before their conversion. */
  #source: DeviceBuffer | undefined;
  /** The staging buffer for the elements of a strip in f32, if the caller has no buffer for them. */
  #float32: DeviceBuffer | undefined;

  constructor(private readonly backend: Backend, private readonly checks: DeferredChecks) {}

  /**
   * Queues the upload, the conversion and the check of the `count` elements of a strip.
   * @param bytes the elements in the tensor's dtype
   * @param locate turns an index in the strip into an index in the tensor, for the error message
   */
  upload(
    { name, dtype }: UploadedTensor,
    bytes: Uint8Array,
    count: number,
    locate: (index: number) => readonly number[],
    { buffer: target, offset }: UploadTarget,
  ): void {
    if (BYTES_PER_ELEMENT[dtype] === 4) {
      this.backend.write(target, 4 * offset, bytes);
    } else {
      const source = this.#source = this.#ensureBuffer(this.#source, "raw strip", bytes.byteLength);
      this.backend.write(source, 0, bytes);
      this.backend.dispatch(toFloat32, { source, target }, {
        count,
        dtype: DTYPE_CODE[dtype],
        source_offset: 0,
        target_offset: offset,
      });
    }
    const slot = this.checks.add((index) => nonFinite(name, locate(index)));
    const params = { count, offset, cols: count, ld: count, limit: OVERFLOW_BITS.F32, slot };
    this.backend.dispatch(checkFinite, { x: target, first: this.checks.buffer }, params);
  }

  /** Like `upload`, but uploads to a staging buffer and returns it. Its contents are valid until the next upload. */
  uploadToStaging(
    tensor: UploadedTensor,
    bytes: Uint8Array,
    count: number,
    locate: (index: number) => readonly number[],
  ): DeviceBuffer {
    const buffer = this.#float32 = this.#ensureBuffer(this.#float32, "strip in f32", 4 * count);
    this.upload(tensor, bytes, count, locate, { buffer, offset: 0 });
    return buffer;
  }

  destroy(): void {
    this.#source?.destroy();
    this.#float32?.destroy();
  }

  /**
   * Returns `buffer` if it is large enough. Otherwise frees it and returns a new one. The strips of a tensor have
   * similar sizes, so a new buffer is rarely needed.
   */
  #ensureBuffer(buffer: DeviceBuffer | undefined, label: string, byteLength: number): DeviceBuffer {
    if (buffer && buffer.byteLength >= byteLength) return buffer;
    const larger = this.backend.createBuffer(label, byteLength);
    buffer?.destroy();
    return larger;
  }
}

/**
 * The least number of slots for checks. When all slots are in use, reading waits. The number does not follow from the
 * sizes in the header, because a request can announce more than it sends.
 */
export const MIN_CHECK_SLOTS = 4096;

export interface StripMemory {
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export class StripAssembler {
  readonly #strips: Iterator<Strip>;
  readonly #isChanged: boolean;
  #strip: Strip | undefined;
  #filledBytes = 0;

  /**
   * @param memory the memory for one strip, at least `stripBufferBytes(rules)` bytes. Tensors that are read one after
   *   the other may share it
   */
  constructor(rules: StripRules, private readonly memory: StripMemory) {
    this.#strips = splitIntoStrips(rules);
    this.#isChanged = rules.isChanged ?? false;
  }

  /**
   * Adds the next bytes of the tensor and yields each strip that they complete, padded with zeros to a multiple of 4
   * bytes. A strip is a view of `bytes` if all of it lies there and it needs no padding and is not changed in place.
   * Otherwise it is a view of `StripMemory.bytes`, which the caller may replace before it resumes the iteration. A
   * strip is valid until the iteration is resumed.
   */
  *push(bytes: Uint8Array): Generator<{ strip: Strip; bytes: Uint8Array }> {
    for (let copied = 0; copied < bytes.byteLength;) {
      const strip = this.#strip ??= this.#nextStrip();
      const buffer = this.memory.bytes;
      const part = bytes.subarray(copied, copied + strip.byteLength - this.#filledBytes);
      if (!this.#isChanged && part.byteLength === strip.byteLength && strip.byteLength % 4 === 0) {
        copied += part.byteLength;
        this.#strip = undefined;
        yield { strip, bytes: part };
        continue;
      }
      buffer.set(part, this.#filledBytes);
      this.#filledBytes += part.byteLength;
      copied += part.byteLength;
      if (this.#filledBytes < strip.byteLength) return;
      const padded = roundUp4(strip.byteLength);
      buffer.fill(0, strip.byteLength, padded);
      this.#strip = undefined;
      this.#filledBytes = 0;
      yield { strip, bytes: buffer.subarray(0, padded) };
    }
  }

  #nextStrip(): Strip {
    const { done, value } = this.#strips.next();
    if (done) throw new TypeError("strips: the tensor has more bytes than its rows");
    return value;
  }
}

/**
 * Returns the buffer size in bytes that the largest strip needs, padding included. For rows of different lengths the
 * result is an upper bound, and the first row must be the longest.
 */
export function stripBufferBytes(
  { rows, rowBytes, boundary = Infinity, stripBytes = DEFAULT_STRIP_BYTES }: StripRules,
): number {
  if (rows === 0) return 0;
  const longestRow = typeof rowBytes === "number" ? rowBytes : rowBytes(0);
  const rowsPerStrip = Math.min(rows, boundary, Math.max(1, Math.floor(stripBytes / longestRow)));
  const largest = typeof rowBytes === "number"
    ? rowsPerStrip * rowBytes
    : Math.min(Math.max(stripBytes, longestRow), longestRow * Math.min(rows, boundary));
  return roundUp4(largest);
}

function roundUp4(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}

/** Bytes of one tensor, which follow the bytes of its previous chunk. */
export interface NamedChunk {
  readonly tensor: { readonly name: string };
  readonly bytes: Uint8Array;
}

/**
 * Reads all `chunks` into `sinks`, and checks the values.
 * @param sinks one sink for each tensor of the file, by the name of the tensor. The caller owns the sinks
 * @throws {SafetensorsError} if the body ends early, or continues after the last tensor
 * @throws {Refusal} `non_finite` or `not_symmetric` for the first invalid value in file order
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
  using owned = new ResourceSet();
  const slots = Math.max(MIN_CHECK_SLOTS, ...all.map(({ checksPerStrip }) => checksPerStrip));
  const checks = owned.add(new DeferredChecks(backend, slots));
  const uploader = owned.add(new Uploader(backend, checks));
  for await (const { tensor, bytes: chunk } of chunks) {
    const sink = sinks.get(tensor.name)!;
    for (const { strip, bytes } of assemblers.get(tensor.name)!.push(chunk)) {
      if (checks.freeSlots < sink.checksPerStrip) await checks.throwFirstFailure();
      sink.accept(strip, bytes, uploader, checks);
      await memory.next(strip.byteLength);
    }
  }
  await checks.throwFirstFailure();
}

/** Builds a `Result` on the device from the strips of one tensor. Its creator calls `destroy`, even after `take`. */
export interface TensorSink<Result> {
  /** The rules by which the tensor is split into the strips that `accept` expects, in order. */
  readonly stripRules: StripRules;
  /** The largest number of checks that one call of `accept` adds to its `DeferredChecks`. */
  readonly checksPerStrip: number;
  /**
   * Queues the upload of the next strip.
   * @param bytes the data of the strip, padded with zeros to a multiple of 4. The sink may pass them to one write of
   *   the backend, and may change them if `stripRules.isChanged` is set. They are not valid after the call
   */
  accept(strip: Strip, bytes: Uint8Array, uploader: Uploader, checks: DeferredChecks): void;
  /** Returns the result after the last strip. The caller now owns it. */
  take(): Result;
  /** Frees all device memory of the sink, except a result that was taken. */
  destroy(): void;
}
