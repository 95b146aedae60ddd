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
 * Routes every token to the experts with its largest scores. The factor of an expert is its softmax over all
 * experts. If scores are equal, the expert with the lower number is chosen.
 * @param scores the outputs of the router, (tokens, experts)
 */
export function routeTokens(scores: Float32Array, rule: RoutingRule): Routes {
  const { experts, expertsPerToken } = rule;
  const tokens = scores.length / experts;
  const chosen = new Uint16Array(tokens * expertsPerToken), probabilities = new Float32Array(chosen.length);
  const counts = Array<number>(experts).fill(0);
  for (let token = 0; token < tokens; token++) {
    const choices = chooseExperts(scores.subarray(token * experts, (token + 1) * experts), rule);
    for (const [i, { expert, factor }] of choices.entries()) {
      chosen[token * expertsPerToken + i] = expert;
      probabilities[token * expertsPerToken + i] = factor;
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

interface Choice {
  readonly expert: number;
  readonly factor: number;
}

/** Returns the experts with the largest scores of one token, and their factors. */
function chooseExperts(scores: Float32Array, { expertsPerToken, isNormalized }: RoutingRule): Choice[] {
  const best: number[] = [];
  for (let i = 0; i < expertsPerToken; i++) {
    let largest = -1;
    for (let e = 0; e < scores.length; e++) {
      if (!best.includes(e) && (largest < 0 || scores[e] > scores[largest])) largest = e;
    }
    best.push(largest);
  }
  const exponentials = scores.map((score) => Math.exp(score - scores[best[0]]));
  const considered = isNormalized ? best.map((e) => exponentials[e]) : [...exponentials];
  const sum = considered.reduce((total, value) => total + value, 0);
  return best.map((expert) => ({ expert, factor: exponentials[expert] / sum }));
}
