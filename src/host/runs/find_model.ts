/** Finds the model that a request for a run names: in the operator's folder of models, or else at the Hugging Face hub. */

import { FileError } from "../../base/files/file_error.ts";
import type { FileSystem } from "../../base/files/file_system.ts";
import { Refusal } from "../../protocol/refusal.ts";
import { messageOf } from "../../base/errors.ts";
import { countWeightFileBytes } from "../../model/checkpoint/weight_files.ts";
import { openCheckpoint } from "../../model/checkpoint/checkpoint.ts";

/** A model for the command, with the bytes of its weights, and those to download. */
export interface FoundModel {
  readonly model: string;
  readonly bytes: number;
  readonly downloadedBytes: number;
}

/** Returns the commit of a model of the hub, with the bytes of its files. @throws {Refusal} `unsupported` or `hub_unreachable` */
export type MeasureHubModel = (
  name: string,
) => Promise<{ readonly reference: string; readonly bytes: number }>;

/**
 * @param folder the operator's folder of models, if there is one
 * @throws {Refusal} `unsupported` if the name leads out of the folder, or if there is no such model
 */
export async function findModel(
  fs: FileSystem,
  folder: string | undefined,
  name: string,
  measureHubModel: MeasureHubModel,
): Promise<FoundModel> {
  const refuse = (detail: string) => new Refusal("unsupported", detail, { members: { parameter: "model" } });
  if (/(^|\/)\.\.?(\/|$)/.test(name)) throw refuse(`model ${name}: must not have a part . or ..`);
  const path = folder && await existingPath(fs, `${folder}/${name}`);
  if (path !== undefined) {
    if (!path.startsWith(`${await fs.realPath(folder!)}/`)) {
      throw refuse(`model ${name}: is a link out of the folder of models`);
    }
    const bytes = await localBytes(fs, path, refuse, name);
    return { model: path, bytes, downloadedBytes: 0 };
  }
  if (!name.includes("/")) {
    throw refuse(`model ${name}: is not in this host's folder of models; a model of the hub is OWNER/NAME`);
  }
  const { reference, bytes } = await measureHubModel(name);
  return { model: reference, bytes, downloadedBytes: bytes };
}

async function existingPath(fs: FileSystem, path: string): Promise<string | undefined> {
  try {
    return await fs.realPath(path);
  } catch (error) {
    if (error instanceof FileError && (error.code === "ENOENT" || error.code === "ENOTDIR")) return undefined;
    throw error;
  }
}

async function localBytes(
  fs: FileSystem,
  path: string,
  refuse: (detail: string) => Refusal,
  name: string,
): Promise<number> {
  try {
    const checkpoint = await openCheckpoint(path, fs), bytes = countWeightFileBytes(checkpoint.shards);
    await checkpoint.close();
    return bytes;
  } catch (error) {
    throw refuse(`model ${name}: ${messageOf(error).replaceAll(`${path}/`, "").replace(path, "it")}`);
  }
}
