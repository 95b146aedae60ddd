/**
 * Compares Pare with transformers on small models that transformers makes with random parameters: the logits, the statistics of
 * the inputs of every layer, and the perplexity before and after pruning. Every parameter is random, norms and biases included,
 * so a parameter that Pare ignores or uses in the wrong place changes the logits.
 */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { type ComparedModel, sampleWindows, type Settings } from "../../scripts/fixtures/model_settings.ts";
import { copyDestination } from "../../scripts/prune/write_pruned.ts";
import type { Backend } from "../../src/device/backend.ts";
import { computePerplexity } from "../../src/model/evaluation/perplexity.ts";
import { type Model, openModelFolder } from "../../src/model/model.ts";
import { pruneModel } from "../../src/prune/run/prune_model.ts";
import { DevicePruner } from "../../src/prune/device_pruner.ts";
import { asFloat32 } from "../../src/tensor/host_tensor.ts";
import { assertClose } from "../support/assert_close.ts";
import { replaceWeights } from "../support/solve_blocks.ts";
import { onCpu, onWebGpu } from "../support/backends.ts";
import { windowLogits } from "../support/logits.ts";
import { memoize } from "../support/memoize.ts";
import { describePeers } from "./describe_peers.ts";

/** Models by title. */
export type Models = Readonly<Record<string, ComparedModel>>;

const TOKENS = 20, WINDOWS = sampleWindows(TOKENS);

/** The answer of `transformers_model.py`, which describes the fields in its header. */
interface ModelAnswer {
  readonly logits: readonly (readonly (readonly number[])[])[];
  readonly perplexity: number;
  readonly insensitive?: readonly string[];
  readonly statistics: Readonly<Record<string, { readonly tokens: number; readonly hessian: number[] }>>;
}

/**
 * Declares the tests of a family: one test per model and backend, and one test that all models differ.
 * @param base the settings from which the models differ
 * @param stored the models of the fixtures, which are compared on the CPU only, because other tests compare them on WebGPU
 * @param insensitive as in `FamilyModels`
 */
export async function compareFamily(
  family: string,
  base: Settings,
  compared: Models,
  { stored = {}, insensitive = [] }: { stored?: Models; insensitive?: readonly string[] } = {},
): Promise<void> {
  const variants: Models = { ...stored, ...compared };
  await describePeers(`the forward pass of ${family}`, (peers) => {
    const makeModel = memoize(async (title: string) => {
      const { settings, dtype, savedAs, rewrite } = variants[title];
      const path = `${peers().folder}/${title}`;
      // Models with the default sizes have millions of parameters and statistics. The other variants check the same names.
      const request = { folder: path, windows: WINDOWS, statistics: !rewrite };
      const ask = (more: object) => peers().ask<ModelAnswer>("transformers_model", { ...request, ...more });
      const made = await ask({
        config: { ...base, ...settings },
        dtype,
        saved_as: savedAs,
        sensitivity: !rewrite,
      });
      const ignored = made.insensitive?.filter((name) => !insensitive.some((end) => name.endsWith(end))) ??
        [];
      assert.deepEqual(ignored, [], "these parameters have no influence on the logits of transformers");
      if (!rewrite) return { path, ...made };
      const written = JSON.parse(await Deno.readTextFile(`${path}/config.json`));
      await Deno.writeTextFile(`${path}/config.json`, JSON.stringify(rewrite(written)));
      return { path, ...await ask({}) };
    });

    const compareOn = (titles: readonly string[]) => (backend: () => Backend) => {
      for (const title of titles) {
        it(`computes the same logits and the same perplexity for a model ${title}`, async () => {
          const expected = await makeModel(title);
          await using opened = await openModelFolder(expected.path, denoFileSystem);
          for (const [i, window] of WINDOWS.entries()) {
            const actual = await windowLogits(opened.model, backend(), Uint32Array.from(window));
            assertClose(actual, expected.logits[i].flat(), 1e-5);
          }
          const tokens = Uint32Array.from(WINDOWS.flat());
          const measured = await computePerplexity(opened.model, backend(), tokens, { seqlen: TOKENS });
          assertClose([measured.perplexity], [expected.perplexity], 1e-5);
        });

        if (variants[title].rewrite) continue;
        it(`computes the same statistics of every layer for a model ${title}`, async () => {
          const { path, statistics } = await makeModel(title);
          await using opened = await openModelFolder(path, denoFileSystem);
          const compared = await compareStatistics(opened.model, backend(), statistics);
          assert.equal(compared, Object.keys(statistics).length);
        });
      }

      it("prunes the first model to a checkpoint with the same perplexity in transformers", async () => {
        const { path, ...dense } = await makeModel(Object.keys(variants)[0]);
        const folder = `${path} pruned on ${backend().kind}`;
        const perplexity = await writePrunedModel(path, folder, backend());
        const expected = await peers().ask<ModelAnswer>("transformers_model", { folder, windows: WINDOWS });
        assert.ok(Math.abs(Math.log(perplexity / dense.perplexity)) > 0.01, `${perplexity}`);
        assertClose([perplexity], [expected.perplexity], 1e-5);
      });
    };
    const titles = Object.keys(variants);
    onCpu("compared with transformers on cpu", compareOn(titles));
    onWebGpu(
      "compared with transformers on webgpu",
      compareOn(Object.keys(compared)),
    );

    it("has other logits for every other setting of the compared models", async () => {
      const titleOfLogits = new Map<string, string>(), equal: [string, string][] = [];
      for (const title of Object.keys(variants)) {
        const key = (await makeModel(title)).logits.flat(2).map((logit) => logit.toFixed(4)).join();
        const other = titleOfLogits.get(key);
        if (other) equal.push([title, other]);
        titleOfLogits.set(key, other ?? title);
      }
      const same = Object.entries(variants).flatMap(([title, { same }]) => same ? [[title, same]] : []);
      assert.deepEqual(equal, same);
    });
  });
}

/**
 * Compares the statistics of all layers of the dense model. Returns the number of layers that were compared.
 * @param expected the statistics of transformers, by the names of its layers
 */
async function compareStatistics(
  model: Model,
  backend: Backend,
  expected: ModelAnswer["statistics"],
): Promise<number> {
  let compared = 0;
  const windows = WINDOWS.map((window) => Uint32Array.from(window));
  await replaceWeights(model, backend, { windows }, async ({ name, weight }, group) => {
    if (name !== group.layers[0].name) return weight;
    const layer = inBlock(name.replace(/\.weight$/, ""));
    const key = Object.keys(expected).find((known) => inBlock(known) === layer);
    if (key !== undefined) {
      const { tokens, hessian } = expected[key];
      if (group.tokens !== undefined) assert.equal(group.tokens, tokens, layer);
      // The identity takes the place of the statistics of an expert without tokens.
      if (tokens > 0) {
        assertClose(asFloat32((await group.hessian!.packedUpper()).data), hessian, 1e-5, { label: layer });
      }
      compared++;
    }
    return weight;
  });
  return compared;
}

/** Returns the name of a layer without the part before the blocks, which depends on how the checkpoint was saved. */
function inBlock(name: string): string {
  return name.replace(/^.*?(layers|h)\.(?=\d+\.)/, "");
}

/** Prunes the model in `source` to 50 % into `folder`. Returns its perplexity on {@link WINDOWS}. */
async function writePrunedModel(source: string, folder: string, backend: Backend): Promise<number> {
  await using opened = await openModelFolder(source, denoFileSystem);
  const windows = WINDOWS.map((window) => Uint32Array.from(window));
  const destination = copyDestination(opened.checkpoint, folder, false), queryOf = () => ({ sparsity: 0.5 });
  const job = { model: opened.model, windows, queryOf, destination };
  await pruneModel(job, { backend, pruner: new DevicePruner(backend) });
  await using pruned = await openModelFolder(folder, denoFileSystem);
  const tokens = Uint32Array.from(WINDOWS.flat());
  return (await computePerplexity(pruned.model, backend, tokens, { seqlen: TOKENS })).perplexity;
}
