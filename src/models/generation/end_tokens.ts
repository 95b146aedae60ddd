/** Reads which tokens end a text. */

import { z } from "zod";
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import type { FileSystem } from "../../files/file_system.ts";
import { ModelError } from "../../files/model_error.ts";
import { readJson } from "../../files/whole_file.ts";

/** The file with the settings of generation. Older checkpoints have these settings in config.json. */
const GENERATION_FILE = "generation_config.json";

const tokenId = z.int().min(0);
const schema = z.object({ eos_token_id: z.union([tokenId, z.array(tokenId)]).nullish() });

/**
 * Returns the ids of the tokens that end a text. The set is empty if the checkpoint names none.
 * @throws {ModelError} if a setting is malformed
 */
export async function readEndTokens(
  { folder, files, config }: Pick<Checkpoint, "folder" | "files" | "config">,
  fs: FileSystem,
): Promise<ReadonlySet<number>> {
  const path = `${folder}/${GENERATION_FILE}`;
  const settings = files.includes(GENERATION_FILE) ? parse(await readJson(fs, path), path) : {};
  const ids = settings.eos_token_id ?? parse(config, `${folder}/config.json`).eos_token_id ?? [];
  return new Set(typeof ids === "number" ? [ids] : ids);
}

function parse(settings: unknown, path: string): z.infer<typeof schema> {
  const result = schema.safeParse(settings);
  if (result.success) return result.data;
  throw new ModelError(`${path}: eos_token_id must be the id of a token, or a list of ids`);
}
