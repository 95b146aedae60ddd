/** Tests that transformers loads shrunk checkpoints with the logits of the dense model with masked neurons. */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { fileURLToPath } from "node:url";
import type { Settings } from "../../scripts/fixtures/family_models.ts";
import { fixtureModel } from "../../scripts/fixtures/trained_models.ts";
import { denoFileSystem as fs } from "../../src/cli/files/deno_file_system.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { openModelFolder } from "../../src/model/model.ts";
import { DevicePruner } from "../../src/prune/device_pruner.ts";
import { shrinkModel, type ShrinkResult } from "../../src/prune/shrink/shrink_model.ts";
import { windowLogits } from "../support/logits.ts";
import { assertClose } from "../support/assert_close.ts";
import { describePeers } from "./describe_peers.ts";
import { LLAMA_BASE } from "./random_family.ts";

const MODELS = fileURLToPath(new URL("../fixtures/models/", import.meta.url));

/** Windows of token ids below 29, the size of the smallest vocabulary. */
const WINDOWS = Array.from(
  { length: 24 },
  (_, i) => Uint32Array.from({ length: 16 }, (_, t) => (t * t + 3 * t + 5 * i) % 29),
);

interface Comparison {
  readonly neurons: readonly number[];
  readonly difference: number;
  readonly largest: number;
  readonly change: number;
}

/** Small random models with three blocks, one for each family. Qwen's blocks have windows of different kinds. */
const FAMILIES: Readonly<Record<string, Settings>> = {
  opt: {
    ...{ model_type: "opt", vocab_size: 29, hidden_size: 24, ffn_dim: 40, num_attention_heads: 3 },
    ...{ max_position_embeddings: 32, pad_token_id: 1 },
  },
  llama: { ...LLAMA_BASE, model_type: "llama" },
  "llama with biases": { ...LLAMA_BASE, model_type: "llama", mlp_bias: true, attention_bias: true },
  mistral: { ...LLAMA_BASE, model_type: "mistral", sliding_window: 5 },
  qwen2: {
    ...LLAMA_BASE,
    ...{ model_type: "qwen2", use_sliding_window: true, sliding_window: 5, max_window_layers: 1 },
  },
  qwen3: { ...LLAMA_BASE, model_type: "qwen3", head_dim: 8 },
};

await describePeers("the output of pare shrink", (peers) => {
  /** Shrinks a model into a new folder. */
  async function shrink(
    dense: string,
    windows: readonly Uint32Array[],
    options: { readonly width: number; readonly blocks: number },
  ): Promise<ShrinkResult & { readonly out: string }> {
    const backend = await createCpuBackend(), out = await Deno.makeTempDir({ dir: peers().folder });
    try {
      await using opened = await openModelFolder(dense, fs);
      const reportFiles = () => Promise.resolve(new Map<string, string>());
      const job = {
        ...opened,
        ...options,
        windows,
        validationWindows: [],
        out,
        fingerprint: {},
        reportFileNames: [],
        reportFiles,
      };
      return { ...await shrinkModel(job, { fs, backend, pruner: new DevicePruner(backend) }), out };
    } finally {
      await backend.dispose();
    }
  }

  function assertComparison(
    { neurons, difference, largest, change }: Comparison,
    expected: readonly number[],
  ) {
    assert.deepEqual(neurons, expected);
    assert.ok(difference <= 1e-9 * largest, `logits up to ${largest} differ by ${difference}`);
    assert.ok(change > 1e-3 * largest, `the logits changed only by ${change}`);
  }

  for (const [title, settings] of Object.entries(FAMILIES)) {
    it(`is a model of its family with the logits of the masked one, with and without a dropped block: ${title}`, async () => {
      const dense = `${peers().folder}/${title}`, windows = WINDOWS.slice(0, 2).map((window) => [...window]);
      await peers().ask("transformers_model", {
        folder: dense,
        windows,
        config: { ...settings, num_hidden_layers: 3 },
      });
      for (const blocks of [0, 1]) {
        const { out, dropped } = await shrink(dense, WINDOWS, { width: 24, blocks });
        const request = { dense, shrunk: out, dropped, windows };
        assertComparison(
          await peers().ask<Comparison>("compare_shrunk", request),
          Array(3 - blocks).fill(24),
        );
      }
    });
  }

  for (const [name, width] of [["opt-sotu", 576], ["llama-sotu", 384]] as const) {
    it(`has the logits of the masked model, and the same ones in Pare: ${name}`, async () => {
      const { calibration } = await fixtureModel(name).tokens(), dense = MODELS + name;
      const windows = Array.from({ length: 8 }, (_, i) => calibration.subarray(300 * i, 300 * i + 128));
      const { out, dropped } = await shrink(dense, windows, { width, blocks: 0 });
      const sample = windows.slice(0, 2).map((window) => [...window.subarray(0, 12)]);
      const request = { dense, shrunk: out, dropped, windows: sample };
      assertComparison(await peers().ask<Comparison>("compare_shrunk", request), Array(4).fill(width));
      const answer = await peers().ask<{ logits: number[][][] }>("transformers_model", {
        folder: out,
        windows: sample,
      });
      const backend = await createCpuBackend();
      try {
        await using opened = await openModelFolder(out, fs);
        for (const [i, window] of sample.entries()) {
          const logits = await windowLogits(opened.model, backend, Uint32Array.from(window));
          assertClose(logits, answer.logits[i].flat(), 1e-5);
        }
      } finally {
        await backend.dispose();
      }
    });
  }
});
