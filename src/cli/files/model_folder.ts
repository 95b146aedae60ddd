/**
 * The MODEL of a command: a folder as it is, or `hf:OWNER/NAME[@REVISION]`, a model of the Hugging Face hub, which is fetched first.
 * The hub's own environment variables say where the cache is and who asks.
 */

import { cacheFolder } from "../../hub/cache.ts";
import { isHubReference } from "../../hub/reference.ts";
import { hubFiles } from "./hub_files.ts";
import type { Output } from "../terminal/output.ts";

/** What MODEL may be, for the help of a command. */
export const MODEL_ARGUMENT = "a Hugging Face checkpoint folder, or hf:OWNER/NAME[@REVISION]";

/**
 * The folder that holds `model`.
 * @param env `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN`, `HF_ENDPOINT`, `HF_HUB_OFFLINE`
 * @throws {ModelError} the hub has no such model, refuses it, or is out of reach
 */
export async function modelFolder(
  model: string,
  output: Output,
  signal: AbortSignal,
  env: Readonly<Record<string, string | undefined>> = Deno.env.toObject(),
): Promise<string> {
  if (!isHubReference(model)) return model;
  const { resolveModel } = await import("../../hub/resolve_model.ts"); // only these models need the hub's client
  const bar = output.progress("fetching");
  let told = "";
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
      progress: ({ file, done, files, bytes, byteLength }) => {
        if (file !== told) bar.step(done, files, file);
        told = file;
        bar.note(`${file} ${Math.floor(100 * bytes / Math.max(byteLength, 1))} %`);
      },
    });
  } finally {
    bar.stop();
  }
}
