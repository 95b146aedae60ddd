/** The gradients of linear attention by the chain rule, over matrices and whole Jacobians, from the recurrence in `linear_attention.ts`. */

import type { Contents, Params, Reference } from "../kernel_reference.ts";
import { gatesOf, unitVector, vectorAt } from "./linear_attention.ts";

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
const dot = (x: readonly number[], y: readonly number[]) => sum(x.map((value, i) => value * y[i]));

/** The operands of one head and token. */
interface Operands {
  /** The first elements of the query, the key and the value in `qkv`, and of the output in `out`. */
  readonly places: Readonly<Record<"q" | "k" | "v" | "out", number>>;
  /** Without a change of their lengths. */
  readonly query: number[];
  readonly key: number[];
  readonly value: number[];
  readonly row: number;
  readonly head: number;
  /** The index of the state before the token in an array of states. */
  readonly state: number;
  /** The distance to the state after the token. */
  readonly next: number;
}

/** Visits the heads of each token, from the last token back. */
function eachToken({ qkv }: Contents, p: Params, visit: (operands: Operands) => void): void {
  const { batch, heads, key_heads, key_dim, value_dim } = p, size = key_dim * value_dim;
  const width = 2 * key_heads * key_dim + heads * value_dim;
  for (let t = p.tokens - 1; t >= 0; t--) {
    for (let w = 0; w < batch; w++) {
      for (let head = 0; head < heads; head++) {
        const row = p.first_row + w * p.window_rows + t, keyHead = Math.floor(head * key_heads / heads);
        const [q, k] = [p.q_offset, p.k_offset].map((offset) => row * width + offset + keyHead * key_dim);
        const places = {
          q,
          k,
          v: row * width + p.v_offset + head * value_dim,
          out: (row * heads + head) * value_dim,
        };
        visit({
          places,
          query: vectorAt(qkv, q, key_dim),
          key: vectorAt(qkv, k, key_dim),
          value: vectorAt(qkv, places.v, value_dim),
          row,
          head,
          state: ((t * batch + w) * heads + head) * size,
          next: batch * heads * size,
        });
      }
    }
  }
}

/** The query and the key as the recurrence uses them. */
function scaled({ query, key }: Operands, { is_delta, key_dim }: Params): [q: number[], k: number[]] {
  if (!is_delta) return [query, key];
  return [unitVector(query).map((x) => x / Math.sqrt(key_dim)), unitVector(key)];
}

export const linear_attention_states_backward: Reference = (buffers, p) => {
  const { d_out, state_gradients, d_qkv, head_vectors } = buffers, { key_dim, value_dim, is_delta } = p;
  eachToken(buffers, p, (operands) => {
    const { places, row, head, state, next } = operands, [q, k] = scaled(operands, p);
    const { decay, strength } = gatesOf(buffers, p, row, head);
    const skip = is_delta ? 0 : head_vectors[2 * p.heads + head];
    for (let j = 0; j < value_dim; j++) {
      const gradient = d_out[places.out + j], at = (i: number) => state + i * value_dim + j;
      const after = q.map((query, i) => state_gradients[at(i) + next] += query * gradient);
      d_qkv[places.v + j] += strength * dot(k, after) + skip * gradient;
      // The transposed transition matrix g·(I − is_delta·s·k·kᵀ), row by row.
      for (let i = 0; i < key_dim; i++) {
        const transition = k.map((key, l) =>
          decay * ((i === l ? 1 : 0) - (is_delta ? strength * key * k[i] : 0))
        );
        state_gradients[at(i)] = dot(transition, after);
      }
    }
  });
};

/** Returns the product of `gradient` with the Jacobian of x/√(‖x‖² + 10⁻⁶). */
function throughUnitVector(x: readonly number[], gradient: readonly number[]): number[] {
  const length = Math.sqrt(dot(x, x) + 1e-6);
  return x.map((_, i) =>
    sum(x.map((one, l) => gradient[l] * ((i === l ? 1 : 0) / length - one * x[i] / length ** 3)))
  );
}

export const linear_attention_inputs_backward: Reference = (buffers, p) => {
  const { d_out, states, state_gradients, d_qkv, d_gates } = buffers, { key_dim, value_dim, is_delta } = p;
  eachToken(buffers, p, (operands) => {
    const { places, query, key, value, row, head, state, next } = operands, [, k] = scaled(operands, p);
    const { decay, strength, rate, slope } = gatesOf(buffers, p, row, head);
    const ofQuery = Array<number>(key_dim).fill(0), ofKey = Array<number>(key_dim).fill(0);
    let ofDecay = 0, ofStrength = 0;
    for (let j = 0; j < value_dim; j++) {
      const column = (from: Contents[string], first: number) =>
        k.map((_, i) => from[first + i * value_dim + j]);
      const before = column(states, state), after = column(states, state + next);
      const d = column(state_gradients, state + next), toChange = dot(d, k);
      const remembered = is_delta ? dot(before, k) : 0, rest = value[j] - decay * remembered;
      for (let i = 0; i < key_dim; i++) {
        ofQuery[i] += after[i] * d_out[places.out + j];
        ofKey[i] += strength * d[i] * rest;
        if (is_delta) ofKey[i] -= toChange * strength * decay * before[i];
      }
      ofStrength += toChange * rest;
      ofDecay += dot(d, before) - toChange * strength * remembered;
    }
    const divided = ofQuery.map((x) => x / Math.sqrt(key_dim));
    const dQuery = is_delta ? throughUnitVector(query, divided) : ofQuery;
    const dKey = is_delta ? throughUnitVector(key, ofKey) : ofKey;
    for (let i = 0; i < key_dim; i++) {
      d_qkv[places.q + i] += dQuery[i];
      d_qkv[places.k + i] += dKey[i];
    }
    const ofStep = ofDecay * decay * rate + (is_delta ? 0 : ofStrength);
    d_gates[row * p.heads + head] += ofStep * slope;
    if (is_delta) d_gates[(p.rows + row) * p.heads + head] += ofStrength * strength * (1 - strength);
  });
};
