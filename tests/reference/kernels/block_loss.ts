import { packed, type Reference } from "../kernel_reference.ts";

export const block_loss: Reference = ({ outputs, targets, gradient, errors }, { rows, cols, scale }) => {
  for (let r = 0; r < rows; r++) {
    const target = packed(targets, 1, cols, r * cols, cols);
    const difference = target.map((value, c) => outputs[r * cols + c] - value);
    const [error, norm] = [difference, target].map((row) => row.reduce((sum, value) => sum + value ** 2, 0));
    errors[r] = norm > 0 ? error / norm : error > 0 ? 1 : 0;
    difference.forEach((value, c) => gradient[r * cols + c] = norm > 0 ? scale * 2 * value / norm : 0);
  }
};
