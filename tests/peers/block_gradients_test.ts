/** Compares the gradients of a block of every dense family with those of PyTorch's autograd on the model of transformers. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { sampleWindows } from "../../scripts/fixtures/family_models.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { MODEL_TYPES } from "../../src/model/families/families.ts";
import { openModelFolder } from "../../src/model/model.ts";
import { assertClose } from "../support/assert_close.ts";
import { eachBackend } from "../support/backends.ts";
import { memoize } from "../support/memoize.ts";
import { blockGradients, blockSettings, TOKENS } from "../support/training_blocks.ts";
import { describePeers } from "./describe_peers.ts";

interface GradientsAnswer {
  readonly inputs: readonly number[];
  readonly gradients: Readonly<Record<string, readonly number[]>>;
}

/** Autograd would also train the router of a mixture of experts. */
const DENSE = blockSettings(1).filter(([, { model_type }]) =>
  !MODEL_TYPES.mixtures.includes(String(model_type))
);

await describePeers("the gradients of a block", (peers) => {
  const makeModel = memoize(async (title: string) => {
    const config = DENSE.find(([one]) => one === title)![1], folder = `${peers().folder}/${title}`;
    const windows = sampleWindows(TOKENS);
    await peers().ask("transformers_model", { folder, windows, config });
    const opened = await openModelFolder(folder, denoFileSystem),
      block = opened.model.spec.block(1).prefix(1);
    await opened[Symbol.asyncDispose]();
    const request = { folder, windows, block: block.slice(0, -1) };
    return { folder, ...await peers().ask<GradientsAnswer>("block_gradients", request) };
  });

  eachBackend("compared with PyTorch", (backend) => {
    for (const [title] of DENSE) {
      it(`are the same for ${title}`, async () => {
        const { folder, inputs: states, gradients } = await makeModel(title);
        await using opened = await openModelFolder(folder, denoFileSystem);
        const { spec, weights } = opened.model, inputs = Float32Array.from(states);
        const block = { spec, weights, index: 1, inputs, targets: inputs.map((x) => 2 * x) };
        const actual = await blockGradients(backend(), block);
        assert.deepEqual([...actual.keys()].toSorted(), Object.keys(gradients).toSorted());
        const scale = Math.max(...Object.values(gradients).flat().map(Math.abs));
        for (const [name, values] of actual) {
          assertClose(values, gradients[name], 1e-5, { label: name, scale });
        }
      });
    }
  });
});
