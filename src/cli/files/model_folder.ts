/**
 * Resolves the MODEL argument of a command. The argument is a folder, or `OWNER/NAME[@REVISION]`, which names a model of the Hugging Face
 * hub. Such a model is downloaded first. If there is a folder OWNER/NAME, the prefix `hf:` chooses the model of the hub.
 */

import { basename } from "node:path";
import { ModelError } from "../../base/files/file_error.ts";
import { CONFIG_FILE } from "../../model/checkpoint/checkpoint.ts";
import { storedFormat } from "../../model/formats/formats.ts";
import type { ModelFolder } from "../../model/model.ts";
import { HUB_PREFIX, isHubReference, repositoryOf } from "../../model/hub/reference.ts";
import { PruneRun } from "../../prune/run/prune_run.ts";
import { UsageError } from "../errors.ts";
import { denoFileSystem } from "./deno_file_system.ts";
import { requireFolder } from "./input_file.ts";
import { exists } from "./output_path.ts";
import type { Output } from "../terminal/output.ts";
import { type HubVariables, useHub } from "./use_hub.ts";

/** The description of MODEL in the help of commands. */
export const MODEL_ARGUMENT =
  "a Hugging Face checkpoint folder, or OWNER/NAME[@REVISION] of the Hugging Face hub";

/**
 * Returns the folder of `model`. A model of the hub is downloaded unless the cache has it.
 * @param variables the environment variables; they are read from the process if they are not given
 * @throws {UsageError} if the folder does not exist, or is a file
 * @throws {ModelError} if the folder has an unfinished run, or if the hub has no such model or refuses access
 * @throws {HubUnreachable} if the hub cannot be reached and the model is not in the cache
 */
export async function modelFolder(
  model: string,
  output: Output,
  signal: AbortSignal,
  variables?: HubVariables,
): Promise<string> {
  const reference = await hubReference(model);
  if (reference === undefined) {
    await requireModelFolder(model);
    return model;
  }
  if (reference !== model) {
    output.remark(`${model}: there is no such folder, so it is ${reference} of the hub`);
  }
  const { resolveModel } = await import("../../model/hub/resolve_model.ts"); // only models of the hub need its client
  return await useHub(output, signal, (options) => resolveModel(reference, options), variables);
}

/** Returns the reference to the hub that the argument stands for. Undefined if it stands for a folder or a file. */
export async function hubReference(model: string): Promise<string | undefined> {
  if (isHubReference(model)) return model;
  const reference = `${HUB_PREFIX}${model}`;
  return repositoryOf(reference) === undefined || await exists(model) ? undefined : reference;
}

async function requireModelFolder(model: string): Promise<void> {
  try {
    await requireFolder("model", model);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    if (model.endsWith(".gguf")) {
      throw new UsageError(
        `model ${model}: is a GGUF file, which llama.cpp runs; a model is a folder in Hugging Face's format`,
      );
    }
    throw error;
  }
  const isCheckpoint = (await denoFileSystem.list(model))?.includes(CONFIG_FILE);
  if (!isCheckpoint && await PruneRun.exists(denoFileSystem, model)) {
    throw new ModelError(`${model}: is the output of an unfinished run; the command of the run finishes it`);
  }
}

/** Returns the name of a model in reports: its name on the hub, or the name of its folder. */
export async function displayedName(model: string, folder: string): Promise<string> {
  if (folder === model) return basename(await denoFileSystem.realPath(folder));
  return isHubReference(model) ? model : `${HUB_PREFIX}${model}`;
}

/** Tells the user if the files of a model store quantised weights, from which Pare computes dense ones when it reads them. */
export function remarkFormat({ checkpoint }: ModelFolder, output: Output): void {
  const { name: format } = storedFormat(checkpoint);
  if (format === "dense") return;
  output.remark(
    `${checkpoint.folder}: its weights are in the format ${format}, and are dequantised when they are read`,
  );
}

/** Returns the paths of the files of the model, without the GGUF files, which earlier exports have written. */
export function inputFiles({ checkpoint: { folder, files } }: ModelFolder): string[] {
  return files.filter((name) => !name.endsWith(".gguf")).map((name) => `${folder}/${name}`);
}
