/**
 * Resolves the MODEL argument of a command. The argument is a folder, or `hf:OWNER/NAME[@REVISION]`, which
 * names a model of the Hugging Face hub. Such a model is downloaded first. The cache folder and the access
 * token are set by the same environment variables as for Hugging Face's own tools.
 */

import { cacheFolder } from "../../hub/cache.ts";
import { isHubReference } from "../../hub/reference.ts";
import { retryLine } from "../remote_client.ts";
import { hubFiles } from "./hub_files.ts";
import { HUB_VARIABLES } from "./hub_variables.ts";
import type { Output } from "../terminal/output.ts";

/** The values of `HUB_VARIABLES`. */
type HubVariables = Readonly<Partial<Record<typeof HUB_VARIABLES[number], string>>>;

/** The description of MODEL in the help of commands. */
export const MODEL_ARGUMENT = "a Hugging Face checkpoint folder, or hf:OWNER/NAME[@REVISION]";

/**
 * Returns the folder of `model`. A model of the hub is downloaded unless the cache has it.
 * @param variables the environment variables; they are read from the process if they are not given
 * @throws {ModelError} if the hub has no such model or refuses access
 * @throws {HubUnreachable} if the hub cannot be reached and the model is not in the cache
 */
export async function modelFolder(
  model: string,
  output: Output,
  signal: AbortSignal,
  variables?: HubVariables,
): Promise<string> {
  if (!isHubReference(model)) return model;
  const env = variables ?? readHubVariables();
  const { resolveModel } = await import("../../hub/resolve_model.ts"); // only models of the hub need its client
  const bar = output.progress("fetching");
  let currentFile = "";
  try {
    return await resolveModel(model, {
      fs: hubFiles,
      cacheDir: cacheFolder(env),
      fetch,
      hubUrl: env.HF_ENDPOINT || undefined,
      accessToken: env.HF_TOKEN,
      offline: /^(1|on|yes|true)$/i.test(env.HF_HUB_OFFLINE ?? ""),
      signal,
      remark: (line) => output.remark(line),
      onRetry: ({ message }, waitMs) => output.remark(retryLine(message, waitMs)),
      progress: ({ file, done, files, bytes, byteLength }) => {
        if (file !== currentFile) bar.step(done, files, file);
        currentFile = file;
        bar.note(`${file} ${Math.floor(100 * bytes / Math.max(byteLength, 1))} %`);
      },
    });
  } finally {
    bar.stop();
  }
}

/** Reads the environment variables. They are read one by one, because the command may have no permission for others. */
function readHubVariables(): HubVariables {
  return Object.fromEntries(HUB_VARIABLES.map((name) => [name, Deno.env.get(name)]));
}
