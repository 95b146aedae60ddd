import { packed, type Reference } from "../kernel_reference.ts";

/** −log softmax(row)[target] for each row, in nats. */
export const cross_entropy: Reference = ({ logits, targets, loss }, { rows, cols, ld }) => {
  for (let r = 0; r < rows; r++) {
    const row = packed(logits, 1, cols, r * ld, ld), largest = row.reduce((a, b) => Math.max(a, b));
    const total = row.reduce((sum, x) => sum + Math.exp(x - largest), 0);
    loss[r] = Math.log(total) + largest - row[targets[r]];
  }
};
