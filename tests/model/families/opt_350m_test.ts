/**
 * Tests OPT models shaped like opt-350m, where LayerNorm follows each half of a block and the size of the embedding differs
 * from that of the hidden states.
 */

import { it } from "@std/testing/bdd";
import { readModelSpec } from "../../../src/model/families/families.ts";
import { decodedLogits, decodedRows, windowLogits } from "../../support/logits.ts";
import { forwardOpt } from "../../reference/opt_forward.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachBackend } from "../../support/backends.ts";
import { randomWeights, type Shapes } from "../../support/random_weights.ts";

const VOCABULARY = 23, HIDDEN = 24, HEADS = 3, INTERMEDIATE = 40, BLOCKS = 2, POSITIONS = 32;
const IDS = Uint32Array.from({ length: 19 }, (_, t) => (t * t + 3 * t + 5) % VOCABULARY);

const CONFIG = {
  model_type: "opt",
  hidden_size: HIDDEN,
  num_hidden_layers: BLOCKS,
  num_attention_heads: HEADS,
  ffn_dim: INTERMEDIATE,
  vocab_size: VOCABULARY,
  max_position_embeddings: POSITIONS,
};

/** Returns the names and shapes of the tensors that transformers saves for an embedding of `embeddingSize` values. */
function shapes(embeddingSize: number, normAfter: boolean): Shapes {
  const all: Record<string, readonly number[]> = {
    "model.decoder.embed_tokens.weight": [VOCABULARY, embeddingSize],
    "model.decoder.embed_positions.weight": [POSITIONS + 2, HIDDEN],
  };
  const add = (name: string, out: number, ...inner: number[]) => {
    all[`model.decoder.${name}.weight`] = [out, ...inner];
    all[`model.decoder.${name}.bias`] = [out];
  };
  if (embeddingSize !== HIDDEN) {
    all["model.decoder.project_in.weight"] = [HIDDEN, embeddingSize];
    all["model.decoder.project_out.weight"] = [embeddingSize, HIDDEN];
  }
  if (!normAfter) add("final_layer_norm", HIDDEN);
  for (let block = 0; block < BLOCKS; block++) {
    const attention = `layers.${block}.self_attn`;
    for (const name of ["q_proj", "k_proj", "v_proj", "out_proj"]) {
      add(`${attention}.${name}`, HIDDEN, HIDDEN);
    }
    add(`${attention}_layer_norm`, HIDDEN);
    add(`layers.${block}.fc1`, INTERMEDIATE, HIDDEN);
    add(`layers.${block}.fc2`, HIDDEN, INTERMEDIATE);
    add(`layers.${block}.final_layer_norm`, HIDDEN);
  }
  return all;
}

eachBackend("OPT in the shape of opt-350m", (backend) => {
  for (
    const [name, embeddingSize, normAfter] of [
      ["norms after each half of a block and a smaller embedding", 10, true],
      ["norms after each half of a block", HIDDEN, true],
      ["a smaller embedding", 10, false],
      ["a larger embedding", 50, false],
    ] as const
  ) {
    it(`computes the logits of the float64 reference with ${name}`, async () => {
      const { source, values } = randomWeights(shapes(embeddingSize, normAfter));
      const settings = { word_embed_proj_dim: embeddingSize, do_layer_norm_before: !normAfter };
      const spec = readModelSpec({ ...CONFIG, ...settings }, source.has);
      const model = { spec, weights: source };
      const reference = { hidden: HIDDEN, heads: HEADS, blocks: BLOCKS, vocabulary: VOCABULARY, normAfter };
      const expected = forwardOpt({ ...reference, tensors: new Map(values) }, IDS).logits;
      assertClose(await windowLogits(model, backend(), IDS), expected, 1e-5);
      const decoded = await decodedLogits(model, backend(), IDS);
      assertClose(decoded, decodedRows(expected, VOCABULARY), 1e-5, { label: "token by token" });
    });
  }
});
