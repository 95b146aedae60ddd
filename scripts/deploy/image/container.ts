/**
 * Starts a replayed image as a container engine would start it in a locked-down cluster: as the image's user without
 * capabilities, on a read-only file system, and in namespaces of its own. The network has nothing but the loopback interface.
 */

import { DEFAULT_PATH, quote, run } from "./commands.ts";
import type { ReplayedImage } from "./replay.ts";

/** A running container. */
export interface Container extends AsyncDisposable {
  /** The time at which it was started, in ms since 1970. */
  readonly startedAt: number;
  /** Rejects when the first process ends before it is stopped. */
  readonly failed: Promise<never>;
  /** Runs another command in the image, as its user and in its network. Returns the exit code. */
  exec(command: readonly string[]): Promise<number>;
  /** Runs a command of this machine in the network of the container, and returns its standard output. */
  runInNetwork(command: readonly string[]): Promise<string>;
  /** Sends SIGTERM to the first process, as a container engine does. Returns the exit code and what the container printed. */
  stop(): Promise<{ code: number; output: string }>;
}

/** Mounts /proc and the device files, makes the rest read-only, and becomes the user of the image. */
const ENTER = `set -e
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
mount --bind /dev "$1/dev"
mount -o remount,ro,bind "$1"
exec chroot "$1" setpriv --reuid="\${2%:*}" --regid="\${2#*:}" --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all \\
  /bin/sh -c "cd $3 && exec $4"`;

/** Starts the image with `args` in place of its CMD. */
export async function startContainer(
  image: ReplayedImage,
  { args, env }: { args: readonly string[]; env: Readonly<Record<string, string>> },
): Promise<Container> {
  const network = `pare-image-${Deno.pid}`;
  await run(["ip", "netns", "add", network]);
  await run(["ip", "-n", network, "link", "set", "lo", "up"]);
  const spawn = (command: readonly string[], output: "piped" | "null") =>
    new Deno.Command("ip", {
      args: [
        ...[
          "netns",
          "exec",
          network,
          "unshare",
          "--mount",
          "--pid",
          "--ipc",
          "--uts",
          "--fork",
          "--kill-child",
        ],
        ...[
          "sh",
          "-c",
          ENTER,
          "sh",
          image.root,
          image.user,
          quote(image.workdir),
          command.map(quote).join(" "),
        ],
      ],
      env: { PATH: DEFAULT_PATH, ...image.env, ...env },
      clearEnv: true,
      stdin: "null",
      stdout: output,
      stderr: output,
    }).spawn();
  const startedAt = Date.now(), child = spawn([...image.entrypoint, ...args], "piped");
  const ended = child.output().then(({ code, stdout, stderr }) => {
    const decoder = new TextDecoder();
    return { code, output: decoder.decode(stdout) + decoder.decode(stderr) };
  });
  let stopping = false;
  const failed = ended.then(({ code, output }) => {
    if (!stopping) throw new Error(`the container ended with exit code ${code}:\n${output}`);
    return new Promise<never>(() => {});
  });
  failed.catch(() => {}); // the caller that awaits `failed` reports the error
  const signal = async (name: Deno.Signal) => {
    // The first process of the container is the only child of `unshare`.
    const children = await Deno.readTextFile(`/proc/${child.pid}/task/${child.pid}/children`).catch(() => "");
    for (const id of children.trim().split(" ").filter(Boolean)) Deno.kill(Number(id), name);
  };
  return {
    startedAt,
    failed,
    exec: async (command) => (await spawn(command, "null").status).code,
    runInNetwork: (command) => run(["ip", "netns", "exec", network, ...command]),
    stop: async () => {
      stopping = true;
      await signal("SIGTERM");
      return await ended;
    },
    [Symbol.asyncDispose]: async () => {
      stopping = true;
      await signal("SIGKILL");
      await ended;
      await run(["ip", "netns", "delete", network]);
    },
  };
}
