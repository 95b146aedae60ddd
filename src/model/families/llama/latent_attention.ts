/**
 * Multi-head latent attention (DeepSeek-AI, arXiv 2405.04434). Queries, and keys with values, are computed from vectors
 * of few dimensions (latents). A part of each key rotates, and is the same for all heads. Values have at most as many
 * dimensions as keys, so attention runs on values with zeros at their ends. Names follow transformers' `DeepseekV3Attention`.
 */

import { copyColumns } from "../../pieces/columns.ts";
import { allColumns } from "../../pieces/columns_view.ts";
import { applyGroup } from "../../pieces/linear.ts";
import { normalize } from "../../pieces/norm.ts";
import { rotate } from "../../pieces/rotary.ts";
import { type LinearGroup, linearSpec, type NormSpec } from "../../layer_specs.ts";
import type { LatentTraits } from "../family.ts";
import type { AttentionLayers } from "./attention_layers.ts";

export interface LatentSizes extends LatentTraits {
  readonly hidden: number;
  readonly heads: number;
}

/** The epsilon of the norms of latents, which transformers does not read from config.json. */
const EPSILON = 1e-6;

/** @param bias whether the layers of the hidden states and the last layer have biases */
export function latentAttention(sizes: LatentSizes, bias: boolean): AttentionLayers {
  const { hidden, heads, queryRank, rank, fixed, rotating, value, rotary } = sizes;
  const headDim = fixed + rotating;
  const norm = (name: string, size: number): NormSpec => ({
    kind: "rms",
    name: `self_attn.${name}`,
    size,
    eps: EPSILON,
    affine: true,
  });
  const latentsOfKeys = linearSpec("self_attn.kv_a_proj_with_mqa", hidden, rank + rotating, bias);
  const keyNorm = norm("kv_a_layernorm", rank), queryNorm = norm("q_a_layernorm", queryRank ?? rank);
  const keysAndValues: LinearGroup = [linearSpec("self_attn.kv_b_proj", rank, heads * (fixed + value))];
  const first = queryRank === undefined
    ? linearSpec("self_attn.q_proj", hidden, heads * headDim)
    : linearSpec("self_attn.q_a_proj", hidden, queryRank, bias);
  const latents: LinearGroup = [first, latentsOfKeys];
  const queries: LinearGroup | undefined = queryRank === undefined
    ? undefined
    : [linearSpec("self_attn.q_b_proj", queryRank, heads * headDim)];
  return {
    traits: { latent: sizes },
    inputs: queries ? [latents, queries, keysAndValues] : [latents, keysAndValues],
    norms: queries ? [queryNorm, keyNorm] : [keyNorm],
    activations: [heads * headDim, heads * headDim, heads * headDim],
    out: [linearSpec("self_attn.o_proj", heads * value, hidden, bias)],
    projectQkv(pass, x) {
      const { workspace, rows } = pass, ldq = heads * headDim, headRows = rows * heads;
      const [ofQueries, ofKeys] = applyGroup(pass, latents, x);
      const [q] = queries ? applyGroup(pass, queries, normalize(pass, queryNorm, ofQueries)) : [ofQueries];
      rotate(pass, rotary, { buffer: q, offset: fixed, ld: ldq }, heads, headDim);
      const shared = { buffer: ofKeys, offset: rank, ld: rank + rotating };
      rotate(pass, rotary, shared, 1, rotating);
      const compressed = workspace.buffer("latents of keys and values", rows * rank);
      copyColumns(pass, rows, rank, allColumns(ofKeys, shared.ld), [allColumns(compressed, rank)]);
      const [both] = applyGroup(pass, keysAndValues, normalize(pass, keyNorm, compressed));
      const k = workspace.buffer("keys", headRows * headDim),
        v = workspace.buffer("values", headRows * headDim);
      copyColumns(pass, headRows, fixed, allColumns(both, fixed + value), [allColumns(k, headDim)]);
      const inHeads = Array.from({ length: heads }, (_, head) => (
        { buffer: k, offset: head * headDim + fixed, ld: ldq }
      ));
      copyColumns(pass, rows, rotating, shared, inHeads);
      pass.backend.clear(v);
      copyColumns(
        pass,
        headRows,
        value,
        { buffer: both, offset: fixed, ld: fixed + value },
        [allColumns(v, headDim)],
      );
      return { q: allColumns(q, ldq), k: allColumns(k, ldq), v: allColumns(v, ldq) };
    },
    outputs(pass, attended) {
      const headRows = pass.rows * heads, y = pass.workspace.buffer("attended values", headRows * value);
      copyColumns(pass, headRows, value, allColumns(attended, headDim), [allColumns(y, value)]);
      return y;
    },
  };
}
