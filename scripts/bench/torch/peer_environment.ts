/**
 * The environment variables of the programs that Pare is compared with.
 *
 * A machine may set variables that slow a library of linear algebra down. `OPENBLAS_CORETYPE=Haswell`, for example, makes
 * OpenBLAS use the kernels of an older processor, which take twice as long on processors with 512-bit vectors. Such variables
 * must not influence a comparison. All of them are therefore removed, and only those of the setting that is tried are added.
 */

/** Matches the variables of OpenMP runtimes and of libraries of linear algebra. */
const LIBRARY_VARIABLE = /^(OMP|GOMP|KMP|OPENBLAS|GOTO|MKL|BLIS|NVPL)_/;

/** Variables that override the kernels or the block sizes that OpenBLAS would choose for the processor. */
const KERNEL_OVERRIDES = ["OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"];

/**
 * Returns all environment variables of a peer. They are the variables of `inherited` that do not belong to a library
 * of linear algebra, and those of `added`.
 */
export function peerEnvironment(
  added: Readonly<Record<string, string>>,
  inherited: Readonly<Record<string, string>> = Deno.env.toObject(),
): Record<string, string> {
  const others = Object.entries(inherited).filter(([name]) => !LIBRARY_VARIABLE.test(name));
  return { ...Object.fromEntries(others), ...added };
}

/**
 * Removes the variables that override OpenBLAS's choice of its kernels from the environment of this process,
 * so that Pare's own use of OpenBLAS is not slowed down either. It must be called before the library is loaded.
 */
export function removeKernelOverrides(): void {
  for (const name of KERNEL_OVERRIDES) Deno.env.delete(name);
}
