/** Backends that refuse some buffers. With them, a small test takes the code paths that only large models take otherwise. */

import { withOverrides } from "../../scripts/self_check/faults/with_dispatch.ts";
import { type Backend, OutOfDeviceMemoryError } from "../../src/device/backend.ts";

/**
 * Wraps `backend` so that it refuses buffers larger than `maxBufferBytes`. The two backends share one device,
 * so only one of them must be disposed of.
 */
export function limitBuffers(backend: Backend, maxBufferBytes: number): Backend {
  return withAllocation(backend, maxBufferBytes, (label, byteLength) => {
    if (byteLength > maxBufferBytes) {
      throw new OutOfDeviceMemoryError(
        `buffer ${label}: ${byteLength} bytes are more than ${maxBufferBytes}`,
      );
    }
  });
}

/** Wraps `backend` so that it refuses to create one buffer, after it has created `created` buffers. */
export function failingAllocation(backend: Backend, created: number): Backend {
  let requested = 0;
  return withAllocation(backend, backend.maxBufferBytes, (label) => {
    if (requested++ === created) throw new OutOfDeviceMemoryError(`buffer ${label}: refused by the test`);
  });
}

/** Wraps `backend` so that all its buffers together have at most `memoryBytes`. */
export function limitMemory(backend: Backend, memoryBytes: number): Backend {
  return withAllocation(backend, backend.maxBufferBytes, (label, byteLength) => {
    if (backend.counters.bytesLive + byteLength > memoryBytes) {
      throw new OutOfDeviceMemoryError(`buffer ${label}: ${byteLength} bytes do not fit into ${memoryBytes}`);
    }
  });
}

/** Wraps `backend` so that `check` is called before each buffer is created. */
function withAllocation(
  backend: Backend,
  maxBufferBytes: number,
  check: (label: string, byteLength: number) => void,
): Backend {
  return withOverrides(backend, {
    maxBufferBytes,
    createBuffer(label, byteLength) {
      check(label, byteLength);
      return backend.createBuffer(label, byteLength);
    },
  });
}
