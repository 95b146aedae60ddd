/**
 * Computes the permissions with which Deno runs a command. The launchers of `scripts/launcher` pass them to Deno, so
 * that a command can use the files, servers and environment variables that its command line names, and nothing else. No
 * command may start programs, and only the libraries that `--products` and `--webgpu` name may be loaded.
 */

import {
  accessOf,
  bracketed,
  type Grants,
  hostOf,
  isNetAddress,
  type Surroundings,
  union,
  withRealPath,
} from "./access.ts";
import { COMMANDS, COMMON_VARIABLES, IMPLIED, SWITCHES } from "./commands.ts";

/** The address and the port at which `pare serve` listens by default. */
const DEFAULT_HOST = "127.0.0.1", DEFAULT_PORT = "8000";

/**
 * Returns the `--allow-…` flags for the command line `pare WORD…`.
 * @param program the folders of the program itself, which it reads
 */
export function permissionFlags(
  words: readonly string[],
  program: readonly string[],
  around: Surroundings,
): string[] {
  const { read, write, net, env, ffi, sys } = commandAccess(words, around);
  return [
    ...flag("read", [...program, ...read]),
    ...flag("write", write),
    // An address that Deno refuses is left out, so that the command itself reports it.
    ...flag("net", net.filter(isNetAddress)),
    ...flag("env", env),
    ...flag("ffi", ffi),
    ...flag("sys", sys),
  ];
}

/** Returns what the command line `pare WORD…` may use. */
export function commandAccess(words: readonly string[], around: Surroundings): Required<Grants> {
  const line = parseCommandLine(words), roles = COMMANDS[line.command ?? ""] ?? {};
  const { arguments: argumentRoles = [], options = {}, defaults = {}, env = [] } = roles;
  return union([
    { env: [...COMMON_VARIABLES, ...Object.values(defaults), ...env] },
    ...argumentRoles.flatMap((role, i) =>
      i in line.positional ? [accessOf(role, line.positional[i], around)] : []
    ),
    ...Object.entries(options).flatMap(([option, role]) => {
      const fallback = around.env[defaults[option]] ?? IMPLIED[option];
      const values = line.options.get(option) ?? (fallback === undefined ? [] : [fallback]);
      return values.map((value) => accessOf(role, value, around));
    }),
    roles.listens ? listeningAccess(line, around) : {},
    extraAccess(line, around),
  ]);
}

/** The access of a host to its own address, and to the blob store from which it fetches the tensors of tasks. */
function listeningAccess({ options }: CommandLine, { env }: Surroundings): Grants {
  const port = options.get("port")?.at(-1) ?? env.PORT ?? DEFAULT_PORT,
    host = options.get("host")?.at(-1) ?? DEFAULT_HOST;
  const addresses = [DEFAULT_HOST, host].map((address) => `${bracketed(address)}:${port}`);
  return { net: [...addresses, ...hostOf(env.PARE_BLOB_ORIGINS ?? "")] };
}

/** The access that the options `--allow-read`, `--allow-write` and `--allow-net` add. */
function extraAccess({ options }: CommandLine, around: Surroundings): Grants {
  const paths = (option: string) => (options.get(option) ?? []).flatMap((path) => withRealPath(path, around));
  return { read: paths("allow-read"), write: paths("allow-write"), net: options.get("allow-net") };
}

/** Returns `--allow-NAME=VALUE,…`, or nothing if there are no values. A comma in a value is written twice. */
function flag(name: string, values: readonly string[]): string[] {
  const escaped = values.map((value) => value.replaceAll(",", ",,"));
  return values.length === 0 ? [] : [`--allow-${name}=${escaped.join(",")}`];
}

/** The parts of a command line. */
export interface CommandLine {
  /** A key of `COMMANDS`, or undefined if the command is missing or unknown. */
  readonly command: string | undefined;
  readonly positional: readonly string[];
  /** The values of each option, in order. Options without a value are left out. */
  readonly options: ReadonlyMap<string, readonly string[]>;
}

/** Splits the words after `pare`. */
function parseCommandLine(words: readonly string[]): CommandLine {
  const positional: string[] = [], options = new Map<string, string[]>();
  const rest = [...words];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word === "--") {
      positional.push(...rest.splice(0));
    } else if (word.startsWith("--")) {
      const [, name, joined] = /^--([^=]*)(?:=(.*))?$/s.exec(word)!;
      const value = joined ?? (SWITCHES.has(name) ? undefined : rest.shift());
      if (value !== undefined) options.set(name, [...options.get(name) ?? [], value]);
    } else if (!/^-[a-zA-Z]$/.test(word)) {
      positional.push(word);
    }
  }
  const length = [1, 2].find((count) => positional.slice(0, count).join(" ") in COMMANDS);
  const command = length && positional.splice(0, length).join(" ");
  return { command: command || undefined, positional, options };
}
