/** Tests how the shader of a dispatch is chosen, by a tuning or by default. */

import { ok, strictEqual, throws } from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { reverseCholesky } from "../../../src/device/kernels/reverse_cholesky.ts";
import { gemmNN } from "../../../src/device/kernels/gemm.ts";
import { zeroColumns } from "../../../src/device/kernels/zero_columns.ts";
import { chooseShader, possibleShaders } from "../../../src/device/webgpu/tuning.ts";
import { upload } from "../../support/device.ts";
import { webgpuSuite } from "./suite.ts";

describe("tunings", () => {
  it("choose the shader of a kernel, or the default shader for the adapter's kind if they do not name the kernel", () => {
    const large = { m: 4096, n: 4096, upper: 0 };
    strictEqual(chooseShader(gemmNN, "software", {}, large, 16384), gemmNN.softwareShader);
    strictEqual(chooseShader(gemmNN, "discrete", {}, large, 16384), gemmNN.shader);
    strictEqual(chooseShader(gemmNN, "software", { gemm_nn: "discrete" }, large, 16384), gemmNN.shader);
    strictEqual(
      chooseShader(gemmNN, "discrete", { gemm_nn: "64x64" }, large, 16384),
      gemmNN.variants!["64x64"],
    );
    strictEqual(chooseShader(zeroColumns, "software", { gemm_nn: "64x64" }, {}, 16384), zeroColumns.shader);
    throws(() => chooseShader(gemmNN, "discrete", { gemm_nn: "7x9" }, large, 16384), {
      name: "RangeError",
      message: /gemm_nn: the kernel has no variant 7x9/,
    });
  });

  it("leave the patch of a product to its size, so that small products also use the whole GPU", () => {
    const { variants = {} } = gemmNN;
    const chosen = (m: number, n: number, upper = 0) =>
      chooseShader(gemmNN, "discrete", {}, { m, n, upper }, 16384);
    strictEqual(chosen(12288, 1024), gemmNN.shader);
    strictEqual(chosen(4096, 1024), variants["64x128"]); // 32·8 = 256 patches of 128×128 are too few
    strictEqual(chosen(1024, 4224), gemmNN.shader); // 8·33 = 264 are just enough
    strictEqual(chosen(12288, 128), variants["64x64"]);
    strictEqual(chosen(9, 9), variants["64x64"]);
    strictEqual(chosen(2048, 2048), variants["64x128"]); // 256 patches of 128×128
    strictEqual(chosen(1536, 1536, 1), variants["64x64"]); // half of the patches are below the diagonal
    strictEqual(chosen(4096, 4096, 1), gemmNN.shader);
  });

  it("keep a diagonal block in workgroup memory only if it is small and the adapter has enough of it", () => {
    const { variants, shader } = reverseCholesky;
    const chosen = (size: number, bytes: number) =>
      chooseShader(reverseCholesky, "discrete", {}, { size }, bytes);
    strictEqual(chosen(128, 48 * 1024), variants!.packed);
    strictEqual(chosen(1, 48 * 1024), variants!.packed);
    strictEqual(chosen(129, 48 * 1024), shader);
    strictEqual(chosen(128, 32 * 1024), shader);
    ok(possibleShaders(reverseCholesky, "discrete", {}, 48 * 1024).includes(variants!.packed));
    ok(!possibleShaders(reverseCholesky, "discrete", {}, 32 * 1024).includes(variants!.packed));
  });
});

webgpuSuite("a backend with a tuning", (backend) => {
  it("computes a matrix product, and times the compute pass if the device has a clock", async () => {
    const [a, b, c] = [1, 2, 3].map((value) => upload(backend(), new Float32Array(128 * 128).fill(value)));
    const shape = {
      m: 128,
      n: 128,
      k: 128,
      a_offset: 0,
      lda: 128,
      b_offset: 0,
      ldb: 128,
      c_offset: 0,
      ldc: 128,
    };
    const dispatch = () => backend().dispatch(gemmNN, { a, b, c }, { ...shape, alpha: 1, beta: 0, upper: 0 });
    if (backend().device.features.has("timestamp-query")) {
      const seconds = await backend().timePass(dispatch);
      ok(seconds > 0 && seconds < 60, `${seconds}`);
    } else {
      dispatch();
    }
    const product = new Float32Array((await backend().read(c, 0, 4)).buffer);
    strictEqual(product[0], 128 * 2);
    for (const buffer of [a, b, c]) buffer.destroy();
  });
}, { tuning: { gemm_nn: "64x128" } });
