/**
 * The staging memory of writes. It is a ring of buffers that the CPU can map and the device can copy from. The ring
 * copies the bytes of a write once, into mapped memory, from which the device fetches them. A buffer of the ring is
 * mapped and unused, or it takes the writes of the open batch, or it was submitted with its batch, or it is being
 * mapped again. Buffers are created when needed, and reused, because allocating memory that a GPU can read is slow.
 */

import { StagingBuffer } from "./staging_buffer.ts";

/** The size of a buffer of the ring. A strip of a request fits into it. */
export const UPLOAD_BUFFER_BYTES = 4 * 2 ** 20;

/** The position of bytes that were copied into a buffer of the ring. */
export interface StagedBytes {
  readonly gpu: GPUBuffer;
  readonly byteOffset: number;
  readonly byteLength: number;
}

interface MappedBuffer {
  readonly staging: StagingBuffer;
  readonly bytes: Uint8Array;
}

export class UploadRing {
  readonly #maxBuffers: number;
  #mapped: MappedBuffer[] = [];
  #open: MappedBuffer | undefined;
  #openBytes = 0;
  /** The buffers from which the open batch copies, apart from `#open`. */
  readonly #full: StagingBuffer[] = [];
  #submitted: StagingBuffer[] = [];
  /** For each buffer that is being mapped, the promise that it is mapped, in the order of the submissions. */
  readonly #mapping = new Map<StagingBuffer, Promise<void>>();
  #count = 0;

  /** @param maxBytes the largest size of all buffers together */
  constructor(private readonly device: GPUDevice, maxBytes: number) {
    this.#maxBuffers = Math.max(1, Math.floor(maxBytes / UPLOAD_BUFFER_BYTES));
  }

  get byteLength(): number {
    return this.#count * UPLOAD_BUFFER_BYTES;
  }

  /** Whether a write of `byteLength` bytes, or its first part, can be staged without waiting for the device. */
  hasRoomFor(byteLength: number): boolean {
    return this.#mapped.length > 0 || this.#count < this.#maxBuffers || this.fitsOpen(byteLength);
  }

  /** Whether `byteLength` bytes fit into the open buffer. */
  fitsOpen(byteLength: number): boolean {
    return this.#open !== undefined && this.#openBytes + byteLength <= UPLOAD_BUFFER_BYTES;
  }

  /**
   * Copies as many of the first `bytes` into the ring as fit into one buffer. The caller must add the device's copy
   * from there to the open batch.
   * @returns undefined if all buffers are in use
   */
  put(bytes: Uint8Array): StagedBytes | undefined {
    if (this.#open && this.#openBytes === UPLOAD_BUFFER_BYTES) {
      this.#full.push(this.#open.staging);
      this.#open = undefined;
    }
    if (!this.#open) {
      this.#open = this.#mapped.pop() ?? this.#create();
      this.#openBytes = 0;
    }
    if (!this.#open) return undefined;
    const byteOffset = this.#openBytes, part = bytes.subarray(0, UPLOAD_BUFFER_BYTES - byteOffset);
    this.#open.bytes.set(part, byteOffset);
    this.#openBytes += part.byteLength;
    return { gpu: this.#open.staging.gpu, byteOffset, byteLength: part.byteLength };
  }

  /** Unmaps the buffers that the open batch copies from, because WebGPU accepts no mapped buffer in a submission. */
  prepareSubmission(): void {
    if (this.#open) this.#full.push(this.#open.staging);
    this.#open = undefined;
    for (const staging of this.#full.splice(0)) {
      try {
        staging.unmap();
        this.#submitted.push(staging);
      } catch {
        this.#discard(staging); // WebGPU throws here only if the device is lost, which the next wait reports.
      }
    }
  }

  /**
   * Starts to map the buffers whose batches were submitted. In Deno 2.9 this waits until the device has done all
   * submitted work, so it must be called when the device has just been waited for, or when a wait is needed anyway.
   */
  reclaim(): void {
    for (const staging of this.#submitted.splice(0)) {
      const mapped = staging.startMapping(UPLOAD_BUFFER_BYTES);
      if (mapped instanceof ArrayBuffer) this.#mapped.push({ staging, bytes: new Uint8Array(mapped) });
      else {
        const done = mapped.then(
          (range) => void this.#mapped.push({ staging, bytes: new Uint8Array(range) }),
          () => this.#discard(staging), // Mapping fails if the device is lost, which the next wait reports.
        ).finally(() => this.#mapping.delete(staging));
        this.#mapping.set(staging, done);
      }
    }
  }

  /** The promise of the buffer that is mapped next, or undefined if none is being mapped. */
  get nextMapped(): Promise<void> | undefined {
    const [next] = this.#mapping.values();
    return next;
  }

  /**
   * Destroys all buffers. The device must not be destroyed before its ring, because the memory of mapped buffers would
   * be freed while JavaScript can still write to it.
   */
  destroy(): void {
    const mapped = [...this.#mapped, ...(this.#open ? [this.#open] : [])].map(({ staging }) => staging);
    for (const staging of [...mapped, ...this.#full, ...this.#submitted, ...this.#mapping.keys()]) {
      staging.destroy();
    }
    this.#mapped = [];
    this.#open = undefined;
    this.#full.length = this.#submitted.length = 0;
    this.#count = this.#maxBuffers;
  }

  #discard(staging: StagingBuffer): void {
    staging.destroy();
    this.#count--;
  }

  #create(): MappedBuffer | undefined {
    if (this.#count >= this.#maxBuffers) return undefined;
    // If there is no memory for another buffer, `put` returns undefined, and the error scope hides the failure.
    this.device.pushErrorScope("out-of-memory");
    const staging = new StagingBuffer(this.device, UPLOAD_BUFFER_BYTES, "upload");
    this.device.popErrorScope().catch(() => {});
    try {
      const bytes = new Uint8Array(staging.gpu.getMappedRange());
      this.#count++;
      return { staging, bytes };
    } catch {
      staging.destroy();
      return undefined;
    }
  }
}
