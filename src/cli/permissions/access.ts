/**
 * Describes as plain data what a command may read, write and connect to. Each value on the command line that names a
 * file, a folder, a model or a server has a role, and the role decides what the value grants. Deno compares real paths,
 * so a value that is a symbolic link, or lies below one, grants its real path as well.
 */

import { basename, dirname, join, resolve } from "node:path";
import type { DawnFiles } from "../../host/backends.ts";
import { cacheFolder, type Repository, repositoryFolder } from "../../model/hub/cache.ts";
import { isHubReference, parseReference } from "../../model/hub/reference.ts";
import { TEMPORARY_SUFFIX } from "../../base/files/whole_file.ts";
import {
  NAMED_TEXTS,
  parseSharedText,
  parseTextReference,
  TEXT_NAMES,
} from "../../prune/texts/named_texts.ts";
import { REPORT_PAGE_FILE } from "../../prune/report/file_names.ts";
import { HUB_VARIABLES, PROBE_FILE } from "../environment.ts";

/** The files, hosts and environment variables that a process may use. */
export interface Grants {
  /** Absolute paths of files and folders. */
  readonly read?: readonly string[];
  readonly write?: readonly string[];
  /** Hosts, with or without a port: `127.0.0.1:8000`, `huggingface.co`, `*.hf.co`. */
  readonly net?: readonly string[];
  /** Names of environment variables. */
  readonly env?: readonly string[];
  /** Absolute paths of libraries of machine code. */
  readonly ffi?: readonly string[];
  /** Names of functions of Deno that describe the system. */
  readonly sys?: readonly string[];
}

/** The surroundings of a command, from which relative paths and defaults are resolved. */
export interface Surroundings {
  /** The current folder. */
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The places at which `--products auto` looks for libraries. */
  readonly libraries: readonly string[];
  /** The package that `--webgpu dawn` loads, if it is installed. */
  readonly dawn?: DawnFiles;
  /** Returns the path of an existing file or folder with all links resolved, or undefined if nothing exists there. */
  realPath(path: string): string | undefined;
}

/** The role of a value on the command line, by the kind of thing that the value names. */
export type Role =
  | "input"
  | "labelled input"
  | "keys file"
  | "text"
  | "shared text"
  | "protocol"
  | "model"
  | "output folder"
  | "output file"
  | "output path"
  | "report folder"
  | "repository"
  | "server"
  | "library"
  | "webgpu runtime";

/** The public hub, and the servers of the Hugging Face company to which it redirects downloads. */
const HUB_HOSTS = ["*.huggingface.co", "*.hf.co"]; // a pattern *.NAME includes NAME itself

/** The servers to which the hub sends uploads of large files. */
const UPLOAD_HOSTS = [
  "hf-hub-lfs-us-east-1.s3-accelerate.amazonaws.com",
  "hf-hub-lfs-us-east-1.s3.amazonaws.com",
];

/** Matches the folder of a commit in the hub's cache, whose files are links to a folder beside it. */
const SNAPSHOT = /^(.*[\\/]models--[^\\/]+)[\\/]snapshots[\\/][^\\/]+[\\/]?$/;

/**
 * Matches a file that Kubernetes mounts from a Secret or a ConfigMap. `FOLDER/NAME` is a link to `FOLDER/..data/NAME`,
 * and `..data` is a link to a folder with a time as its name. When the contents change, Kubernetes replaces this
 * folder.
 */
const MOUNTED = /^(.*)[\\/]\.\.\d{4}_[^\\/]+[\\/][^\\/]+$/;

/** Returns the access that a value with each role grants. */
const GRANTS: Readonly<Record<Role, (value: string, around: Surroundings) => Grants>> = {
  "input": (path, around) => ({ read: withRealPath(path, around) }),
  "labelled input": (value, around) => {
    const path = value.slice(value.indexOf("=") + 1);
    const labels = path.replace(/\.jsonl$/, "-labels.lst"); // the labels of piqa have a file of their own
    return { read: [path, labels].flatMap((file) => withRealPath(file, around)) };
  },
  "keys file": (path, around) => {
    const paths = withRealPath(path, around), mount = MOUNTED.exec(paths.at(-1)!)?.[1];
    return { read: mount === undefined ? paths : [...paths, mount] }; // a host reads its keys again when they change
  },
  "text": (value, around) => {
    const { name, path } = parseTextReference(value);
    return path === undefined && name !== undefined
      ? hubAccess({ type: "dataset", name: NAMED_TEXTS[name].repo }, around)
      : { read: withRealPath(path ?? value, around) };
  },
  "shared text": (value, around) => GRANTS.text(parseSharedText(value).text, around),
  "protocol": (_name, around) => union(TEXT_NAMES.map((name) => GRANTS.text(name, around))),
  "model": (model, around) =>
    isHubReference(model) ? modelAccess(model, around) : folderAccess(model, around),
  "output folder": (path, around) => {
    const folders = withRealPath(path, around).map((folder) => firstMissing(folder, around));
    return { read: folders, write: folders, sys: ["statfs"] }; // statfs tells the free space of the disk
  },
  "output file": fileAccess,
  "output path": (path, around) => union([fileAccess(path, around), GRANTS["output folder"](path, around)]),
  "report folder": (folder, around) => {
    const page = fileAccess(join(folder, REPORT_PAGE_FILE), around);
    return { ...page, read: withRealPath(folder, around) };
  },
  "repository": (_name, { env }) => ({
    net: [...hubHosts(env), ...env.HF_ENDPOINT ? [] : UPLOAD_HOSTS],
    env: HUB_VARIABLES,
  }),
  "server": (url) => ({ net: hostOf(url) }),
  "library": (choice, { cwd, libraries }) => {
    if (choice === "own") return {};
    const ffi = choice === "auto" ? libraries : [resolve(cwd, choice)];
    return { ffi, sys: ffi.some((path) => path.endsWith("Accelerate")) ? ["osRelease"] : [] }; // Accelerate has the version of macOS
  },
  "webgpu runtime": (runtime, { dawn }) => {
    return runtime === "dawn" && dawn ? { read: [dawn.folder, dawn.realFolder], ffi: [dawn.addon] } : {};
  },
};

/** Returns the access that `value` grants in `role`. */
export function accessOf(role: Role, value: string, around: Surroundings): Grants {
  return GRANTS[role](value, around);
}

/** Joins several accesses. Values that occur twice are removed. */
export function union(accesses: readonly Grants[]): Required<Grants> {
  const all = (part: keyof Grants) => [...new Set(accesses.flatMap((access) => access[part] ?? []))];
  return {
    read: all("read"),
    write: all("write"),
    net: all("net"),
    env: all("env"),
    ffi: all("ffi"),
    sys: all("sys"),
  };
}

/** Whether Deno accepts `text` as the value of `--allow-net`: a name, an address or a range of them, and optionally a port. */
export function isNetAddress(text: string): boolean {
  const address = /^(\[[\da-f:.]+\]|(?:\*\.)?[\w-]+(?:\.[\w-]+)*\.?(?:\/\d{1,3})?)(?::(\d{1,5}))?$/i.exec(
    text,
  );
  if (!address) return false;
  const [, host, port = "0"] = address;
  return Number(port) <= 65535 && (!host.startsWith("[") || URL.canParse(`http://${host}`));
}

/** Returns an address as it stands before a port, with an IPv6 address in brackets. */
export function bracketed(address: string): string {
  return address.includes(":") ? `[${address}]` : address;
}

/** Returns `HOST:PORT` of each http or https URL in a comma-separated list. Other texts grant nothing. */
export function hostOf(urls: string): string[] {
  return urls.split(",").filter((url) => URL.canParse(url)).map((url) => new URL(url)).flatMap((url) => {
    if (!/^https?:$/.test(url.protocol)) return [];
    return [`${url.hostname}:${url.port || (url.protocol === "https:" ? "443" : "80")}`];
  });
}

/**
 * The access to a file that is written under a temporary name, after a probe of its folder. If the file itself is a
 * link, the command refuses it, so only links above it are resolved.
 */
function fileAccess(path: string, around: Surroundings): Grants {
  const folders = withRealPath(dirname(path), around),
    names = [basename(path), basename(path) + TEMPORARY_SUFFIX];
  const pathsOf = (name: string) => folders.map((folder) => join(folder, name));
  return { read: names.flatMap(pathsOf), write: [...names, PROBE_FILE].flatMap(pathsOf) };
}

/** The access to a model in a folder. In the hub's cache, the files of a commit are links that leave their folder. */
function folderAccess(path: string, around: Surroundings): Grants {
  return { read: withRealPath(path, around).map((folder) => SNAPSHOT.exec(folder)?.[1] ?? folder) };
}

/** The access to a model of the hub. An invalid reference is reported by the command itself. */
function modelAccess(reference: string, around: Surroundings): Grants {
  try {
    return hubAccess({ type: "model", name: parseReference(reference).repo }, around);
  } catch {
    return { env: HUB_VARIABLES };
  }
}

/** Returns the hosts of the hub that the environment sets, or of the public hub. */
function hubHosts({ HF_ENDPOINT }: Surroundings["env"]): readonly string[] {
  return HF_ENDPOINT ? hostOf(HF_ENDPOINT) : HUB_HOSTS;
}

/** The access to a repository of the hub, which is downloaded to the folder of this repository in the cache. */
function hubAccess(repository: Repository, around: Surroundings): Grants {
  const { env } = around;
  try {
    const cache = cacheFolder(env), name = repositoryFolder(repository);
    const folders = [join(cache, name), join(cache, ".locks", name)].flatMap((path) =>
      withRealPath(path, around)
    );
    return {
      read: folders,
      write: folders.map((folder) => firstMissing(folder, around)),
      net: hubHosts(env),
      env: HUB_VARIABLES,
    };
  } catch {
    return { env: HUB_VARIABLES }; // the cache is unknown, which the command itself reports
  }
}

/** Returns the outermost folder of `path` that does not exist and must be created, or `path` if it exists. */
function firstMissing(path: string, around: Surroundings): string {
  const parent = dirname(path);
  return parent === path || around.realPath(parent) !== undefined ? path : firstMissing(parent, around);
}

/** Returns the absolute path of `path`, followed by its real path if that is another one. */
export function withRealPath(path: string, around: Surroundings): string[] {
  const absolute = resolve(around.cwd, path);
  return [...new Set([absolute, resolveLinks(absolute, around)])];
}

/** Resolves the links in the part of `path` that exists. */
function resolveLinks(path: string, around: Surroundings): string {
  const real = around.realPath(path), parent = dirname(path);
  if (real !== undefined || parent === path) return real ?? path;
  return join(resolveLinks(parent, around), basename(path));
}
