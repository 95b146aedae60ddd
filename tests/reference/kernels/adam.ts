import type { Reference } from "../kernel_reference.ts";

/** Adam (Kingma & Ba, arXiv 1412.6980). `rate` and `correction` contain the corrections of the bias of the moments. */
export const adam: Reference = ({ gradient, weight, first, second }, p) => {
  for (let i = 0; i < p.count; i++) {
    first[i] = 0.9 * first[i] + (1 - 0.9) * gradient[i];
    second[i] = 0.999 * second[i] + (1 - 0.999) * gradient[i] ** 2;
    if (p.keeps_zeros && weight[i] === 0) continue;
    weight[i] -= p.rate * first[i] / (p.correction * Math.sqrt(second[i]) + 1e-8);
  }
};
