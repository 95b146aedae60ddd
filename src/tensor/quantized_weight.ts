/**
 * The types of a quantised weight in host memory: the integer codes of its entries, and the grid on which the entries lie.
 * Entry (i, j) of the weight is (code − zero)·scale, with the scale and the zero of row i and of the group that contains column j. The
 * value 0 always lies on the grid, because the zeros are integers. A pruned entry has the code of its zero.
 */

import type { HostTensor } from "./host_tensor.ts";

/** A quantised weight with `rows` rows and `cols` columns, as `POST /v1/layers` returns it. */
export interface QuantizedWeight {
  /** The codes: U8 (rows, cols), from 0 to 2^bits − 1. */
  readonly codes: HostTensor;
  /** The distance between neighbouring values of the grid: F32 (rows, groups). */
  readonly scales: HostTensor;
  /** The code of the value 0: F32 (rows, groups). All values are integers from 0 to 2^bits − 1. */
  readonly zeros: HostTensor;
}
