/**
 * Replays the stages of a Dockerfile in folders, with one folder per stage. An instruction RUN is run by `chroot` as root, in
 * its own mount and process namespaces. It uses the network, the name servers, the proxies and the certificates
 * of this machine, but sees none of its files.
 */

import { DEFAULT_PATH, quote, run } from "./commands.ts";
import { makeBaseRoot, suiteOf } from "./base_root.ts";
import { configOf, type ImageConfig, type Instruction, parseEnv, type Stage } from "./dockerfile.ts";

/** The files and the configuration of the last stage. */
export interface ReplayedImage extends ImageConfig {
  /** The folder with the files of the image. */
  readonly root: string;
  /** The folder with the files of the first stage, which is not part of the image. */
  readonly buildRoot: string;
}

/** Variables that tell programs about the proxies of this machine. */
const PROXY_VARIABLES = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"];

/** Variables by which programs find the certificates of this machine, at a path that is not part of the image. */
const CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt", CERTIFICATES_INSIDE = "/run/certificates.crt";
const CERTIFICATE_VARIABLES = ["NODE_EXTRA_CA_CERTS", "DENO_CERT", "SSL_CERT_FILE"];

/** Mounts what a container engine mounts for a step of a build, and runs the step's command by the shell. */
const STEP = `set -e
mount -t proc proc "$1/proc"
mount -t tmpfs tmpfs "$1/run"
mount --bind /dev "$1/dev"
touch "$1/etc/resolv.conf"
mount --bind /etc/resolv.conf "$1/etc/resolv.conf"
cp ${CERTIFICATES} "$1${CERTIFICATES_INSIDE}"
exec chroot "$1" /bin/sh -c "cd $2 && $3"`;

/** Runs a shell command in `root` with this machine's network. @throws {Error} if it fails */
export function runInside(
  root: string,
  command: string,
  { env = {}, workdir = "/" }: { env?: Readonly<Record<string, string>>; workdir?: string } = {},
): Promise<string> {
  const proxies = PROXY_VARIABLES.flatMap((name) => {
    const value = Deno.env.get(name);
    return value === undefined ? [] : [[name, value]];
  });
  const certificates = CERTIFICATE_VARIABLES.map((name) => [name, CERTIFICATES_INSIDE]);
  return run(
    [
      "unshare",
      "--mount",
      "--pid",
      "--fork",
      "--kill-child",
      "sh",
      "-c",
      STEP,
      "sh",
      root,
      quote(workdir),
      command,
    ],
    {
      env: {
        PATH: DEFAULT_PATH,
        HOME: "/root",
        DEBIAN_FRONTEND: "noninteractive",
        ...Object.fromEntries([...proxies, ...certificates]),
        ...env,
      },
    },
  );
}

/**
 * Replays all stages. `context` is the folder that the Dockerfile copies from, and `work` an empty folder for the results.
 * `log` is called before each instruction.
 * @throws {Error} if an instruction fails
 */
export async function replay(
  stages: readonly Stage[],
  { context, work, log }: { context: string; work: string; log: (line: string) => void },
): Promise<ReplayedImage> {
  const roots: string[] = [], bases = new Map<string, string>();
  for (const [index, stage] of stages.entries()) {
    log(`FROM ${stage.base}`);
    let base = bases.get(stage.base);
    if (base === undefined) {
      bases.set(stage.base, base = `${work}/base-${bases.size}`);
      await makeBaseRoot(suiteOf(stage.base), base);
    }
    const root = `${work}/stage-${index}`;
    await run(["cp", "-a", base, root]);
    const folderOf = (name: string): string => {
      const found = stages.findIndex((stage) => stage.name === name);
      if (found < 0 || found >= index) throw new Error(`COPY --from=${name}: no earlier stage has this name`);
      return roots[found];
    };
    await replayStage(stage, { root, context, folderOf, log });
    roots.push(root);
  }
  return { ...configOf(stages.at(-1)!), root: roots.at(-1)!, buildRoot: roots[0] };
}

async function replayStage(
  { instructions }: Stage,
  { root, context, folderOf, log }: {
    root: string;
    context: string;
    folderOf: (stage: string) => string;
    log: (line: string) => void;
  },
): Promise<void> {
  const env: Record<string, string> = {};
  let workdir = "/";
  for (const instruction of instructions) {
    const { keyword, text, flags } = instruction;
    log(`${keyword} ${text}`);
    if (keyword === "RUN") await runInside(root, text, { env, workdir });
    if (keyword === "ENV") Object.assign(env, parseEnv(text));
    if (keyword === "COPY") {
      await copy(instruction, flags.from === undefined ? context : folderOf(flags.from), root, workdir);
    }
    if (keyword === "WORKDIR") {
      workdir = text;
      await Deno.mkdir(root + workdir, { recursive: true });
    }
  }
}

/** Copies files, and the contents of folders, with the rules of COPY. */
async function copy({ text }: Instruction, from: string, root: string, workdir: string): Promise<void> {
  const paths = text.split(/\s+/), target = paths.at(-1)!, sources = paths.slice(0, -1);
  const destination = root + (target.startsWith("/") ? target : `${workdir}/${target}`);
  for (const source of sources) {
    const path = `${from}/${source}`;
    if ((await Deno.stat(path)).isDirectory) {
      await Deno.mkdir(destination, { recursive: true });
      await run(["cp", "-a", "--no-preserve=ownership", `${path}/.`, destination]);
    } else {
      const into = target.endsWith("/") || sources.length > 1 ? `${destination}/` : destination;
      await Deno.mkdir(into.slice(0, into.lastIndexOf("/")), { recursive: true });
      await run(["cp", "-a", "--no-preserve=ownership", path, into]);
    }
  }
}
