/**
 * The table of permissions: for each command the roles of its arguments and options, and its environment variables.
 * Options that are not listed name no file and no server.
 */

import { LAUNCHER_VARIABLE, PROGRESS_VARIABLE } from "../environment.ts";
import type { Role } from "./access.ts";

/** The roles of the arguments and options of a command, and its environment variables. */
export interface CommandRoles {
  /** The roles of the arguments, in order. */
  readonly arguments?: readonly Role[];
  /** The roles of the options, by name. */
  readonly options?: Readonly<Record<string, Role>>;
  /** The environment variables that are the defaults of options, by option. */
  readonly defaults?: Readonly<Record<string, string>>;
  /** The other environment variables that the command reads. */
  readonly env?: readonly string[];
  /** Whether the command listens on the address of its options `--host` and `--port`. */
  readonly listens?: boolean;
}

/** The variables of options that several commands have. */
const SERVER_DEFAULTS = { "server": "PARE_SERVER", "api-key": "PARE_API_KEY" },
  LIBRARY_DEFAULTS = {
    "backend": "PARE_BACKEND",
    "products": "PARE_PRODUCTS",
    "webgpu": "PARE_WEBGPU",
    "precision": "PARE_PRECISION",
  };

/** The values of options that grant access although the command line does not contain them. */
export const IMPLIED: Readonly<Record<string, string>> = { "products": "auto" };

/** The options of every command that computes. */
const LIBRARIES = { "products": "library", "webgpu": "webgpu runtime" } as const;

/** The options of the commands that calibrate a model and write another one, and those of their servers. */
const CALIBRATING = {
  options: {
    out: "output folder",
    calibration: "shared text",
    text: "text",
    server: "server",
    ...LIBRARIES,
  },
  defaults: { ...SERVER_DEFAULTS, ...LIBRARY_DEFAULTS },
} as const;

const JOBS: CommandRoles = { options: { server: "server" }, defaults: SERVER_DEFAULTS };

/** The commands, by name. A subcommand has the name of its command in front. */
export const COMMANDS: Readonly<Record<string, CommandRoles>> = {
  "prune": {
    arguments: ["model"],
    options: {
      ...CALIBRATING.options,
      profile: "input",
      imatrix: "output file",
      protocol: "protocol",
    },
    defaults: CALIBRATING.defaults,
  },
  "shrink": { arguments: ["model"], ...CALIBRATING },
  "verify": { arguments: ["model"] },
  "eval": {
    arguments: ["model"],
    options: { compare: "model", text: "text", task: "labelled input", ...LIBRARIES },
    defaults: LIBRARY_DEFAULTS,
  },
  "sweep": {
    arguments: ["model"],
    options: {
      calibration: "shared text",
      text: "text",
      csv: "output file",
      svg: "output file",
      ...LIBRARIES,
    },
    defaults: LIBRARY_DEFAULTS,
  },
  "generate": { arguments: ["model"], options: LIBRARIES, defaults: LIBRARY_DEFAULTS },
  "layer": {
    arguments: ["input"],
    options: { out: "output file", server: "server", ...LIBRARIES },
    defaults: { ...SERVER_DEFAULTS, ...LIBRARY_DEFAULTS },
  },
  "unpack": { arguments: ["model"], options: { out: "output folder" } },
  "export": { arguments: ["model"], options: { out: "output path" } },
  "push": { arguments: ["model", "repository"] },
  "report": { arguments: ["report folder"], options: { out: "output file" } },
  "jobs list": JOBS,
  "jobs show": JOBS,
  "jobs cancel": JOBS,
  "serve": {
    options: { "keys-file": "keys file", states: "output folder", edge: "server", ...LIBRARIES },
    defaults: {
      "port": "PORT",
      "keys-file": "PARE_KEYS_FILE",
      "edge": "PARE_EDGE",
      "public-url": "PARE_PUBLIC_URL",
      ...LIBRARY_DEFAULTS,
    },
    env: [
      "PARE_KEYS",
      "PARE_HOSTS",
      "PARE_CORS_ORIGINS",
      "PARE_REQUIRE_GPU",
      "PARE_HOST_ID",
      "EDGE_HOST_SECRET",
      "PARE_BLOB_ORIGINS",
    ],
    listens: true,
  },
};

/** The options of all commands that are followed by no value. Every other option takes the next word as its value. */
export const SWITCHES: ReadonlySet<string> = new Set([
  "help",
  "version",
  "json",
  "debug",
  "overwrite",
  "restart",
  "plan",
  "symmetric",
  "true-sequential",
  "all-experts",
  "jobs",
  "remote",
  "no-jobs",
  "private",
  "dry-run",
  "require-gpu",
]);

/**
 * The environment variables that all commands read: those of terminals, of the launcher, and the V8 flags, on which the
 * speed of the `cpu` backend depends.
 */
export const COMMON_VARIABLES = [
  "DENO_V8_FLAGS",
  LAUNCHER_VARIABLE,
  "NO_COLOR",
  "FORCE_COLOR",
  "CLICOLOR_FORCE",
  "TERM",
  PROGRESS_VARIABLE,
];
