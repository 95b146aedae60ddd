/**
 * Writes every hostile safetensors file of `tests/attacks/safetensors_files.ts` into the folder that the argument names. Each file
 * is the model.safetensors of a checkpoint with an empty config.json. The tests of the Python package read these checkpoints.
 */

import { SAFETENSORS_ATTACKS } from "../../attacks/safetensors_files.ts";

const [folder] = Deno.args;
for (const [i, { name, file }] of SAFETENSORS_ATTACKS.entries()) {
  const checkpoint = `${folder}/${i} ${name.replaceAll(/[^\w ]/g, "_")}`;
  await Deno.mkdir(checkpoint);
  await Deno.writeFile(`${checkpoint}/model.safetensors`, file());
  await Deno.writeTextFile(`${checkpoint}/config.json`, "{}");
}
