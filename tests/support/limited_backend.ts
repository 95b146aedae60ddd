/** A backend whose buffers are smaller than the device's, to force what large models force. */

import { type Backend, OutOfDeviceMemoryError } from "../../src/backend/backend.ts";

/** `backend`, refusing buffers over `maxBufferBytes`. It shares the device: dispose of the original. */
export function limitBuffers(backend: Backend, maxBufferBytes: number): Backend {
  return {
    kind: backend.kind,
    adapter: backend.adapter,
    counters: backend.counters,
    maxBufferBytes,
    createBuffer(label, byteLength) {
      if (byteLength > maxBufferBytes) {
        throw new OutOfDeviceMemoryError(`buffer ${label}: ${byteLength} bytes are over ${maxBufferBytes}`);
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
