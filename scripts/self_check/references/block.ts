/** References of the kernels that prune and round blocks of columns, and of the kernel that removes single weights. */

import {
  type ReferenceBlock,
  referenceColumnLoop,
  type ReferenceColumns,
  referenceGroupLoop,
  referenceRoundingLoop,
} from "../../../tests/reference/column_loop.ts";
import { gridOf } from "../../../tests/reference/quantization.ts";
import { bitOf, type Contents, eachElement, floatBits, packed, type Reference, setBit } from "./reference.ts";

type Params = Readonly<Record<string, number>>;

/** Cuts the block out of its buffers. */
function blockOf({ work, u, w }: Contents, p: Params): ReferenceBlock {
  return {
    rows: p.rows,
    size: p.size,
    work: packed(work, p.rows, p.size, p.row0 * p.ldwork, p.ldwork),
    original: packed(w, p.rows, p.size, p.w_offset, p.ldw),
    u: packed(u, p.size, p.size, p.u_offset, p.ldu),
  };
}

/** Returns an array of (rows, size) with the bits of the block in `mask`. */
function bitsOf(mask: ArrayLike<number>, p: Params): Uint8Array {
  return Uint8Array.from({ length: p.rows * p.size }, (_, i) => {
    return bitOf(mask, p.words, p.row0 + Math.floor(i / p.size), p.first + i % p.size);
  });
}

/** Writes the result of a loop to the buffers. */
function store({ w, q, mask, sums }: Contents, p: Params, columns: ReferenceColumns): void {
  eachElement(p.rows, p.size, (r, j) => {
    const at = r * p.size + j, element = r * p.ldw + p.w_offset + j;
    q[element] = columns.q[at];
    w[element] = columns.delta[at];
    setBit(mask, p.words, p.row0 + r, p.first + j, columns.pruned[at] === 0);
  });
  for (let r = 0; r < p.rows; r++) {
    sums[2 * (p.row0 + r)] += columns.errorSums[r];
    sums[2 * (p.row0 + r) + 1] += columns.deltaSums[r];
  }
}

function quantizeBlock(buffers: Contents, p: Params): void {
  const { scales, zeros, mask } = buffers, bits = Math.log2(p.max_code + 1);
  const row = (r: number) => ({ scale: scales[p.row0 + r], zero: zeros[p.row0 + r] });
  const result = referenceRoundingLoop(blockOf(buffers, p), {
    bits,
    symmetric: p.symmetric === 1,
    gridSize: p.grid_size,
    rowGrids: p.grid_size ? undefined : Array.from({ length: p.rows }, (_, r) => row(r)),
    allowed: bitsOf(mask, p),
    groups: p.group ? { keep: p.keep, group: p.group } : undefined,
    follow: { codes: [], zeros: [] },
  });
  store(buffers, p, result);
  if (!p.grid_size) return;
  const own = Math.ceil(p.size / p.grid_size);
  result.grids.forEach(({ scale, zero }, i) => {
    const at = (p.row0 + Math.floor(i / own)) * p.grids + p.first / p.grid_size + i % own;
    scales[at] = scale;
    zeros[at] = zero;
  });
}

const REMOVED = 0, CANDIDATE = 1, FORCED = 2, LOCKED = 3;

/** Removes the weights of row r, by the definition in src/kernels/remove_weights.ts. */
function removeFromRow(buffers: Contents, p: Params, r: number): void {
  const { inverse, bounds, limits, trace } = buffers;
  const row = (name: string) => buffers[name].subarray(r * p.ld, (r + 1) * p.ld);
  const weights = row("weights"), diagonal = row("diagonal"), states = row("states");
  const vector = (i: number) =>
    buffers.vectors.subarray((r * p.depth + i) * p.ld, (r * p.depth + i + 1) * p.ld);
  for (let k = p.start; k < Math.min(p.start + p.steps, limits[r]); k++) {
    const scores = Array.from(weights, (w, c) => Math.abs(w) / Math.sqrt(diagonal[c]));
    let chosen = states.indexOf(FORCED);
    if (chosen < 0) {
      const candidates = scores.map((_, c) => c).filter((c) => states[c] === CANDIDATE);
      if (candidates.length === 0) return;
      chosen = candidates.reduce((best, c) => scores[c] < scores[best] ? c : best);
    }
    const root = Math.sqrt(diagonal[chosen]), error = weights[chosen] / root, current = vector(k);
    const column = Float64Array.from({ length: p.ld }, (_, c) => inverse[chosen * p.ld + c]);
    for (let i = 0; i < k; i++) {
      const earlier = vector(i), factor = earlier[chosen];
      for (let c = 0; c < p.ld; c++) column[c] -= factor * earlier[c];
    }
    for (let c = 0; c < p.ld; c++) {
      const v = states[c] === REMOVED ? 0 : column[c] / root;
      current[c] = v;
      diagonal[c] = Math.max(diagonal[c] - v * v, bounds[c]);
      weights[c] = c === chosen ? 0 : weights[c] - error * v;
    }
    states[chosen] = REMOVED;
    trace[2 * (r * p.depth + k)] = chosen + 1;
    trace[2 * (r * p.depth + k) + 1] = floatBits(Math.abs(error));
    if (p.group) lockGroup(states, p, chosen);
  }
}

function lockGroup(states: Contents[string], p: Params, chosen: number): void {
  const start = chosen - chosen % p.group, end = Math.min(start + p.group, p.cols);
  const members = states.subarray(start, end), left = members.filter((state) => state !== REMOVED).length;
  if (left > Math.ceil(p.keep * (end - start) / p.group)) return;
  members.forEach((state, i) => {
    if (state === CANDIDATE) members[i] = LOCKED;
  });
}

export const BLOCK_REFERENCES: Readonly<Record<string, Reference>> = {
  prune_block(buffers, p) {
    const { keys, selection } = buffers;
    const pruned = Uint8Array.from({ length: p.rows * p.size }, (_, i) => {
      const row = p.row0 + Math.floor(i / p.size), key = keys[p.row0 * p.size + i];
      if (key < selection[0]) return 1;
      if (key > selection[0] || selection[2 + row] === 0) return 0;
      selection[2 + row]--;
      return 1;
    });
    store(buffers, p, referenceColumnLoop(blockOf(buffers, p), pruned));
  },
  prune_block_n_m(buffers, p) {
    const forced = p.has_forced ? bitsOf(buffers.forced, p) : undefined;
    store(buffers, p, referenceGroupLoop(blockOf(buffers, p), { keep: p.keep, group: p.group, forced }));
  },
  quantize_block: quantizeBlock,
  row_extremes: ({ w, lows, highs }, p) =>
    eachElement(p.rows, p.cols, (r, c) => {
      lows[p.row0 + r] = Math.min(lows[p.row0 + r], w[r * p.ld + c]);
      highs[p.row0 + r] = Math.max(highs[p.row0 + r], w[r * p.ld + c]);
    }),
  fit_grids({ ranges, scales, zeros }, p) {
    for (let i = 0; i < p.count; i++) {
      const weights = [ranges[i] * scales[i], ranges[i] * zeros[i]];
      const { scale, zero } = gridOf(weights, Math.log2(p.max_code + 1), p.symmetric === 1);
      scales[i] = scale;
      zeros[i] = zero;
    }
  },
  encode_codes({ q, scales, zeros, codes }, p) {
    const bytes = new Uint8Array(4 * Math.ceil(p.count / 4));
    for (let i = 0; i < p.count; i++) {
      const group = p.grid_size ? Math.floor(i % p.cols / p.grid_size) : 0;
      const grid = (p.row0 + Math.floor(i / p.cols)) * p.grids + group;
      bytes[i] = Math.round(q[p.q_offset + i] / scales[grid]) + zeros[grid];
    }
    codes.set(new Uint32Array(bytes.buffer));
  },
  remove_weights(buffers, p) {
    for (let r = 0; r < p.rows; r++) removeFromRow(buffers, p, r);
  },
};
