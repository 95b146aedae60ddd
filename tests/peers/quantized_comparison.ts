/** The answer of `scripts/peers/comparisons/compare_quantized.py`. */

/** The fields of the answer. The header of the script describes them. */
export interface QuantizedComparison {
  readonly max_logit_difference: number;
  readonly largest_logit: number;
  readonly layers: Readonly<
    Record<string, { readonly equal: boolean; readonly zeros: number; readonly repacked: boolean }>
  >;
  readonly linear: number;
  readonly loads_plainly: boolean;
  readonly loading: Readonly<Record<string, readonly string[]>>;
  readonly versions: Readonly<Record<string, string>>;
}
