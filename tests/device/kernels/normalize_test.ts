/** Tests of layer_norm, rms_norm and divide_by_rms for rows of many lengths, and for rows whose variance a one-pass formula would compute badly. */

import {
  divideByRms,
  divideByRmsCase,
  layerNorm,
  layerNormCase,
  rmsNorm,
  rmsNormCase,
} from "../../../src/device/kernels/forward/normalize.ts";
import { testKernel } from "../../support/kernel_cases.ts";

const SIZES = [[1, 1], [7, 7], [3, 31], [33, 33], [5, 127], [2, 129], [129, 172], [7, 1000], [2, 12289]];

/** Returns a case with another eps. */
function withEps<C extends { readonly params: Readonly<Record<"rows" | "cols" | "eps", number>> }>(
  eps: number,
  one: C,
): C {
  return { ...one, params: { ...one.params, eps } };
}

testKernel(
  layerNorm,
  { tolerance: 1e-6 },
  ...SIZES.map(([rows, cols]) =>
    [
      `normalises ${rows} rows of ${cols} elements`,
      withEps(1e-5, layerNormCase(rows, cols, (value) => 4 * (value - 1))),
    ] as const
  ),
  [
    "computes the variance accurately if the mean is much larger than the deviation",
    withEps(1e-5, layerNormCase(4, 1000, (value) => 3000 + value)),
  ],
  ["returns the bias for constant rows", withEps(1e-5, layerNormCase(3, 172, () => 0.1))],
  ["adds eps to a small variance", withEps(1e-6, layerNormCase(3, 33, (value) => 1e-4 * value))],
);

testKernel(
  rmsNorm,
  { tolerance: 1e-6 },
  ...SIZES.map(([rows, cols]) =>
    [`normalises ${rows} rows of ${cols} elements`, withEps(1e-5, rmsNormCase(rows, cols))] as const
  ),
  ["normalises more rows than a grid has workgroups along one axis", withEps(1e-6, rmsNormCase(65537, 2))],
  [
    "adds eps to the mean square of a row that is small or zero",
    withEps(1e-6, rmsNormCase(3, 33, (value) => 1e-4 * value)),
    withEps(1e-6, rmsNormCase(2, 33, () => 0)),
  ],
);

testKernel(
  divideByRms,
  { tolerance: 1e-6 },
  ...SIZES.flatMap(([rows, cols]) =>
    [1, 33, 300].map((other) =>
      [
        `divides ${rows} rows of ${other} elements by the root mean squares of rows of ${cols}`,
        withEps(1e-5, divideByRmsCase(rows, cols, other)),
      ] as const
    )
  ),
  [
    "divides more rows than a grid has workgroups along one axis",
    withEps(1e-6, divideByRmsCase(65537, 2, 3)),
  ],
  ["adds eps to the mean square of a row of zeros", withEps(1e-6, divideByRmsCase(2, 33, 5, () => 0))],
);
