import { packed, type Reference } from "../kernel_reference.ts";

/** Σ p·(log p − log q) for each row, where p = softmax(reference) and q = softmax(logits), in nats. */
export const kl_divergence: Reference = ({ reference, logits, divergence }, { rows, cols, ld }) => {
  for (let r = 0; r < rows; r++) {
    const [p, q] = [reference, logits].map((buffer) => logSoftmax(packed(buffer, 1, cols, r * ld, ld)));
    divergence[r] = p.reduce((sum, logP, c) => sum + Math.exp(logP) * (logP - q[c]), 0);
  }
};

function logSoftmax(row: ArrayLike<number>): number[] {
  const values = Array.from(row), largest = values.reduce((a, b) => Math.max(a, b));
  const total = values.reduce((sum, x) => sum + Math.exp(x - largest), 0);
  return values.map((x) => x - largest - Math.log(total));
}
