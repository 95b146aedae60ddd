/**
 * The routing of a mixture of experts (Shazeer et al., arXiv 1701.06538). The choice of experts is made on the CPU, because the sizes of
 * the experts' matrix products depend on it.
 */

/** How tokens choose experts. */
export interface RoutingRule {
  readonly experts: number;
  /** The number of experts to which each token goes. */
  readonly expertsPerToken: number;
  /** Whether the factors of a token are divided by their sum. */
  readonly isNormalized: boolean;
  /** The function that computes scores from the outputs of the router. Defaults to `softmax`, over all experts. */
  readonly scores?: "softmax" | "sigmoid";
  /** By default, a token chooses among all experts. */
  readonly groups?: ExpertGroups;
  /** The number by which all factors are multiplied. Defaults to 1. */
  readonly scale?: number;
}

/** Consecutive groups of experts with equal sizes. A token first chooses groups, and then experts of these groups only. */
export interface ExpertGroups {
  readonly count: number;
  /** The number of groups that a token chooses. */
  readonly perToken: number;
  /** The score of a group is the sum of this many of the largest scores of its experts. */
  readonly summed: number;
}

/** The tokens of each expert. Entries `starts[e]` … `starts[e + 1] − 1` of `tokens` and `factors` belong to expert e. */
export interface Routes {
  /** (experts + 1) */
  readonly starts: readonly number[];
  /** The rows of the tokens, in increasing order for each expert: (tokens · expertsPerToken). */
  readonly tokens: Uint32Array<ArrayBuffer>;
  /** The factors of the expert's outputs, in the order of `tokens`. */
  readonly factors: Float32Array<ArrayBuffer>;
}

/**
 * Routes every token to the experts with its largest scores. The factor of an expert is its score. If scores are equal, the expert with
 * the lower number is chosen.
 * @param outputs the outputs of the router, (tokens, experts)
 * @param correction numbers that are added to the scores, (experts), when experts are chosen. They do not change the factors
 * @param factors numbers by which the factors of each expert are multiplied, (experts)
 */
export function routeTokens(
  outputs: Float32Array,
  rule: RoutingRule,
  correction?: Float32Array,
  factors?: Float32Array,
): Routes {
  const { experts, expertsPerToken } = rule;
  const tokens = outputs.length / experts;
  const chosen = new Uint16Array(tokens * expertsPerToken), probabilities = new Float32Array(chosen.length);
  const counts = Array<number>(experts).fill(0);
  for (let token = 0; token < tokens; token++) {
    const ofToken = outputs.subarray(token * experts, (token + 1) * experts);
    const choices = chooseExperts(ofToken, rule, correction);
    for (const [i, { expert, factor }] of choices.entries()) {
      chosen[token * expertsPerToken + i] = expert;
      probabilities[token * expertsPerToken + i] = factor * (factors?.[expert] ?? 1);
      counts[expert]++;
    }
  }
  const starts = [0];
  for (const count of counts) starts.push(starts.at(-1)! + count);
  const routes = { starts, tokens: new Uint32Array(chosen.length), factors: new Float32Array(chosen.length) };
  const next = [...starts];
  for (let i = 0; i < chosen.length; i++) {
    const position = next[chosen[i]]++;
    routes.tokens[position] = Math.floor(i / expertsPerToken);
    routes.factors[position] = probabilities[i];
  }
  return routes;
}

/**
 * Routes every token to every expert.
 * @param factors the factors of the first experts, (tokens, first experts). By default, and for the other experts, the factor is 1
 */
export function routeToAll(
  experts: number,
  tokens: number,
  factors: Float32Array = new Float32Array(0),
): Routes {
  const given = factors.length / tokens;
  return {
    starts: Array.from({ length: experts + 1 }, (_, expert) => expert * tokens),
    tokens: Uint32Array.from({ length: experts * tokens }, (_, i) => i % tokens),
    factors: Float32Array.from({ length: experts * tokens }, (_, i) => {
      const expert = Math.floor(i / tokens);
      return expert < given ? factors[i % tokens * given + expert] : 1;
    }),
  };
}

/** Returns the routes with one more expert, to which all tokens go. @param shared the factors of its outputs, (tokens) */
export function withSharedExpert({ starts, tokens, factors }: Routes, shared: Float32Array): Routes {
  return {
    starts: [...starts, tokens.length + shared.length],
    tokens: Uint32Array.from([...tokens, ...shared.keys()]),
    factors: Float32Array.from([...factors, ...shared]),
  };
}

export function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

interface Choice {
  readonly expert: number;
  readonly factor: number;
}

/** Returns the experts with the largest scores of one token, and their factors. */
function chooseExperts(outputs: Float32Array, rule: RoutingRule, correction?: Float32Array): Choice[] {
  const { expertsPerToken, isNormalized, scores: kind = "softmax", groups, scale = 1 } = rule;
  const largest = outputs.reduce((max, output) => Math.max(max, output), -Infinity);
  // The scores of a softmax are not divided by their sum yet.
  const scores = outputs.map(kind === "softmax" ? (x) => Math.exp(x - largest) : sigmoid);
  const total = kind === "softmax" ? scores.reduce((total, score) => total + score, 0) : 1;
  const corrected = correction ? scores.map((score, e) => score / total + correction[e]) : scores;
  // Small scores of a softmax can be equal, although the outputs of the router differ.
  const compared = kind === "softmax" && !correction ? outputs : corrected;
  const best = indicesOfLargest(groups ? withoutOtherGroups(compared, groups) : compared, expertsPerToken);
  const sum = isNormalized ? best.reduce((total, e) => total + scores[e], 0) : total;
  return best.map((expert) => ({ expert, factor: scale * scores[expert] / (sum || 1) }));
}

/** Returns the scores, with −∞ for the experts of all groups that a token does not choose. */
function withoutOtherGroups(scores: Float32Array, { count, perToken, summed }: ExpertGroups): Float32Array {
  const size = scores.length / count;
  const ofGroups = Float32Array.from({ length: count }, (_, group) => {
    const inGroup = scores.subarray(group * size, (group + 1) * size);
    return indicesOfLargest(inGroup, summed).reduce((sum, index) => sum + inGroup[index], 0);
  });
  const chosen = indicesOfLargest(ofGroups, perToken);
  return scores.map((score, e) => chosen.includes(Math.floor(e / size)) ? score : -Infinity);
}

/** Returns the indices of the `count` largest values. Of equal values, the first is the largest. */
function indicesOfLargest(values: Float32Array, count: number): number[] {
  const best: number[] = [];
  for (let i = 0; i < count; i++) {
    let largest = -1;
    for (let e = 0; e < values.length; e++) {
      if (!best.includes(e) && (largest < 0 || values[e] > values[largest])) largest = e;
    }
    best.push(largest);
  }
  return best;
}
