/** A file system of a fixed size, for tests of a full disk. */

/** A mounted file system, or the reason why none could be mounted. */
export interface SmallDisk extends AsyncDisposable {
  readonly path: string;
  readonly isMounted: boolean;
  /** The message of `mount` if it failed. */
  readonly reason: string;
  /** Changes the size in bytes. The files stay. */
  resize(bytes: number): Promise<void>;
}

/** Mounts a tmpfs of `bytes` bytes at `path`. That needs Linux and root. */
export async function mountSmallDisk(path: string, bytes: number): Promise<SmallDisk> {
  await Deno.mkdir(path, { recursive: true });
  const reason = await mount("-t", "tmpfs", "-o", `size=${bytes}`, "tmpfs", path);
  const isMounted = reason === "";
  return {
    path,
    isMounted,
    reason: `a tmpfs cannot be mounted: ${reason}`,
    async resize(size) {
      const problem = await mount("-o", `remount,size=${size}`, path);
      if (problem !== "") throw new Error(problem);
    },
    async [Symbol.asyncDispose]() {
      if (isMounted) await new Deno.Command("umount", { args: [path] }).output();
    },
  };
}

/** Runs `mount` and returns its error message, or an empty text if it succeeds. */
async function mount(...args: readonly string[]): Promise<string> {
  if (Deno.build.os !== "linux") return `${Deno.build.os} has no tmpfs`;
  const { success, stderr } = await new Deno.Command("mount", { args: [...args] }).output();
  return success ? "" : new TextDecoder().decode(stderr).trim() || "mount failed";
}
