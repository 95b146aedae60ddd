/** A backend with a smaller limit on buffers than its device, so that small models take the code paths of large ones. */

import { type Backend, OutOfDeviceMemoryError } from "../../src/backend/backend.ts";

/** Wraps `backend` so that it refuses buffers above `maxBufferBytes`. Both share the device, so dispose of only one of them. */
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
