/**
 * Tests of the self-check of a device: that right devices pass, that every kernel is checked, and that an adapter
 * that ends loops early is refused.
 * `expected_slow_test.ts` computes the committed numbers again.
 */

import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { DeviceLostError } from "../../../src/device/backend.ts";
import { causalConvolution } from "../../../src/device/kernels/forward/causal_convolution.ts";
import type { Kernel } from "../../../src/device/kernels/kernel.ts";
import { KERNELS } from "../../../src/device/kernels/kernels.ts";
import { ALL_CASES } from "../../../src/host/self_check/cases.ts";
import { KERNELS_FILE, renderKernelList } from "../../../scripts/self_check/kernel_list.ts";
import { selfCheck } from "../../../src/host/self_check/self_check.ts";
import { eachTiling, onWebGpu } from "../../support/backends.ts";
import { withKernel } from "../../../scripts/self_check/faults/plant.ts";
import { recordingBackend } from "../../../scripts/self_check/faults/with_dispatch.ts";

eachTiling("selfCheck()", (backend) => {
  it("accepts the device, and runs every kernel on it", async () => {
    const live = backend().counters.bytesLive, dispatched = new Set<string>();
    await selfCheck(recordingBackend(backend(), ({ name }) => dispatched.add(name)));
    deepStrictEqual([...dispatched].sort(), KERNELS.map(({ name }) => name).sort());
    strictEqual(backend().counters.bytesLive, live);
  });

  it("passes on the loss of the device, which says nothing about its results", async () => {
    const lost = recordingBackend(backend(), () => {
      throw new DeviceLostError("unplugged");
    });
    await rejects(selfCheck(lost), { name: "DeviceLostError", message: "unplugged" });
  });
});

onWebGpu("selfCheck()", (backend) => {
  it("refuses an adapter that ends a loop after 65,535 iterations", async () => {
    const { shader } = causalConvolution;
    const code = shader.code.replace("age < min(", "age < 65535 && age < min(");
    const ending = withKernel(backend(), { ...causalConvolution, shader: { ...shader, code } } as Kernel);
    const cases = ALL_CASES.filter(({ subject }) => subject === "causal_convolution");
    await rejects(selfCheck(ending, cases, []), {
      name: "SelfCheckError",
      kernels: ["causal_convolution"],
      message: /computes wrong results: kernel causal_convolution, 70,000 taps, output y/,
    });
  });
});

describe("the cases of the self-check", () => {
  it("have different names", () => {
    const names = ALL_CASES.map(({ name }) => name);
    strictEqual(new Set(names).size, names.length);
  });

  it("make a GPU use every variant of the product", () => {
    const variants = ALL_CASES.flatMap(({ steps }) => steps)
      .filter(({ kernel }) => kernel.name.startsWith("gemm"))
      .map(({ kernel, params }) => `${kernel.name} ${kernel.variantFor?.(params) ?? "128x128"}`);
    const expected = ["gemm_nn", "gemm_nt", "gemm_tn"].flatMap((kernel) =>
      ["128x128", "128x64", "64x128", "64x64"].map((patch) => `${kernel} ${patch}`)
    );
    deepStrictEqual([...new Set(variants)].sort(), expected);
  });

  it("make a GPU use every variant of attention", () => {
    const variants = ALL_CASES.flatMap(({ steps }) => steps)
      .filter(({ kernel }) => kernel.name === "attention")
      .map(({ kernel, params }) => kernel.variantFor?.(params) ?? "256 dimensions");
    deepStrictEqual([...new Set(variants)].sort(), ["128 dimensions", "256 dimensions", "64 dimensions"]);
  });

  it("are of all declared kernels, whose list is generated", async () => {
    ok(await renderKernelList() === await Deno.readTextFile(KERNELS_FILE), "run deno task generate");
  });
});
