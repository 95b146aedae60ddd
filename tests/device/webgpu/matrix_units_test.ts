/** Tests when matrix units are used, and that the compiler of Dawn accepts their shader. */

import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { MATRIX_VARIANT, productNT } from "../../../src/device/kernels/product.ts";
import { findDawn } from "../../../src/device/webgpu/runtimes/dawn.ts";
import {
  hasMatrixUnits,
  MATRIX_FEATURE,
  matrixTuning,
} from "../../../src/device/webgpu/runtimes/matrix_units.ts";
import { dawnSkipReason } from "../../support/dawn.ts";

/** An adapter with matrix units. */
const ADAPTER = {
  features: [MATRIX_FEATURE, "shader-f16", "subgroups"],
  info: {
    subgroupMinSize: 32,
    subgroupMaxSize: 32,
    subgroupMatrixConfigs: [
      { componentType: "i8", resultComponentType: "i32", M: 16, N: 16, K: 32 },
      { componentType: "f16", resultComponentType: "f32", M: 16, N: 16, K: 16 },
    ],
  },
  limits: { maxComputeWorkgroupStorageSize: 49_152 },
};

describe("hasMatrixUnits()", () => {
  it("is true only if the adapter has everything that the shader needs", () => {
    ok(hasMatrixUnits(ADAPTER));
    for (const missing of ADAPTER.features) {
      ok(
        !hasMatrixUnits({ ...ADAPTER, features: ADAPTER.features.filter((name) => name !== missing) }),
        missing,
      );
    }
    ok(!hasMatrixUnits({ ...ADAPTER, limits: { maxComputeWorkgroupStorageSize: 16_384 } }));
    ok(!hasMatrixUnits({ ...ADAPTER, info: { ...ADAPTER.info, subgroupMaxSize: 64 } }));
    const [, f16] = ADAPTER.info.subgroupMatrixConfigs;
    for (
      const wrong of [{ resultComponentType: "f16" }, { componentType: "f32" }, { M: 8 }, { N: 8 }, { K: 8 }]
    ) {
      const info = { ...ADAPTER.info, subgroupMatrixConfigs: [{ ...f16, ...wrong }] };
      ok(!hasMatrixUnits({ ...ADAPTER, info }), JSON.stringify(wrong));
    }
    ok(!hasMatrixUnits({ ...ADAPTER, info: { subgroupMinSize: 32, subgroupMaxSize: 32 } }));
  });

  it("makes the device use the variants of all products, and of no other kernel", () => {
    deepStrictEqual(matrixTuning({ features: new Set<string>([MATRIX_FEATURE]) }), {
      product_nn: MATRIX_VARIANT,
      product_nt: MATRIX_VARIANT,
      product_tn: MATRIX_VARIANT,
    });
    deepStrictEqual(matrixTuning({ features: new Set<string>() }), {});
  });
});

describe("the compiler of Dawn", { skip: dawnSkipReason }, () => {
  it("accepts the shader for matrix units without a warning", async () => {
    const { addon } = findDawn(fileURLToPath(import.meta.url))!;
    const { create } = createRequire(addon)(addon) as { create(options: readonly string[]): GPU };
    // The backend "null" has every feature, and compiles shaders without running them.
    const gpu = create(["backend=null", "enable-dawn-features=allow_unsafe_apis"]);
    const adapter = await gpu.requestAdapter();
    const device = await adapter!.requestDevice({ requiredFeatures: ADAPTER.features as GPUFeatureName[] });
    device.pushErrorScope("validation");
    const { code } = productNT.variants![MATRIX_VARIANT];
    const { messages } = await device.createShaderModule({ code }).getCompilationInfo();
    deepStrictEqual(messages.map(({ message }) => message), []);
    strictEqual(await device.popErrorScope(), null);
    device.destroy();
  });
});
