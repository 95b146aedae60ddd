/** Tests that unknown formats, and malformed tensors of known formats, are rejected with the name of what is wrong. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { openDense } from "../../../src/model/formats/checkpoint/dense_checkpoint.ts";
import { type Dtype, tensorBytes } from "../../../src/tensor/dtype.ts";
import type { HostTensor } from "../../../src/tensor/host_tensor.ts";
import { withCheckpoint, writeFiles } from "../../support/checkpoint_files.ts";
import { STORED_CASES } from "../../support/stored_cases.ts";
import { withTemporaryFolder } from "../../support/temporary_folder.ts";

type Tensors = Record<string, HostTensor | undefined>;

/** The changes of a checkpoint: its tensors, the members of `quantization_config`, and those of config.json. */
interface Change {
  readonly tensors?: (tensors: Readonly<Tensors>) => Tensors;
  readonly description?: object;
  readonly config?: object;
}

const described = (description: object): Change => ({ description });
const without = (name: string): Change => ({ tensors: () => ({ [name]: undefined }) });
const zeros = (dtype: Dtype, shape: readonly number[]): HostTensor => (
  { dtype, shape, data: new Uint8Array(tensorBytes(dtype, shape)) }
);
const withZeros = (name: string, dtype: Dtype, shape: readonly number[]): Change => (
  { tensors: () => ({ [name]: zeros(dtype, shape) }) }
);

/** Changes the bytes of a tensor from `at` on. */
function withBytes(name: string, at: number, ...bytes: readonly number[]): Change {
  return {
    tensors({ [name]: tensor }) {
      const data = tensor!.data.slice();
      data.set(bytes, at);
      return { [name]: { ...tensor!, data } };
    },
  };
}

/** Returns a function that opens the checkpoint of a case with a change, reads its weights, and asserts that this fails. */
function refusalsOf(title: string) {
  const stored = STORED_CASES.find((known) => known.title.startsWith(title))!;
  return ({ tensors, description, config }: Change, message: RegExp) =>
    withTemporaryFolder(async (folder) => {
      const changed = Object.entries({ ...stored.tensors, ...tensors?.(stored.tensors) });
      const quantization_config = { ...stored.config.quantization_config, ...description };
      await writeFiles(folder, {
        "config.json": { ...stored.config, quantization_config, ...config },
        "model.safetensors": Object.fromEntries(changed.filter(([, tensor]) => tensor)),
      });
      await withCheckpoint(folder, (checkpoint) =>
        assert.rejects(async () => {
          const dense = await openDense(checkpoint);
          for (const name of Object.keys(stored.weights)) await dense.tensor(name);
        }, { name: "ModelError", message }));
    });
}

const fp8 = refusalsOf("fp8, blocks"),
  mxfp4 = refusalsOf("mxfp4"),
  gptq = refusalsOf("gptq, 4"),
  mlx = refusalsOf("mlx");
const float = refusalsOf("float-quantized, per channel"), int = refusalsOf("int-quantized");

describe("openDense() rejects", () => {
  it("formats that it does not know, by their names, and lists those that it knows", async () => {
    const unknown = [["bitsandbytes"], ["hqq"], ["compressed-tensors", "nvfp4-pack-quantized"], ["modelopt"]];
    for (const [quant_method, format] of unknown) {
      const name = format ? `${quant_method}, ${format}` : quant_method;
      const known = "awq, .*float-quantized, fp8, gptq, .*mlx, mxfp4, .*pack-quantized; use the original";
      const message = `quantization_config names the format "${name}", .* it reads ${known}`;
      await mxfp4(described({ quant_method, format }), new RegExp(message));
    }
    await mxfp4(described({ quant_method: 7 }), /names the format 7, which/);
  });

  it("codes that no format dequantises, and formats in which no weight is stored", async () => {
    for (const [refused, dtype] of [[float, "F8_E4M3"], [int, "I8"]] as const) {
      const message = (reason: string) =>
        new RegExp(`x\\.weight has codes of the dtype ${dtype}, but ${reason}`);
      await refused(without("x.weight_scale"), message("the format .* has no scales for them"));
      const config = { quantization_config: null };
      await refused({ config }, message("config\\.json does not name their format"));
    }
    await gptq({
      description: { checkpoint_format: undefined, is_marlin_format: true },
      tensors: (tensors) => ({
        ...Object.fromEntries(Object.keys(tensors).map((name) => [name, undefined])),
        ...{ "x.B": zeros("I32", [4, 48]), "x.s": zeros("F16", [4, 24]) },
      }),
    }, /config\.json names the format gptq, but no weight is stored in it/);
  });

  it("settings of fp8 that it does not know, and scales that fit no blocks", async () => {
    const scale = "x.weight_scale_inv";
    await fp8(described({ fmt: "e5m2" }), /quantization_config\.fmt must be e4m3 or absent, not "e5m2"/);
    await fp8(described({ expert_dtype: "fp4" }), /expert_dtype must be fp8 or absent, not "fp4"/);
    for (const weight_block_size of [[128], [0, 128], [1.5, 128], "128"]) {
      const message = /weight_block_size must be two positive integers or absent/;
      await fp8(described({ weight_block_size }), message);
    }
    await fp8(
      withZeros(scale, "F32", [3, 2]),
      /x\.weight_scale_inv must have the shape \[2,3\] or \[200,1\] or \[1,1\] for x\.weight \[200,300\], not \[3,2\]/,
    );
    await refusalsOf("fbgemm_fp8")(
      withZeros("x.weight_scale", "F32", [1, 9]),
      /x\.weight_scale must have the shape \[9,1\] or \[1,1\] for x\.weight \[9,31\], not \[1,9\]/,
    );
    await fp8(without(scale), /x\.weight is F8_E4M3, but there is no x\.weight_scale_inv/);
    await fp8(withZeros(scale, "U8", [2, 3]), /x\.weight_scale_inv must be F32, .* not U8/);
    for (const shape of [[5], [5, 0]]) {
      const message = new RegExp(`x\\.weight must have rows and columns, not \\[${shape}\\]`);
      await fp8(withZeros("x.weight", "F8_E4M3", shape), message);
    }
  });

  it("codes and scales that make weights NaN or infinite, with the row", async () => {
    await fp8(
      withBytes("x.weight", 300, 0x7f),
      /x\.weight and x\.weight_scale_inv make entries of row 1 of x\.weight NaN or infinite/,
    );
    await refusalsOf("fp8, one scale")(
      withBytes("x.weight_scale_inv", 0, 0, 0, 0x80, 0x7f),
      /make entries of row 0 of x\.weight NaN or infinite/,
    );
    await mxfp4(
      withBytes("experts.down_proj_scales", 0, 255),
      /experts\.down_proj_blocks and experts\.down_proj_scales make entries of row 0 of experts\.down_proj NaN or infinite/,
    );
  });

  it("tensors of mxfp4 whose shapes contradict each other", async () => {
    const blocks = "experts.down_proj_blocks", scales = "experts.down_proj_scales";
    await mxfp4(
      withZeros(blocks, "U8", [3, 10, 2, 8]),
      /down_proj_blocks must have the shape \[experts, outputs, groups, 16\], not \[3,10,2,8\]/,
    );
    const message = /down_proj_scales must be U8 \[3,10,2\], not U8 \[3,10,3\]/;
    await mxfp4(withZeros(scales, "U8", [3, 10, 3]), message);
    await mxfp4(without(scales), /has no tensor experts\.down_proj_scales/);
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
    for (const [title, description, message] of refused) await refusalsOf(title)({ description }, message);
  });

  it("tensors of gptq and awq whose shapes contradict each other, and groups that do not exist", async () => {
    await gptq(withZeros("x.qzeros", "I32", [4, 4]), /x\.qzeros must be I32 \[4,3\], not I32 \[4,4\]/);
    await gptq(withZeros("x.scales", "F16", [5, 24]), /x\.scales must be F16 \[4,24\], not F16 \[5,24\]/);
    await refusalsOf("awq, 4")(withZeros("x.qweight", "I32", [64, 5]), /x\.qzeros must be I32 \[4,5\]/);
    for (const shape of [[8], [0, 8]]) {
      const message = new RegExp(`x needs a matrix of codes .* not \\[${shape}\\]`);
      await gptq(withZeros("x.qweight", "I32", shape), message);
    }
    const shared = /x\.qweight must have a multiple of 8 outputs, whose zeros share a word, not 12/;
    await gptq(withZeros("x.qweight", "I32", [8, 12]), shared);
    await gptq(without("x.qzeros"), /has no tensor x\.qzeros/);
    await gptq(withZeros("x.weight", "F16", [24, 64]), /holds x\.weight both dense and quantised/);
    const reordered = refusalsOf("gptq, 4 bits in groups of 16 in activation order");
    for (const group of [4, -1]) {
      const bytes = new Uint8Array(Int32Array.of(group).buffer);
      const message = new RegExp(`x\\.g_idx\\[2\\] must be a group from 0 to 3, not ${group}`);
      await reordered(withBytes("x.g_idx", 8, ...bytes), message);
    }
  });

  it("descriptions of compressed-tensors that contradict the tensors", async () => {
    const scheme = (weights: object) => {
      const group_0 = { targets: ["Linear"], weights: { num_bits: 8, type: "float", ...weights } };
      return described({ config_groups: { group_0 } });
    };
    await float(scheme({ strategy: "channel", type: "int" }), /weights\.type must be float, not "int"/);
    const bits = /group_0 must have 8 bits, not 4, because they are floats/;
    await float(scheme({ strategy: "channel", num_bits: 4 }), bits);
    await float(scheme({ strategy: "tensor" }), /x\.weight_scale must have the shape \[1,1\]/);
    const missing = /block_structure must be given with the strategy block only, not undefined/;
    await float(scheme({ strategy: "block" }), missing);
    for (const block_structure of ["16x", "16x32x8", "0x32"]) {
      const message = /block_structure must be two positive integers, or absent, not "/;
      await float(scheme({ strategy: "block", block_structure }), message);
    }
    const dtype = /x\.weight must be F8_E4M3 \[17,24\], not BF16 \[17,24\]/;
    await float(withZeros("x.weight", "BF16", [17, 24]), dtype);
    await float(described({ ignore: ["x"] }), /x is quantised, but quantization_config\.ignore lists it/);
    const zeroPoint = "x.weight_zero_point";
    await int(
      withZeros(zeroPoint, "I8", [17, 1]),
      /has x\.weight_zero_point, although the weights of group_0 have no zero points/,
    );
    await refusalsOf("naive-quantized")(without(zeroPoint), /has no tensor x\.weight_zero_point/);
  });

  it("grids and tensors of MLX that it does not compute, by their names", async () => {
    const grid = (changes: object): Change => ({
      config: { quantization: { bits: 3, group_size: 32, y: { bits: 8, group_size: 64 }, ...changes } },
    });
    await mlx(grid({ bits: 7 }), /quantization_config\.bits must be 2 or 3 or 4 or 5 or 6 or 8, not 7/);
    await mlx(grid({ group_size: 16 }), /quantization_config\.group_size must be 32 or 64 or 128, not 16/);
    await mlx(grid({ mode: "mxfp4" }), /quantization_config\.mode must be affine or absent, not "mxfp4"/);
    await mlx(grid({ y: { bits: 4 } }), /y\.weight must be U32 \[3,4\], not U32 \[3,16\]/);
    await mlx(without("x.biases"), /x\.biases/);
    await mlx(withZeros("x.biases", "F32", [3, 2]), /x\.biases must be F16 \[3,2\]/);
    await mlx(
      withZeros("x.scales", "U8", [3, 2]),
      /x\.scales must be a matrix of a float dtype, not U8 \[3,2\]/,
    );
  });
});
