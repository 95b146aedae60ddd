/** Tests that unknown formats, and malformed tensors of known formats, are rejected with the name of what is wrong. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { openDense } from "../../../../src/model/checkpoint/stored/dense_checkpoint.ts";
import type { HostTensor } from "../../../../src/tensor/host_tensor.ts";
import { withCheckpoint, writeFiles } from "../../../support/checkpoint_files.ts";
import { STORED_CASES } from "../../../support/stored_cases.ts";
import { withTemporaryFolder } from "../../../support/temporary_folder.ts";

type Tensors = Record<string, HostTensor | undefined>;

/** Opens the checkpoint of a case with some changes, reads its weights, and asserts that this fails. */
function assertRefused(
  title: string,
  { tensors, description, config }: {
    readonly tensors?: (tensors: Readonly<Tensors>) => Tensors;
    readonly description?: object;
    readonly config?: object;
  },
  message: RegExp,
): Promise<void> {
  const stored = STORED_CASES.find((known) => known.title.startsWith(title))!;
  return withTemporaryFolder(async (folder) => {
    const changed = Object.entries({ ...stored.tensors, ...tensors?.(stored.tensors) }).filter(([, tensor]) =>
      tensor
    );
    const quantization_config = { ...stored.config.quantization_config, ...description };
    await writeFiles(folder, {
      "config.json": { ...stored.config, quantization_config, ...config },
      "model.safetensors": Object.fromEntries(changed),
    });
    await withCheckpoint(folder, (checkpoint) =>
      assert.rejects(async () => {
        const dense = await openDense(checkpoint);
        for (const name of Object.keys(stored.weights)) await dense.tensor(name);
      }, { name: "ModelError", message }));
  });
}

const resized = (dtype: HostTensor["dtype"], shape: readonly number[], width: number): HostTensor => (
  { dtype, shape, data: new Uint8Array(shape.reduce((product, extent) => product * extent, width)) }
);
/** Returns a copy of a tensor in which the bytes from `at` on are `bytes`. */
function withBytes(tensor: HostTensor | undefined, at: number, ...bytes: readonly number[]): HostTensor {
  const data = tensor!.data.slice();
  data.set(bytes, at);
  return { ...tensor!, data };
}

describe("openDense() rejects", () => {
  it("formats that it does not know, by their names, and lists those that it knows", async () => {
    for (
      const [method, format] of [["bitsandbytes"], ["hqq"], ["compressed-tensors", "nvfp4-pack-quantized"], [
        "modelopt",
      ]]
    ) {
      await assertRefused(
        "mxfp4",
        { description: { quant_method: method, format } },
        new RegExp(
          `quantization_config names the format "${method}${
            format ? `, ${format}` : ""
          }", .* it reads pack-quantized, float-quantized, .*fp8, .*mxfp4, gptq, awq; use the original`,
        ),
      );
    }
    await assertRefused("mxfp4", { description: { quant_method: 7 } }, /names the format 7, which/);
  });

  it("codes that no format dequantises, and formats in which no weight is stored", async () => {
    for (const [title, dtype] of [["float-quantized, per channel", "F8_E4M3"], ["int-quantized", "I8"]]) {
      await assertRefused(
        title,
        { tensors: () => ({ "x.weight_scale": undefined }) },
        new RegExp(`x\\.weight has codes of the dtype ${dtype}, but the format .* has no scales for them`),
      );
      await assertRefused(
        title,
        { config: { quantization_config: null } },
        new RegExp(
          `x\\.weight has codes of the dtype ${dtype}, but config\\.json does not name their format`,
        ),
      );
    }
    const marlin = { "x.B": resized("I32", [4, 48], 4), "x.s": resized("F16", [4, 24], 2) };
    await assertRefused("gptq, 4", {
      description: { checkpoint_format: undefined, is_marlin_format: true },
      tensors: (tensors) => ({
        ...Object.fromEntries(Object.keys(tensors).map((name) => [name, undefined])),
        ...marlin,
      }),
    }, /config\.json names the format gptq, but no weight is stored in it/);
  });

  it("settings of fp8 that it does not know, and scales that fit no blocks", async () => {
    await assertRefused(
      "fp8, blocks",
      { description: { fmt: "e5m2" } },
      /quantization_config\.fmt must be e4m3 or absent, not "e5m2"/,
    );
    await assertRefused(
      "fp8, blocks",
      { description: { expert_dtype: "fp4" } },
      /expert_dtype must be fp8 or absent, not "fp4"/,
    );
    for (const block of [[128], [0, 128], [1.5, 128], "128"]) {
      await assertRefused(
        "fp8, blocks",
        { description: { weight_block_size: block } },
        /weight_block_size must be two positive integers or absent/,
      );
    }
    await assertRefused(
      "fp8, blocks",
      { tensors: () => ({ "x.weight_scale_inv": resized("F32", [3, 2], 4) }) },
      /x\.weight_scale_inv must have the shape \[2,3\] or \[200,1\] or \[1,1\] for x\.weight \[200,300\], not \[3,2\]/,
    );
    await assertRefused(
      "fbgemm_fp8",
      { tensors: () => ({ "x.weight_scale": resized("F32", [1, 9], 4) }) },
      /x\.weight_scale must have the shape \[9,1\] or \[1,1\] for x\.weight \[9,31\], not \[1,9\]/,
    );
    await assertRefused(
      "fp8, blocks",
      { tensors: () => ({ "x.weight_scale_inv": undefined }) },
      /x\.weight is F8_E4M3, but there is no x\.weight_scale_inv/,
    );
    await assertRefused("fp8, blocks", {
      tensors: () => ({ "x.weight_scale_inv": resized("U8", [2, 3], 1) }),
    }, /x\.weight_scale_inv must be F32, .* not U8/);
    for (const shape of [[5], [5, 0]]) {
      await assertRefused(
        "fp8, blocks",
        { tensors: () => ({ "x.weight": resized("F8_E4M3", shape, 1) }) },
        new RegExp(`x\\.weight must have rows and columns, not \\[${shape}\\]`),
      );
    }
  });

  it("codes and scales that make weights NaN or infinite, with the row", async () => {
    const message = /x\.weight and x\.weight_scale_inv make entries of row 1 of x\.weight NaN or infinite/;
    await assertRefused("fp8, blocks", {
      tensors: ({ "x.weight": codes }) => ({ "x.weight": withBytes(codes, 300, 0x7f) }),
    }, message);
    await assertRefused(
      "fp8, one scale",
      {
        tensors: ({ "x.weight_scale_inv": scale }) => ({
          "x.weight_scale_inv": withBytes(scale, 0, 0, 0, 0x80, 0x7f),
        }),
      },
      /make entries of row 0 of x\.weight NaN or infinite/,
    );
    await assertRefused(
      "mxfp4",
      {
        tensors: ({ "experts.down_proj_scales": scales }) => ({
          "experts.down_proj_scales": withBytes(scales, 0, 255),
        }),
      },
      /experts\.down_proj_blocks and experts\.down_proj_scales make entries of row 0 of experts\.down_proj NaN or infinite/,
    );
  });

  it("tensors of mxfp4 whose shapes contradict each other", async () => {
    await assertRefused("mxfp4", {
      tensors: () => ({ "experts.down_proj_blocks": resized("U8", [3, 10, 2, 8], 1) }),
    }, /down_proj_blocks must have the shape \[experts, outputs, groups, 16\], not \[3,10,2,8\]/);
    await assertRefused("mxfp4", {
      tensors: () => ({ "experts.down_proj_scales": resized("U8", [3, 10, 3], 1) }),
    }, /down_proj_scales must be U8 \[3,10,2\], not U8 \[3,10,3\]/);
    await assertRefused(
      "mxfp4",
      { tensors: () => ({ "experts.down_proj_scales": undefined }) },
      /has no tensor experts\.down_proj_scales/,
    );
  });

  it("settings of gptq and awq that it does not know", async () => {
    const refused: readonly (readonly [string, object, RegExp])[] = [
      ["gptq", { bits: 3 }, /quantization_config\.bits must be 4 or 8, not 3/],
      ["gptq", { group_size: 0 }, /group_size must be a positive integer or -1, not 0/],
      ["gptq", { checkpoint_format: "marlin" }, /checkpoint_format must be gptq or gptq_v2, not "marlin"/],
      ["gptq", { pack_dtype: "int64" }, /pack_dtype must be int32 or absent/],
      ["gptq", { dynamic: { "+:x": { bits: 8 } } }, /dynamic must be empty or absent/],
      ["awq", { version: "gemv" }, /version must be gemm, not "gemv"/],
      ["awq", { backend: "llm-awq" }, /backend must be one that reads the version gemm, not "llm-awq"/],
    ];
    for (const [title, description, message] of refused) await assertRefused(title, { description }, message);
  });

  it("tensors of gptq and awq whose shapes contradict each other, and groups that do not exist", async () => {
    await assertRefused(
      "gptq, 4",
      { tensors: () => ({ "x.qzeros": resized("I32", [4, 4], 4) }) },
      /x\.qzeros must be I32 \[4,3\], not I32 \[4,4\]/,
    );
    await assertRefused(
      "gptq, 4",
      { tensors: () => ({ "x.scales": resized("F16", [5, 24], 2) }) },
      /x\.scales must be F16 \[4,24\], not F16 \[5,24\]/,
    );
    await assertRefused(
      "awq, 4",
      { tensors: () => ({ "x.qweight": resized("I32", [64, 5], 4) }) },
      /x\.qzeros must be I32 \[4,5\]/,
    );
    for (const shape of [[8], [0, 8]]) {
      await assertRefused(
        "gptq, 4",
        { tensors: () => ({ "x.qweight": resized("I32", shape, 4) }) },
        new RegExp(`x needs a matrix of codes .* not \\[${shape}\\]`),
      );
    }
    await assertRefused(
      "gptq, 4",
      { tensors: () => ({ "x.qweight": resized("I32", [8, 12], 4) }) },
      /x\.qweight must have a multiple of 8 outputs, whose zeros share a word, not 12/,
    );
    await assertRefused("gptq, 4", { tensors: () => ({ "x.qzeros": undefined }) }, /has no tensor x\.qzeros/);
    await assertRefused(
      "gptq, 4",
      { tensors: () => ({ "x.weight": resized("F16", [24, 64], 2) }) },
      /holds x\.weight both dense and quantised/,
    );
    for (const group of [4, 255]) {
      await assertRefused(
        "gptq, 4 bits in groups of 16 in activation order",
        {
          tensors: ({ "x.g_idx": groups }) => ({
            "x.g_idx": withBytes(
              groups,
              8,
              group,
              255 * Number(group > 4),
              255 * Number(group > 4),
              255 * Number(group > 4),
            ),
          }),
        },
        new RegExp(`x\\.g_idx\\[2\\] must be a group from 0 to 3, not ${group === 4 ? 4 : -1}`),
      );
    }
  });

  it("descriptions of compressed-tensors that contradict the tensors", async () => {
    const scheme = (weights: object) => ({ config_groups: { group_0: { targets: ["Linear"], weights } } });
    const float = { num_bits: 8, type: "float", strategy: "channel" };
    await assertRefused(
      "float-quantized, per channel",
      { description: scheme({ ...float, type: "int" }) },
      /weights\.type must be float, not "int"/,
    );
    await assertRefused(
      "float-quantized, per channel",
      { description: scheme({ ...float, num_bits: 4 }) },
      /group_0 must have 8 bits, not 4, because they are floats/,
    );
    await assertRefused("float-quantized, per channel", {
      description: scheme({ ...float, strategy: "tensor" }),
    }, /x\.weight_scale must have the shape \[1,1\]/);
    await assertRefused("float-quantized, per channel", {
      description: scheme({ ...float, strategy: "block" }),
    }, /block_structure must be given with the strategy block only, not undefined/);
    for (const block_structure of ["16x", "16x32x8", "0x32"]) {
      await assertRefused("float-quantized, per channel", {
        description: scheme({ ...float, strategy: "block", block_structure }),
      }, /block_structure must be two positive integers, or absent, not "/);
    }
    await assertRefused("float-quantized, per channel", {
      tensors: () => ({ "x.weight": resized("BF16", [17, 24], 2) }),
    }, /x\.weight must be F8_E4M3 \[17,24\], not BF16 \[17,24\]/);
    await assertRefused(
      "float-quantized, per channel",
      { description: { ignore: ["x"] } },
      /x is quantised, but quantization_config\.ignore lists it/,
    );
    await assertRefused("int-quantized", {
      tensors: () => ({ "x.weight_zero_point": resized("I8", [17, 1], 1) }),
    }, /has x\.weight_zero_point, although the weights of group_0 have no zero points/);
    await assertRefused(
      "naive-quantized",
      { tensors: () => ({ "x.weight_zero_point": undefined }) },
      /has no tensor x\.weight_zero_point/,
    );
  });
});
