/** Tests a run that writes a GGUF file: it is stopped at many moments and resumed, and must end in the same bytes. */

import { after, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { openModelFolder } from "../../src/model/model.ts";
import { widenedSource } from "../../src/model/checkpoint/tensor_source.ts";
import { linearLayers } from "../../src/prune/block_plan.ts";
import { type FolderJob, pruneIntoFolder } from "../../src/prune/run/folder_destination.ts";
import { planGgufOutput } from "../../src/prune/run/gguf_output.ts";
import { assertSameAfterKills } from "../support/failing_file_system.ts";
import { openLocalHost } from "../support/local_host.ts";
import { randomWeights, type Shapes } from "../support/random_weights.ts";
import { writeFiles } from "../support/checkpoint_files.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";
import { TINY_TOKENIZER } from "../support/tiny_tokenizer.ts";

const folder = temporaryFolder();

/** A model whose layers are stored transposed, and whose last layer is rounded in another process than the first one. */
const SHAPES: Shapes = {
  ...{ "wte.weight": [5, 32], "wpe.weight": [8, 32], "ln_f.weight": [32], "ln_f.bias": [32] },
  ...Object.fromEntries([0, 1].flatMap((block) =>
    Object.entries({
      ...{ "ln_1.weight": [32], "ln_1.bias": [32], "ln_2.weight": [32], "ln_2.bias": [32] },
      ...{ "attn.c_attn.weight": [32, 96], "attn.c_attn.bias": [96] },
      ...{ "attn.c_proj.weight": [32, 32], "attn.c_proj.bias": [32] },
      ...{ "mlp.c_fc.weight": [32, 64], "mlp.c_fc.bias": [64] },
      ...{ "mlp.c_proj.weight": [64, 32], "mlp.c_proj.bias": [32] },
    }).map(([name, shape]) => [`h.${block}.${name}`, shape])
  )),
};
const sizes = { n_embd: 32, n_head: 2, n_inner: 64, n_layer: 2, n_positions: 8, vocab_size: 5 };
const { values } = randomWeights(SHAPES);
await Deno.mkdir(`${folder}/model`);
await writeFiles(`${folder}/model`, {
  "config.json": { model_type: "gpt2", ...sizes },
  "tokenizer.json": TINY_TOKENIZER,
  "model.safetensors": Object.fromEntries(
    [...values].map(([name, value]) => [
      name,
      { dtype: "F32", shape: SHAPES[name], data: new Uint8Array(Float32Array.from(value).buffer) },
    ]),
  ),
});
const opened = await openModelFolder(`${folder}/model`, denoFileSystem), host = await openLocalHost("cpu");
after(() => Promise.all([host[Symbol.asyncDispose](), opened[Symbol.asyncDispose]()]).then(() => {}));

const names = linearLayers(opened.model.spec).map(({ name }) => name);
/** The layer that is pruned and not rounded, so that the file has it in F16. */
const UNROUNDED = names[1];
const model = { ...opened.model, weights: widenedSource(opened.model.weights, new Set(names)) };
const queryOf = (name: string) =>
  name === UNROUNDED
    ? { sparsity: 0.5 }
    : { sparsity: 0.5, bits: 4, group_size: 32, symmetric: true, scale_dtype: "F16" as const };

for (const [what, changes] of [["", {}], [" with reconstructed blocks", { reconstruct: 2 }]] as const) {
  it(`writes the same file after it was stopped at any change of a file${what}`, async () => {
    const options = { name: "model", type: "q4_0", round: false } as const;
    const rounded = new Set(names.filter((name) => name !== UNROUNDED));
    const { output, result } = await planGgufOutput({ ...opened, model }, denoFileSystem, {
      ...options,
      rounded,
    });
    assert.deepEqual([result.layers.exact.length, result.layers.inF16], [7, [UNROUNDED]]);
    const run = (out: string, fs = denoFileSystem) => {
      const job: FolderJob = {
        ...{
          checkpoint: opened.checkpoint,
          model,
          queryOf,
          out,
          layers: new Set(names),
          activations: "memory",
        },
        windows: [Uint32Array.of(0, 1, 2, 3, 4, 0), Uint32Array.of(4, 2, 0, 3, 1, 1)],
        fingerprint: { "--for": "gguf:q4_0" },
        planOutput: () => output,
        reportFileNames: ["pare.json"],
        reportFiles: () => Promise.resolve(new Map([["pare.json", "{}"]])),
        ...changes,
      };
      const onDamage = (text: string) =>
        assert.fail(`a run that was only stopped is called damaged: ${text}`);
      return pruneIntoFolder(job, { fs, backend: host.backend, pruner: host.pruner, onDamage });
    };
    const expected = `${folder}/whole${what}`;
    await run(expected);
    const files = Array.from(Deno.readDirSync(expected), ({ name }) => name).toSorted();
    assert.deepEqual(files, ["config.json", "model.gguf", "pare.json", "tokenizer.json"]);
    await assertSameAfterKills(run, expected, `${folder}/stopped${what}`, 7);
  });
}
