/**
 * Whether V8 was started so that it makes one 256-bit instruction of two neighbouring 128-bit ones, which doubles the rate of the
 * products. It does so on x86-64 alone, and only between accesses it does not check, which is why both flags are needed. A stray
 * access of a kernel then ends the process instead of throwing: the memory of the pool reserves all that 32 bits address, and what is
 * not in use of it is not mapped. The flags count from the process's start, and DENO_V8_FLAGS is the one place where a program can
 * see them.
 */

/** What V8 must be started with. */
export const PAIRING_FLAGS = ["--experimental-wasm-revectorize", "--no-wasm-bounds-checks"];

/** Whether the kernels should count on it. Where there is no Deno, or its environment may not be read, they do not. */
export function pairsLanes(): boolean {
  if (typeof Deno === "undefined") return false;
  const flags = v8Flags();
  return Deno.build.arch === "x86_64" && PAIRING_FLAGS.every((flag) => flags.includes(flag));
}

function v8Flags(): string[] {
  try {
    return (Deno.env.get("DENO_V8_FLAGS") ?? "").split(",");
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return [];
    throw error;
  }
}
