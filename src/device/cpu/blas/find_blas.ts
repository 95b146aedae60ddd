/** Chooses the BLAS library of the `cpu` backend, by the option `--blas` or the variable `PARE_BLAS`. */

import { type BlasLibrary, loadBlas } from "./blas_library.ts";

/** `auto` uses the first library that is found, `off` uses none, and anything else is the path of a library. */
export type BlasChoice = string;

/** The choice of a user who makes none. */
export const DEFAULT_BLAS: BlasChoice = "off";

/**
 * The usual places of BLAS libraries, by `Deno.build.os`. The first library that exists and may be loaded is
 * used. OpenBLAS comes first, because it was the fastest one where several were measured.
 */
export const USUAL_PLACES: Readonly<Partial<Record<typeof Deno.build.os, readonly string[]>>> = {
  linux: [
    "/usr/lib/x86_64-linux-gnu/libopenblas.so.0",
    "/usr/lib/aarch64-linux-gnu/libopenblas.so.0",
    "/usr/lib64/libopenblas.so.0",
    "/usr/lib64/libopenblasp.so.0",
    "/usr/lib/libopenblas.so.0",
    "/opt/intel/oneapi/mkl/latest/lib/libmkl_rt.so",
    "/usr/lib/x86_64-linux-gnu/libmkl_rt.so",
    "/usr/lib/x86_64-linux-gnu/libblis.so.4",
    "/usr/lib64/libblis.so.4",
  ],
  darwin: [
    "/System/Library/Frameworks/Accelerate.framework/Accelerate",
    "/opt/homebrew/opt/openblas/lib/libopenblas.dylib",
    "/usr/local/opt/openblas/lib/libopenblas.dylib",
  ],
};

/**
 * Loads the chosen library. Returns undefined for `off`, and for `auto` if no library in the usual places may
 * be loaded. `auto` skips a place for which this process has no permission.
 * @throws {Error} if `choice` is a path and the library cannot be loaded
 */
export function findBlas(choice: BlasChoice): BlasLibrary | undefined {
  if (choice === "off" || typeof Deno === "undefined") return undefined;
  if (choice !== "auto") return loadBlas(choice);
  for (const path of USUAL_PLACES[Deno.build.os] ?? []) {
    if (Deno.permissions.querySync({ name: "ffi", path }).state !== "granted") continue;
    try {
      return loadBlas(path);
    } catch {
      // The library is absent, or is not usable on this machine. The next place may have another one.
    }
  }
}
