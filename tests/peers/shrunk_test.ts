/**
 * Tests that transformers loads shrunk checkpoints with the logits of the dense model whose removed neurons, heads and
 * experts are masked.
 */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { fileURLToPath } from "node:url";
import { LLAMA, type Settings } from "../../scripts/fixtures/family_models.ts";
import { fixtureModel } from "../../scripts/fixtures/trained_models.ts";
import { denoFileSystem as fs } from "../../src/cli/files/deno_file_system.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { openModelFolder } from "../../src/model/model.ts";
import { DevicePruner } from "../../src/prune/device_pruner.ts";
import { type ShrinkJob, shrinkModel, type ShrinkResult } from "../../src/prune/shrink/shrink_model.ts";
import type { KeptUnits } from "../../src/prune/shrink/units.ts";
import { windowLogits } from "../support/logits.ts";
import { assertClose } from "../support/assert_close.ts";
import { describePeers } from "./describe_peers.ts";

const MODELS = fileURLToPath(new URL("../fixtures/models/", import.meta.url));

/** Windows of token ids below 29, the size of the smallest vocabulary. */
const WINDOWS = Array.from(
  { length: 24 },
  (_, i) => Uint32Array.from({ length: 16 }, (_, t) => (t * t + 3 * t + 5 * i) % 29),
);

/** The parts that remain in a block. */
interface KeptPart {
  readonly neurons?: number;
  /** The inputs of the last layer of attention. */
  readonly columns?: number;
  readonly experts?: readonly number[];
}

interface Comparison {
  readonly kept: readonly KeptPart[];
  readonly difference: number;
  readonly largest: number;
  readonly change: number;
  readonly scores: readonly (readonly number[])[];
}

/** A family, the units that a test keeps in each block, and what must then remain of a block. */
interface Family {
  readonly settings: Settings;
  readonly units: KeptUnits;
  readonly remaining: Omit<KeptPart, "experts">;
}

/** All families derived from LLaMA have 4 heads, of which pairs share a key head. */
const LLAMA_LIKE = { ...LLAMA, hidden_size: 24, intermediate_size: 37, tie_word_embeddings: false };
const HEADS = { ...LLAMA_LIKE, head_dim: 8 };
const NEURONS: Omit<Family, "settings"> = { units: { neurons: 24 }, remaining: { neurons: 24, columns: 24 } };
/** Of 6 heads on 3 key heads, 4 are not a divisor of the hidden size. */
const SIX_HEADS = {
  ...LLAMA_LIKE,
  hidden_size: 20,
  num_attention_heads: 6,
  num_key_value_heads: 3,
  head_dim: 8,
};
const TWO_THIRDS: Omit<Family, "settings"> = {
  units: { heads: 4, neurons: 24 },
  remaining: { columns: 32, neurons: 24 },
};
const MIXTURE = { ...SIX_HEADS, num_experts_per_tok: 2 },
  EXPERTS = { units: { experts: 3 }, remaining: { columns: 48 } };

/** Further families: with separate layers for q, k and v, without, with heads that can be removed, and with those that must divide. */
const OTHERS = "olmo2 olmo3 granite smollm3 exaone4 cohere2 starcoder2".split(" "),
  FUSED = "phi phi3 gpt_neox falcon".split(" "),
  WITH_HEADS = "ministral3 gemma seed_oss ernie4_5".split(" "),
  WITH_DIVIDING_HEADS = "gemma2 gemma3_text".split(" ");

/** Returns the family with the same settings and units for each type of model. */
function sameFor(
  types: readonly string[],
  settings: Settings,
  { units, remaining }: Omit<Family, "settings">,
) {
  return Object.fromEntries(
    types.map((type) => [type, { settings: { ...settings, model_type: type }, units, remaining }]),
  );
}

/** Small random models with three blocks. Qwen's blocks have windows of different kinds. */
const FAMILIES: Readonly<Record<string, Family>> = {
  opt: {
    settings: {
      ...{ model_type: "opt", vocab_size: 29, hidden_size: 24, ffn_dim: 40, num_attention_heads: 3 },
      ...{ max_position_embeddings: 32, pad_token_id: 1 },
    },
    units: { neurons: 24 },
    remaining: { neurons: 24 },
  },
  llama: { settings: { ...LLAMA_LIKE, model_type: "llama" }, ...NEURONS },
  "llama with biases": {
    settings: { ...HEADS, model_type: "llama", mlp_bias: true, attention_bias: true },
    units: { neurons: 24, heads: 2 },
    remaining: { neurons: 24, columns: 16 },
  },
  "llama without a setting for the size of a head": {
    settings: { ...LLAMA_LIKE, model_type: "llama" },
    units: { heads: 2 },
    remaining: { neurons: 37, columns: 12 },
  },
  mistral: { settings: { ...SIX_HEADS, model_type: "mistral", sliding_window: 5 }, ...TWO_THIRDS },
  qwen2: {
    settings: {
      ...LLAMA_LIKE,
      ...{ model_type: "qwen2", use_sliding_window: true, sliding_window: 5, max_window_layers: 1 },
    },
    ...NEURONS,
  },
  qwen3: { settings: { ...SIX_HEADS, model_type: "qwen3", attention_bias: true }, ...TWO_THIRDS },
  ...sameFor(OTHERS, LLAMA_LIKE, NEURONS),
  ...sameFor(FUSED, { ...LLAMA_LIKE, hidden_size: 32, ffn_hidden_size: 37 }, {
    units: { neurons: 24 },
    remaining: { neurons: 24 },
  }),
  ...sameFor(WITH_HEADS, SIX_HEADS, TWO_THIRDS),
  ...sameFor(WITH_DIVIDING_HEADS, HEADS, {
    units: { neurons: 24, heads: 2 },
    remaining: { neurons: 24, columns: 16 },
  }),
  ...sameFor(["glm4"], HEADS, { units: { neurons: 24 }, remaining: { neurons: 24, columns: 32 } }),
  mixtral: { settings: { ...MIXTURE, model_type: "mixtral", num_local_experts: 5 }, ...EXPERTS },
  "mixtral with fewer heads": {
    settings: { ...MIXTURE, model_type: "mixtral", num_local_experts: 5 },
    units: { experts: 4, heads: 2 },
    remaining: { columns: 16 },
  },
  qwen3_moe: {
    settings: { ...MIXTURE, model_type: "qwen3_moe", num_experts: 5, moe_intermediate_size: 12 },
    ...EXPERTS,
  },
  "qwen3_moe with normalised factors and fewer heads": {
    settings: {
      ...{ ...MIXTURE, model_type: "qwen3_moe", num_experts: 5, moe_intermediate_size: 12 },
      norm_topk_prob: true,
    },
    units: { experts: 2, heads: 4 },
    remaining: { columns: 32 },
  },
  olmoe: {
    settings: { ...LLAMA_LIKE, model_type: "olmoe", num_experts: 5, num_experts_per_tok: 2 },
    units: { experts: 3 },
    remaining: { columns: 24 },
  },
};

/** The routers of transformers compute in float32, also in a model in float64. */
const TOLERANCE = 1e-9, ROUTED_TOLERANCE = 1e-6;

await describePeers("the output of pare shrink", (peers) => {
  /** Shrinks a model into a new folder. */
  async function shrink(
    dense: string,
    windows: readonly Uint32Array[],
    options: Pick<ShrinkJob, "kept" | "blocks">,
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
    { kept, difference, largest, change }: Comparison,
    expected: readonly KeptPart[],
    tolerance = TOLERANCE,
  ) {
    assert.deepEqual(kept, expected);
    assert.ok(difference <= tolerance * largest, `logits up to ${largest} differ by ${difference}`);
    assert.ok(change > 1e-3 * largest, `the logits changed only by ${change}`);
  }

  for (const [title, { settings, units, remaining }] of Object.entries(FAMILIES)) {
    it(`is a model of its family with the logits of the masked one, with and without a dropped block: ${title}`, async () => {
      const dense = `${peers().folder}/${title}`, windows = WINDOWS.map((window) => [...window]);
      await peers().ask("transformers_model", {
        folder: dense,
        windows: windows.slice(0, 1),
        config: { ...settings, num_hidden_layers: 3 },
      });
      for (const blocks of [0, 1]) {
        const { out, dropped, experts } = await shrink(dense, WINDOWS, { kept: units, blocks });
        const request = { dense, shrunk: out, dropped, windows };
        const comparison = await peers().ask<Comparison>("comparisons/compare_shrunk", request);
        const parts = Array.from({ length: 3 - blocks }, (_, block) => (
          { ...remaining, ...experts && { experts: experts[block].kept } }
        ));
        assertComparison(comparison, parts, experts && ROUTED_TOLERANCE);
        assert.equal(comparison.scores.length, experts?.length ?? 0);
        for (const [block, { scores, kept }] of (experts ?? []).entries()) {
          assertClose(scores, comparison.scores[block], 1e-5, { label: `scores of block ${block}` });
          assert.equal(kept.length, units.experts);
          const least = Math.min(...kept.map((expert) => scores[expert]));
          assert.ok(scores.every((score, expert) => kept.includes(expert) || score <= least));
        }
      }
    });
  }

  for (
    const [name, kept, remaining] of [
      ["opt-sotu", { neurons: 576 }, { neurons: 576 }],
      ["llama-sotu", { neurons: 384 }, { neurons: 384, columns: 192 }],
      ["llama-sotu", { heads: 3 }, { neurons: 512, columns: 96 }],
    ] as const
  ) {
    it(`has the logits of the masked model, and the same ones in Pare: ${name} with ${JSON.stringify(kept)}`, async () => {
      const { calibration } = await fixtureModel(name).tokens(), dense = MODELS + name;
      const windows = Array.from({ length: 8 }, (_, i) => calibration.subarray(300 * i, 300 * i + 128));
      const { out, dropped } = await shrink(dense, windows, { kept, blocks: 0 });
      const sample = windows.slice(0, 2).map((window) => [...window.subarray(0, 12)]);
      const request = { dense, shrunk: out, dropped, windows: sample };
      assertComparison(
        await peers().ask<Comparison>("comparisons/compare_shrunk", request),
        Array(4).fill(remaining),
      );
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
