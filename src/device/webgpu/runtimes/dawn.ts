/**
 * Loads Dawn, the WebGPU implementation of Chromium, from the npm package `webgpu`, which has one native addon per
 * platform. The addon is loaded by its path and not by an import, so Deno needs the package only if a user asks for
 * Dawn.
 */

import { existsSync, readFileSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { messageOf } from "../../../base/errors.ts";

/** The version of the package with which Pare is tested. Other versions are used too, and reports name them. */
export const TESTED_DAWN = "0.6.2";

/** Makes Dawn list its experimental features, such as matrix units. A device still has only the requested features. */
const ALLOW_EXPERIMENTS = "enable-dawn-features=allow_unsafe_apis";

export interface DawnFiles {
  /** The folder of the package under its name in `node_modules`, which may be a link. */
  readonly folder: string;
  /** The folder to which the link leads, or `folder` if it is not a link. */
  readonly realFolder: string;
  /** The addon for this platform, inside of `realFolder`. */
  readonly addon: string;
}

export interface Dawn {
  readonly gpu: GPU;
  /** `Dawn (webgpu VERSION)`. The name has the version, because the compiler decides how results are rounded. */
  readonly name: string;
}

/** Returns the folders in which a program may find the package, from the nearest to the farthest. */
function packageFolders(main: string): string[] {
  const folder = dirname(main);
  return [join(folder, "node_modules", "webgpu"), ...folder === main ? [] : packageFolders(folder)];
}

/** Returns the installed package that is nearest to `main`, the path of the program, or undefined if there is none. */
export function findDawn(main: string): DawnFiles | undefined {
  const folder = packageFolders(main).find((folder) => existsSync(join(folder, "package.json")));
  if (folder === undefined) return undefined;
  const realFolder = realpathSync(folder), { platform, arch } = process;
  const build = platform === "darwin" ? "darwin-universal" : `${platform}-${arch}`;
  return { folder, realFolder, addon: join(realFolder, "dist", build, "dawn.node") };
}

let loaded: Dawn | undefined;

/** Loads Dawn, once per thread. @throws {Error} if it is not installed, or has no addon that this machine can load */
export function loadDawn(): Dawn {
  // A worker has no main module, but its own module is a part of the program too.
  return loaded ??= openDawn(findDawn(fileURLToPath(Deno.mainModule ?? location.href)));
}

export function openDawn(files: DawnFiles | undefined): Dawn {
  if (!files) {
    throw new Error(
      "--webgpu dawn needs the npm package webgpu, but no node_modules folder beside or above the program has it; " +
        `install it with npm install webgpu@${TESTED_DAWN}`,
    );
  }
  const { addon, realFolder } = files;
  try {
    const { create } = createRequire(addon)(addon) as { create(options: readonly string[]): GPU };
    const { version } = JSON.parse(readFileSync(join(realFolder, "package.json"), "utf8"));
    return { gpu: create([ALLOW_EXPERIMENTS]), name: `Dawn (webgpu ${version})` };
  } catch (error) {
    throw new Error(`--webgpu dawn: the addon ${addon} cannot be loaded: ${messageOf(error)}`);
  }
}
