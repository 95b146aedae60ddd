/** Causal self-attention over a batch of windows, heads laid out side by side in a row. */

import { defineKernel } from "./kernel.ts";
import { loop, type LoopCount, sequence } from "./loop_count.ts";
import code from "../../shaders/attention.wgsl" with { type: "text" };

/** QUERIES and KEYS of shaders/attention.wgsl: the query rows of a workgroup, and the keys that it stages at a time. */
const QUERIES = 64;
const KEYS = 16;

/**
 * Row b·tokens + t of q, k, v and out belongs to token t of window b. Head h of q is at columns q_offset + h·head_stride of a row with
 * leading dimension `ldq`; key/value head h' = ⌊h·kv_heads/heads⌋ likewise in k and v. out[.., h·head_dim + d] ←
 * Σ_s softmax_s(scale·q·k_s + slopes[h]·(s − t))·v_s over s ≤ t, and s > t − window where window > 0. `slopes` (heads) are the ALiBi
 * slopes, zeros where there are none. Head dimensions to 256; softmax in f32 with the maximum subtracted.
 */
export const attention = defineKernel({
  name: "attention",
  bindings: { q: "read", k: "read", v: "read", slopes: "read", out: "read_write" },
  params: {
    batch: "u32",
    tokens: "u32",
    heads: "u32",
    kv_heads: "u32",
    head_dim: "u32",
    head_stride: "u32",
    q_offset: "u32",
    ldq: "u32",
    k_offset: "u32",
    ldk: "u32",
    v_offset: "u32",
    ldv: "u32",
    ldo: "u32",
    scale: "f32",
    window: "u32",
  },
  shader: {
    code,
    entryPoint: "attention",
    grid: (p) => [Math.ceil(p.tokens / QUERIES), p.heads, p.batch],
    loops: countLoops,
  },
});

function countLoops(p: Readonly<Record<"tokens" | "head_dim" | "window", number>>): LoopCount {
  const quads = Math.ceil(p.head_dim / 4);
  const keys = p.window === 0 ? p.tokens : Math.min(p.tokens, p.window + QUERIES - 1);
  const stage = loop(Math.ceil(KEYS * quads / QUERIES));
  return sequence(
    loop(p.head_dim),
    loop(Math.ceil(keys / KEYS), stage, loop(quads), stage, loop(quads)),
    loop(p.head_dim),
  );
}
