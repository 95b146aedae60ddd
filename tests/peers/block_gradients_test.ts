/** Compares the gradients of blocks without experts of every family with PyTorch's autograd on the model of transformers. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { sampleWindows } from "../../scripts/fixtures/family_models.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { readModelSpec } from "../../src/model/families/families.ts";
import { openModelFolder } from "../../src/model/model.ts";
import { assertClose } from "../support/assert_close.ts";
import { eachBackend } from "../support/backends.ts";
import { memoize } from "../support/memoize.ts";
import { blockGradients, TOKENS, trainedBlocks } from "../support/training_blocks.ts";
import { describePeers } from "./describe_peers.ts";

interface GradientsAnswer {
  readonly inputs: readonly number[];
  /** Empty if the model has no inputs of tokens. */
  readonly token_inputs: readonly number[];
  /** The gradients by the names of the parameters in the block. */
  readonly gradients: Readonly<Record<string, readonly number[]>>;
}

/** The blocks without experts. In a mixture, autograd would also train the router, which Pare does not train. */
const DENSE = trainedBlocks().filter(({ settings, index }) =>
  readModelSpec(settings, () => false).block(index).traits?.mixture === undefined
);

await describePeers("the gradients of a block", (peers) => {
  const makeModel = memoize(async (title: string) => {
    const { settings: config, index } = DENSE.find((one) => one.title === title)!;
    const folder = `${peers().folder}/${title}`, windows = sampleWindows(TOKENS);
    await peers().ask("transformers_model", { folder, windows, config });
    const opened = await openModelFolder(folder, denoFileSystem),
      prefix = opened.model.spec.block(index).prefix(index);
    await opened[Symbol.asyncDispose]();
    // In the files of Nemotron-H, blocks have another prefix than in the classes of transformers.
    const block = prefix.slice(0, -1).replace(/^backbone\./, "model.");
    return { folder, ...await peers().ask<GradientsAnswer>("block_gradients", { folder, windows, block }) };
  });

  eachBackend("compared with PyTorch", (backend) => {
    for (const { title, index } of DENSE) {
      it(`are the same for ${title}`, async () => {
        const { folder, inputs: states, token_inputs, gradients } = await makeModel(title);
        await using opened = await openModelFolder(folder, denoFileSystem);
        const { spec, weights } = opened.model, inputs = Float32Array.from(states);
        const { prefix, vectors = [] } = spec.block(index);
        const tokenInputs = token_inputs.length > 0 ? Float32Array.from(token_inputs) : undefined;
        const block = { spec, weights, index, inputs, tokenInputs, targets: inputs.map((x) => 2 * x) };
        const actual = await blockGradients(backend(), block), expected = new Map(Object.entries(gradients));
        // Autograd also trains vectors such as the weights of a convolution.
        for (const { name } of vectors) expected.delete(name);
        const names = [...expected.keys()].map((name) => prefix(index) + name);
        assert.deepEqual([...actual.keys()].toSorted(), names.toSorted());
        const scale = Math.max(...[...expected.values()].flat().map(Math.abs));
        for (const [name, values] of expected) {
          assertClose(actual.get(prefix(index) + name)!, values, 1e-5, { label: name, scale });
        }
      });
    }
  });
});
