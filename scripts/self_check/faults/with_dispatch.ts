/** Backends that observe or falsify the work of another backend. */

import type { Backend, DeviceBuffer } from "../../../src/device/backend.ts";
import type { Kernel } from "../../../src/device/kernels/kernel.ts";

/** A kernel of any bindings and parameters, and what a caller of `dispatch` gives. */
export type AnyDispatch = (
  kernel: Kernel,
  buffers: Readonly<Record<string, DeviceBuffer>>,
  params: Readonly<Record<string, number>>,
) => void;

/** Returns `backend` with another `dispatch`. All other methods and members are those of `backend`. */
export function withDispatch(backend: Backend, dispatch: AnyDispatch): Backend {
  return new Proxy(backend, {
    get(target, name) {
      if (name === "dispatch") return dispatch;
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/** Returns `backend`, which calls `record` with the kernel before each dispatch. */
export function recordingBackend(backend: Backend, record: (kernel: Kernel) => void): Backend {
  return withDispatch(backend, (kernel, buffers, params) => {
    record(kernel);
    backend.dispatch(kernel, buffers, params);
  });
}
