/** Shrinks the trained models of this repository, and compares the results with the dense models. */

import assert from "node:assert/strict";
import { after, describe, it } from "@std/testing/bdd";
import { denoFileSystem as fs } from "../../../src/cli/files/deno_file_system.ts";
import { createCpuBackend } from "../../../src/device/cpu/backend.ts";
import { readTensor, withReplacements } from "../../../src/model/checkpoint/tensor_source.ts";
import { type ModelFolder, openModelFolder } from "../../../src/model/model.ts";
import { linearLayers } from "../../../src/prune/block_plan.ts";
import { DevicePruner } from "../../../src/prune/device_pruner.ts";
import { type ShrinkJob, shrinkModel, type ShrinkResult } from "../../../src/prune/shrink/shrink_model.ts";
import { withSmallerSizes } from "../../../src/prune/shrink/smaller_network.ts";
import { readingLayers } from "../../../src/prune/shrink/units.ts";
import { placeColumns } from "../../../src/tensor/columns.ts";
import type { HostTensor } from "../../../src/tensor/host_tensor.ts";
import { fixtureModel } from "../../../scripts/fixtures/trained_models.ts";
import { assertClose } from "../../support/assert_close.ts";
import { assertSame } from "../../support/assert_same.ts";
import { windowLogits } from "../../support/logits.ts";
import { temporaryFolder } from "../../support/temporary_folder.ts";

const folder = temporaryFolder();
const WINDOW = Uint32Array.from({ length: 24 }, (_, t) => 40 + (17 * t) % 900);

const backend = await createCpuBackend();
after(() => backend.dispose());

describe("shrinkModel()", () => {
  /** Shrinks `model`, and returns the result and the opened folders of both models. */
  async function shrink(
    name: string,
    model: string,
    options: Pick<ShrinkJob, "kept" | "blocks">,
    cleanup: AsyncDisposableStack,
  ): Promise<{ readonly result: ShrinkResult; readonly dense: ModelFolder; readonly shrunk: ModelFolder }> {
    const fixture = fixtureModel(model), { calibration } = await fixture.tokens(), out = `${folder}/${name}`;
    const dense = cleanup.use(await openModelFolder(fixture.folder, fs)), { checkpoint } = dense;
    const windows = Array.from({ length: 6 }, (_, i) => calibration.subarray(200 * i, 200 * i + 128));
    const job = {
      ...{ checkpoint, model: dense.model, out, ...options, fingerprint: {}, reportFileNames: ["pare.json"] },
      ...{ windows: windows.slice(0, 5), validationWindows: windows.slice(5) },
      reportFiles: () => Promise.resolve(new Map([["pare.json", "{}"]])),
    };
    const live = backend.counters.bytesLive;
    const result = await shrinkModel(job, { fs, backend, pruner: new DevicePruner(backend) });
    assert.equal(backend.counters.bytesLive, live, "bytes left allocated");
    const shrunk = cleanup.use(await openModelFolder(out, fs));
    const sizes = await withSmallerSizes(dense, options.kept, options.blocks);
    assert.deepEqual(sizes.checkpoint.config, shrunk.checkpoint.config);
    for (const name of shrunk.checkpoint.names()) {
      const { dtype, shape } = shrunk.checkpoint.info(name);
      assert.deepEqual(sizes.model.weights.info(name), { dtype, shape }, name);
    }
    return { result, dense, shrunk };
  }

  /** Returns the indices of the rows of `dense` that are the rows of `shrunk`. */
  function keptRows(dense: HostTensor, shrunk: HostTensor): number[] {
    const rowBytes = dense.data.byteLength / dense.shape[0], kept: number[] = [];
    const rowOf = ({ data }: HostTensor, row: number) =>
      String(data.subarray(row * rowBytes, (row + 1) * rowBytes));
    for (let row = 0; row < dense.shape[0]; row++) {
      if (kept.length < shrunk.shape[0] && rowOf(dense, row) === rowOf(shrunk, kept.length)) kept.push(row);
    }
    return kept;
  }

  for (
    const [model, kept, rows, writer, settings] of [
      ["opt-sotu", { neurons: 320 }, 320, "fc1", { ffn_dim: 320 }],
      ["llama-sotu", { neurons: 320 }, 320, "mlp.gate_proj", { intermediate_size: 320 }],
      ["llama-sotu", { heads: 3 }, 96, "self_attn.q_proj", {
        num_attention_heads: 3,
        num_key_value_heads: 1,
        head_dim: 32,
      }],
    ] as const
  ) {
    const [kind] = Object.keys(kept);
    it(`writes a checkpoint of ${model} with the logits of the dense model whose removed ${kind} are masked`, async () => {
      await using cleanup = new AsyncDisposableStack();
      const { result, dense, shrunk } = await shrink(`${model}-${kind}`, model, { kept, blocks: 0 }, cleanup);
      for (const [setting, value] of Object.entries(settings)) {
        assert.equal(shrunk.checkpoint.config[setting], value);
      }
      assert.deepEqual(result.layers.map(({ block }) => block), [0, 1, 2, 3]);
      for (const { report } of result.layers) {
        assert.ok(report.relative_error! > 0 && report.relative_error! < 1 && report.validation_error! < 1);
      }
      const masked = new Map<string, HostTensor>();
      for (const reader of readingLayers(kept, dense.checkpoint.config, dense.model.spec)) {
        const { name } = linearLayers(dense.model.spec).find(({ block, linear }) =>
          block === reader.block && linear.name === writer
        )!;
        const columns = keptRows(await dense.checkpoint.tensor(name), await shrunk.checkpoint.tensor(name));
        assert.equal(columns.length, rows, name);
        const weight = await readTensor(shrunk.model.weights, reader.name);
        masked.set(reader.name, placeColumns(weight, columns, reader.cols));
      }
      const weights = withReplacements(dense.model.weights, masked);
      const expected = await windowLogits({ spec: dense.model.spec, weights }, backend, WINDOW);
      assertClose(await windowLogits(shrunk.model, backend, WINDOW), expected, 1e-5, { label: "logits" });
    });
  }

  it("drops blocks, renames the later ones, and shrinks those that remain", async () => {
    await using cleanup = new AsyncDisposableStack();
    const { result, dense, shrunk } = await shrink(
      "blocks",
      "llama-sotu",
      { kept: { neurons: 448 }, blocks: 2 },
      cleanup,
    );
    assert.equal(result.similarities!.length, 4);
    assert.deepEqual([result.dropped.length, shrunk.checkpoint.config.num_hidden_layers], [2, 2]);
    assert.deepEqual(result.layers.map(({ block }) => block), [0, 1]);
    const remaining = [0, 1, 2, 3].filter((block) => !result.dropped.includes(block));
    for (const [place, block] of remaining.entries()) {
      const name = (block: number) => `model.layers.${block}.self_attn.q_proj.weight`;
      assertSame(
        await shrunk.checkpoint.tensor(name(place)),
        await dense.checkpoint.tensor(name(block)),
      );
    }
    assert.ok((await windowLogits(shrunk.model, backend, WINDOW)).every(Number.isFinite));
  });

  it("only drops blocks if no units are to be removed, and refuses to drop all", async () => {
    await using cleanup = new AsyncDisposableStack();
    const { result, shrunk } = await shrink("only", "opt-sotu", { kept: {}, blocks: 1 }, cleanup);
    assert.deepEqual([result.layers, shrunk.model.spec.blockCount], [[], 3]);
    await assert.rejects(
      shrink("all", "opt-sotu", { kept: {}, blocks: 4 }, cleanup),
      /--blocks 4: the model has 4 blocks, of which one must remain/,
    );
  });

  it("refuses to drop blocks whose kinds follow from their numbers before it compares the blocks", async () => {
    await using dense = await openModelFolder(fixtureModel("llama-sotu").folder, fs);
    const { checkpoint, model } = dense;
    Object.defineProperty(checkpoint, "config", { value: { ...checkpoint.config, model_type: "gemma2" } });
    const job = {
      ...{ checkpoint, model, out: `${folder}/gemma2`, kept: {}, blocks: 1 },
      ...{ windows: [WINDOW], validationWindows: [], fingerprint: {}, reportFileNames: [] },
      reportFiles: () => Promise.resolve(new Map()),
    };
    const onSimilarityStep = () => assert.fail("compared the blocks");
    await assert.rejects(
      shrinkModel(job, { fs, backend, pruner: new DevicePruner(backend), onSimilarityStep }),
      /without layer_types, the kind of a block of gemma2 follows from its number/,
    );
  });
});
