/** Tests that the text part of a multimodal model is read under every prefix, pruned, and written beside unchanged other tensors. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { copyDestination } from "../../../scripts/prune/write_pruned.ts";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { readModelSpec } from "../../../src/model/families/families.ts";
import { openModelFolder } from "../../../src/model/model.ts";
import { denseModules } from "../../../src/model/module_names.ts";
import { DevicePruner } from "../../../src/prune/device_pruner.ts";
import { pruneModel } from "../../../src/prune/run/prune_model.ts";
import { encode } from "../../../src/tensor/safetensors/encode.ts";
import type { HostTensor } from "../../../src/tensor/host_tensor.ts";
import { decode } from "../../../src/tensor/safetensors/decode.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachBackend } from "../../support/backends.ts";
import { FAMILY_FIXTURES, readFamilyFixture } from "../../support/family_fixtures.ts";
import { windowLogits } from "../../support/logits.ts";
import { temporaryFolder } from "../../support/temporary_folder.ts";

const scratch = temporaryFolder();

/** A part of a tower for images, which no text reaches. Its bytes are not numbers in F32. */
const TOWER: HostTensor = { dtype: "F32", shape: [2, 2], data: new Uint8Array(16).fill(255) };

/** Writes a fixture as the text part of a multimodal model, whose names begin with `prefix`. Returns its tensors. */
async function writeWrapped(
  folder: string,
  family: string,
  modelType: string,
  prefix: string,
): Promise<Map<string, HostTensor>> {
  const { variants: [{ config }] } = await readFamilyFixture(family);
  const { tensors } = decode(await Deno.readFile(`${FAMILY_FIXTURES}${family}/model.safetensors`));
  const wrapped = new Map([...tensors].map(([name, tensor]) => [name.replace(/^model\./, prefix), tensor]));
  wrapped.set("vision_tower.layers.0.weight", TOWER);
  await Deno.mkdir(folder);
  const settings = { model_type: modelType, vision_config: { hidden_size: 2 }, text_config: config };
  await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify(settings));
  await Deno.writeFile(`${folder}/model.safetensors`, encode(wrapped, { format: "pt" }));
  return wrapped;
}

eachBackend("the text part of a multimodal model", (backend) => {
  for (
    const [family, modelType, prefix] of [
      ["gemma3_text", "gemma3", "language_model.model."],
      ["gemma3_text", "gemma3", "model.language_model."],
      ["ministral3", "mistral3", "model.language_model."],
    ]
  ) {
    it(`is computed and pruned in a ${modelType} with names that begin with ${prefix}`, async () => {
      const folder = `${scratch}/${backend().kind} ${modelType} ${prefix}`, out = `${folder} pruned`;
      const { windows, variants: [{ logits }] } = await readFamilyFixture(family);
      const tensors = await writeWrapped(folder, family, modelType, prefix);
      await using opened = await openModelFolder(folder, denoFileSystem);
      const actual: number[] = [];
      for (const window of windows) actual.push(...await windowLogits(opened.model, backend(), window));
      assertClose(actual, logits, 1e-5);

      const destination = copyDestination(opened.checkpoint, out, false);
      const job = { model: opened.model, windows, queryOf: () => ({ sparsity: 0.5 }), destination };
      await pruneModel(job, { backend: backend(), pruner: new DevicePruner(backend()) });
      const written = decode(await Deno.readFile(`${out}/model.safetensors`)).tensors;
      assert.deepEqual([...written.keys()].toSorted(), [...tensors.keys()].toSorted());
      const changed = [...tensors].filter(([name, { data }]) =>
        !data.every((byte, i) => byte === written.get(name)!.data[i])
      ).map(([name]) => name);
      assert.equal(changed.length, 2 * 7);
      for (const name of changed) assert.match(name, /\.layers\.\d\.(self_attn|mlp)\.\w+_proj\.weight$/);
      assert.deepEqual(
        await Deno.readTextFile(`${out}/config.json`),
        await Deno.readTextFile(`${folder}/config.json`),
      );
    });
  }
});

it("is refused in a quantised layout, because the modules of the other parts are not known", async () => {
  const { weights, variants: [{ config }] } = await readFamilyFixture("gemma3_text");
  const spec = readModelSpec({ model_type: "gemma3", vision_config: {}, text_config: config }, weights.has);
  assert.throws(() => denseModules(spec, () => true), { name: "ModelError", message: /multimodal/ });
});

it("has a tied head by the rule of transformers for its multimodal model", async () => {
  const headOf = async (family: string, config: Record<string, unknown>, inner: Record<string, unknown>) => {
    const { weights, variants: [{ config: text }] } = await readFamilyFixture(family);
    const { tie_word_embeddings: _, ...settings } = text;
    const wrapped = {
      ...config,
      vision_config: {},
      text_config: { ...settings, model_type: undefined, ...inner },
    };
    return readModelSpec(wrapped, (name) => name !== "lm_head.weight" && weights.has(name)).head.name;
  };
  for (
    const [modelType, family, outer, inner, isTied] of [
      ["mistral3", "mistral", undefined, undefined, true],
      ["mistral3", "mistral", false, true, false],
      ["qwen2_5_vl", "qwen2", undefined, undefined, false],
      ["qwen2_5_vl", "qwen2", false, true, true],
      ["qwen2_5_vl", "qwen2", true, false, true],
      ["gemma3", "gemma3_text", undefined, undefined, true],
    ] as const
  ) {
    const config = { model_type: modelType, tie_word_embeddings: outer };
    assert.equal(
      await headOf(family, config, { tie_word_embeddings: inner }),
      isTied ? "model.embed_tokens" : "lm_head",
      `${modelType}, ${outer}, ${inner}`,
    );
  }
});

it("is refused if its own family is not that of the multimodal model", () => {
  const config = { model_type: "mistral3", vision_config: {}, text_config: { model_type: "mistral4" } };
  assert.throws(
    () => readModelSpec(config, () => true),
    /text_config\.model_type "mistral4" of a mistral3 model is not supported; the supported types are: ministral3, mistral$/,
  );
});

it("has errors that name the object of its settings", () => {
  const flat = { model_type: "qwen2_5_vl", vision_config: {} };
  assert.throws(() => readModelSpec(flat, () => true), /^ModelError: config\.json: hidden_size: /);
  assert.throws(
    () => readModelSpec({ ...flat, text_config: { vocab_size: 9 } }, () => true),
    /^ModelError: config\.json: text_config: hidden_size: /,
  );
});
