/** Decides whether a device computes products on matrix units (tensor cores), which only Dawn offers. */

import { MATRIX_VARIANT, productNN, productNT, productTN } from "../../kernels/product.ts";
import type { Tuning } from "../tuning.ts";

/** The feature of Dawn that shaders for matrix units need. */
export const MATRIX_FEATURE = "chromium-experimental-subgroup-matrix";

/** One kind of product that the matrix units of an adapter compute. `@webgpu/types` does not declare this type yet. */
interface MatrixConfig {
  readonly componentType: string;
  readonly resultComponentType: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

export interface MatrixAdapter {
  readonly features: Iterable<string>;
  readonly info: Partial<Pick<GPUAdapterInfo, "subgroupMinSize" | "subgroupMaxSize">> & {
    readonly subgroupMatrixConfigs?: Iterable<MatrixConfig>;
  };
  readonly limits: Pick<GPUSupportedLimits, "maxComputeWorkgroupStorageSize">;
}

/** The features that `shaders/product.wgsl` enables or depends on. */
const FEATURES = [MATRIX_FEATURE, "shader-f16", "subgroups"];
/** The edge of a unit of `shaders/product.wgsl`, and the number of invocations per subgroup that it needs. */
const UNIT = 16, SUBGROUP = 32;

/** Returns whether an adapter can run the variants for matrix units. */
export function hasMatrixUnits({ features, info, limits }: MatrixAdapter): boolean {
  const available = new Set(features);
  const { workgroupBytes = 0 } = productNT.variants![MATRIX_VARIANT];
  return FEATURES.every((feature) => available.has(feature)) &&
    info.subgroupMinSize === SUBGROUP && info.subgroupMaxSize === SUBGROUP &&
    limits.maxComputeWorkgroupStorageSize >= workgroupBytes &&
    [...info.subgroupMatrixConfigs ?? []].some(({ componentType, resultComponentType, M, N, K }) =>
      componentType === "f16" && resultComponentType === "f32" && M === UNIT && N === UNIT && K === UNIT
    );
}

/** Returns the tuning that selects the shaders for matrix units, empty if the device was opened without the feature. */
export function matrixTuning({ features }: { readonly features: { has(feature: string): boolean } }): Tuning {
  if (!features.has(MATRIX_FEATURE)) return {};
  return Object.fromEntries([productNN, productNT, productTN].map(({ name }) => [name, MATRIX_VARIANT]));
}
