/** A backend that counts allocated bytes but computes nothing, for tests that check whether buffers are freed. */

import { type Backend, type DeviceBuffer, OutOfDeviceMemoryError } from "../../src/device/backend.ts";

/** Creates a backend whose buffers have no contents and take at most `capacity` bytes in total. Reads return zeros. */
export function memoryBackend(capacity = Infinity): Backend {
  const counters = { dispatches: 0, bytesWritten: 0, bytesRead: 0, bytesLive: 0, bytesPeak: 0 };
  const createBuffer = (label: string, byteLength: number): DeviceBuffer => {
    if (counters.bytesLive + byteLength > capacity) {
      throw new OutOfDeviceMemoryError(`buffer ${label}: no room`);
    }
    counters.bytesLive += byteLength;
    let alive = true;
    return {
      label,
      byteLength,
      destroy() {
        if (alive) counters.bytesLive -= byteLength;
        alive = false;
      },
    };
  };
  return {
    kind: "cpu",
    adapter: { name: "memory", software: true },
    maxBufferBytes: capacity,
    counters,
    createBuffer,
    write: () => {},
    copy: () => {},
    clear: () => {},
    dispatch: () => void counters.dispatches++,
    read: (_buffer, _offset, byteLength) => Promise.resolve(new Uint8Array(byteLength)),
    finish: () => Promise.resolve(),
    dispose: () => Promise.resolve(),
  };
}
