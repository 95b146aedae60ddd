/** Backends that observe or falsify the work of another backend. */

import type { Backend, DeviceBuffer } from "../../../src/device/backend.ts";
import type { Kernel } from "../../../src/device/kernels/kernel.ts";

/** `Backend.dispatch` for a kernel of any bindings and parameters. */
type AnyDispatch = (
  kernel: Kernel,
  buffers: Readonly<Record<string, DeviceBuffer>>,
  params: Readonly<Record<string, number>>,
) => void;

/** Returns `backend` with the methods of `overrides` in place of its own. */
export function withOverrides(backend: Backend, overrides: Partial<Backend>): Backend {
  return new Proxy(backend, {
    get(target, name) {
      const value = Reflect.get(overrides, name) ?? Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/** Returns `backend` with another `dispatch`. */
export function withDispatch(backend: Backend, dispatch: AnyDispatch): Backend {
  return withOverrides(backend, { dispatch } as Partial<Backend>);
}

/** Returns a backend that calls `record` with the kernel before each dispatch to `backend`. */
export function recordingBackend(backend: Backend, record: (kernel: Kernel) => void): Backend {
  return withDispatch(backend, (kernel, buffers, params) => {
    record(kernel);
    backend.dispatch(kernel, buffers, params);
  });
}
