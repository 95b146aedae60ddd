import { type Contents, floatBits, type Params, type Reference } from "../kernel_reference.ts";

const REMOVED = 0, CANDIDATE = 1, FORCED = 2, LOCKED = 3;

/** Removes the weights of row r, by the definition in src/device/kernels/remove_weights.ts. */
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

export const remove_weights: Reference = (buffers, p) => {
  for (let r = 0; r < p.rows; r++) removeFromRow(buffers, p, r);
};
