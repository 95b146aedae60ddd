/** A file system of a fixed size, for tests of a full disk. Mounting it needs Linux and root. */

/** A mounted file system. Disposing of it unmounts it. */
export interface SmallDisk extends AsyncDisposable {
  readonly path: string;
  /** Changes the size in bytes. The files stay. */
  resize(bytes: number): Promise<void>;
}

/** Mounts a tmpfs of `bytes` bytes at the new folder `path`. @throws {Error} with the message of `mount` */
export async function mountSmallDisk(path: string, bytes: number): Promise<SmallDisk> {
  await Deno.mkdir(path);
  await mount("-t", "tmpfs", "-o", `size=${bytes}`, "tmpfs", path);
  return {
    path,
    resize: (size) => mount("-o", `remount,size=${size}`, path),
    async [Symbol.asyncDispose]() {
      await new Deno.Command("umount", { args: [path] }).output();
    },
  };
}

/** Returns the reason why a test that needs a small disk must be skipped, or false if the disk can be mounted. */
export async function smallDiskSkip(): Promise<string | false> {
  if (Deno.build.os !== "linux") return `${Deno.build.os} has no tmpfs`;
  const folder = await Deno.makeTempDir({ prefix: "pare-test-" });
  try {
    await using _disk = await mountSmallDisk(`${folder}/disk`, 1 << 20);
    return false;
  } catch (error) {
    return `a tmpfs cannot be mounted: ${(error as Error).message}`;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function mount(...args: readonly string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("mount", { args: [...args] }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr).trim() || "mount failed");
}
