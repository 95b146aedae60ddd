/**
 * A backend with a lower limit on the size of a buffer. With it, a small test takes the code paths that only
 * large models take otherwise.
 */

import { type Backend, OutOfDeviceMemoryError } from "../../src/backend/backend.ts";

/**
 * Wraps `backend` so that it refuses buffers larger than `maxBufferBytes`. The two backends share one device,
 * so only one of them must be disposed of.
 */
export function limitBuffers(backend: Backend, maxBufferBytes: number): Backend {
  return {
    kind: backend.kind,
    adapter: backend.adapter,
    counters: backend.counters,
    maxBufferBytes,
    createBuffer(label, byteLength) {
      if (byteLength > maxBufferBytes) {
        throw new OutOfDeviceMemoryError(
          `buffer ${label}: ${byteLength} bytes are more than ${maxBufferBytes}`,
        );
      }
      return backend.createBuffer(label, byteLength);
    },
    write: (...args) => backend.write(...args),
    copy: (...args) => backend.copy(...args),
    clear: (...args) => backend.clear(...args),
    dispatch: (...args) => backend.dispatch(...args),
    read: (...args) => backend.read(...args),
    finish: () => backend.finish(),
    dispose: () => backend.dispose(),
  };
}
