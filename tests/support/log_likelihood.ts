/** Returns the mean log likelihood of the tokens after the first. `logits` has those of all tokens. */
export function logLikelihood(tokens: readonly number[], logits: readonly (readonly number[])[]): number {
  const terms = tokens.slice(1).map((token, i) => {
    const largest = Math.max(...logits[i]);
    return logits[i][token] - largest -
      Math.log(logits[i].reduce((sum, logit) => sum + Math.exp(logit - largest), 0));
  });
  return terms.reduce((sum, term) => sum + term, 0) / terms.length;
}
