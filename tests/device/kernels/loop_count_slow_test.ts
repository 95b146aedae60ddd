/**
 * Tests of the loop iterations that shaders declare. On a software adapter (which runs shaders on the CPU),
 * each kernel runs with a counter in every loop, and the counts are compared with the declaration. The
 * declarations are also evaluated at the largest sizes that callers dispatch, and compared with the limit at
 * which the adapter Mesa 22.3 ends loops early. On Mesa 22.3, the runs also show that the limit is not
 * reached.
 */

import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { after, describe, it } from "@std/testing/bdd";
import { attention } from "../../../src/device/kernels/forward/attention.ts";
import { causalConvolution } from "../../../src/device/kernels/forward/causal_convolution.ts";
import { crossEntropy } from "../../../src/device/kernels/forward/cross_entropy.ts";
import { klDivergence } from "../../../src/device/kernels/forward/kl_divergence.ts";
import {
  linearAttention,
  MAX_DISPATCH_TOKENS,
} from "../../../src/device/kernels/forward/linear_attention.ts";
import { columnSquares, MAX_SOFTWARE_ROWS } from "../../../src/device/kernels/column_squares.ts";
import { gemmNN, gemmNT, gemmTN, MAX_SOFTWARE_K } from "../../../src/device/kernels/gemm.ts";
import { productNN, productNT, productTN } from "../../../src/device/kernels/product.ts";
import type { Kernel, ShaderVariant } from "../../../src/device/kernels/kernel.ts";
import type { KernelCase } from "../../../src/device/kernels/kernel_case.ts";
import { KERNELS } from "../../../src/device/kernels/kernels.ts";
import { loop, loopOver, MAX_LOOP_ITERATIONS, sequence } from "../../../src/device/kernels/loop_count.ts";
import { MAX_BLOCK_SIZE } from "../../../src/device/kernels/column_loop.ts";
import { divideByRms, layerNorm, rmsNorm } from "../../../src/device/kernels/forward/normalize.ts";
import { MAX_REMOVAL_COLUMNS, removeWeights } from "../../../src/device/kernels/remove_weights.ts";
import {
  pruneBlock,
  pruneBlockCase,
  pruneBlockNM,
  pruneBlockNMCase,
} from "../../../src/device/kernels/prune_block.ts";
import {
  attentionKeysBackward,
  attentionQueriesBackward,
  attentionValuesBackward,
} from "../../../src/device/kernels/training/attention_backward.ts";
import { attentionStatistics } from "../../../src/device/kernels/training/attention_statistics.ts";
import { rowExtremes } from "../../../src/device/kernels/quantization.ts";
import { quantizeBlock, quantizeBlockCase } from "../../../src/device/kernels/quantize_block.ts";
import { gridErrors } from "../../../src/device/kernels/search_grids.ts";
import { choleskyCase, reverseCholesky } from "../../../src/device/kernels/reverse_cholesky.ts";
import { rowDot } from "../../../src/device/kernels/row_dot.ts";
import { rankTies } from "../../../src/device/kernels/selection/select.ts";
import { finishSelection } from "../../../src/device/kernels/selection/select_block.ts";
import { blockLoss } from "../../../src/device/kernels/training/block_loss.ts";
import { causalConvolutionBackward } from "../../../src/device/kernels/training/causal_convolution_backward.ts";
import {
  linearAttentionInputsBackward,
  linearAttentionStatesBackward,
} from "../../../src/device/kernels/training/linear_attention_backward.ts";
import { normBackward } from "../../../src/device/kernels/training/norm_backward.ts";
import { updateBlock } from "../../../src/device/kernels/selection/update_block.ts";
import {
  chooseEntries,
  chooseInGroups,
  countScoreTies,
} from "../../../src/device/kernels/selection/choose.ts";
import { chooseInRows } from "../../../src/device/kernels/selection/choose_in_rows.ts";
import { MAX_FEATURES } from "../../../src/protocol/limits.ts";
import { DEFAULT_TILE_EDGE } from "../../../src/device/tiled_matrix.ts";
import { MAX_GROUP } from "../../../src/tensor/pattern.ts";
import { NoAdapterError, openDevice, requestAdapter } from "../../../src/device/webgpu/device.ts";
import { fitsIn, shadersOf } from "../../../src/device/webgpu/tuning.ts";
import { countedShader } from "../../support/counted_shader.ts";

/** The shader of a kernel that a software adapter runs. */
function softwareShader(kernel: Kernel) {
  return kernel.softwareShader ?? kernel.shader;
}

function declared(kernel: Kernel, params: Readonly<Record<string, number>>): number {
  return softwareShader(kernel).loops?.(params).iterations ?? 0;
}

describe("loop counts", () => {
  it("follow the rules by which Mesa 22.3 was measured to count", () => {
    strictEqual(loop(1000).iterations, 1001);
    strictEqual(loop(10, loop(100)).iterations, 1022);
    strictEqual(loop(0, loop(100), loop(7)).iterations, 3);
    strictEqual(sequence(loop(100), loop(0)).iterations, 102);
    strictEqual(loopOver([loop(100), loop(10)]).iterations, loop(2).iterations + 101 + 11 + 1);
  });
});

/**
 * For each head dimension, the largest number of tokens in a window. It is the largest window with which the
 * smallest published model with such heads fits into buffers of 128 MiB.
 */
const LONGEST_WINDOWS = [
  { head_dim: 64, tokens: Math.floor(2 ** 25 / 1536) }, // SmolLM-135M has feed-forward layers that are 1536 wide
  { head_dim: 96, tokens: Math.floor(2 ** 25 / 8192) }, // Phi-3-mini: 8192 wide
  { head_dim: 128, tokens: Math.floor(2 ** 25 / 3072) }, // Qwen3-0.6B: 3072 wide
  { head_dim: 256, tokens: 4096 },
  { head_dim: 512, tokens: 4096 },
];

/** Windows of the backward pass, in which 16 query heads share a key head, as in Llama 3.1 with 405 billion parameters. */
const TRAINING_WINDOWS = [64, 96, 128, 256, 512].map((head_dim) => ({
  head_dim,
  tokens: 2048,
  heads: 16,
  kv_heads: 1,
}));

const upTo = (last: number) => Array.from({ length: last }, (_, i) => i + 1);

/** For each kernel whose loops grow with a parameter, the largest sizes that callers dispatch. */
const LARGEST: readonly (readonly [Kernel, readonly Readonly<Record<string, number>>[]])[] = [
  // 57,344 is the number of inputs of the widest layer of any supported model, which is in BLOOM-176B. The
  // other k is the largest number of tokens in one calibration product.
  ...[gemmNN, gemmNT, gemmTN, productNN, productNT, productTN].map((kernel) =>
    [kernel, [{ k: 57_344 }, { k: MAX_SOFTWARE_K }]] as const
  ),
  [reverseCholesky, upTo(MAX_BLOCK_SIZE).map((size) => ({ size }))],
  [pruneBlock, upTo(MAX_BLOCK_SIZE).map((size) => ({ size }))],
  [pruneBlockNM, upTo(MAX_GROUP).flatMap((group) => upTo(MAX_BLOCK_SIZE).map((size) => ({ size, group })))],
  [removeWeights, [{ ld: MAX_REMOVAL_COLUMNS, start: MAX_REMOVAL_COLUMNS - 1, steps: 1 }]],
  [
    quantizeBlock,
    upTo(MAX_GROUP).flatMap((group) =>
      [0, group, group * Math.floor(MAX_BLOCK_SIZE / group)].flatMap((grid_size) =>
        [group, 2 * group, MAX_BLOCK_SIZE - 1, MAX_BLOCK_SIZE].flatMap((size) => [
          { size, group, grid_size, searched: 1 },
          { size, group: 0, grid_size, searched: 1 },
        ])
      )
    ),
  ],
  [rowExtremes, [{ cols: DEFAULT_TILE_EDGE }]],
  [gridErrors, [{ cols: DEFAULT_TILE_EDGE }]],
  [rankTies, [{ rows: MAX_FEATURES }]],
  [updateBlock, [{ depth: MAX_BLOCK_SIZE }]],
  [finishSelection, [{ rows: MAX_FEATURES, cols: MAX_BLOCK_SIZE }]],
  [countScoreTies, [{ cols: DEFAULT_TILE_EDGE }]],
  [chooseInRows, [{ cols: MAX_FEATURES, words: MAX_FEATURES / 32 }]],
  [chooseEntries, [{ cols: DEFAULT_TILE_EDGE }]],
  [chooseInGroups, upTo(MAX_GROUP).map((group) => ({ group, cols: DEFAULT_TILE_EDGE }))],
  [rowDot, [{ cols: MAX_FEATURES }]],
  [columnSquares, [{ rows: MAX_SOFTWARE_ROWS }]],
  [layerNorm, [{ cols: MAX_FEATURES }]],
  [rmsNorm, [{ cols: MAX_FEATURES }]],
  [divideByRms, [{ cols: MAX_FEATURES, y_cols: MAX_FEATURES }]],
  [normBackward, [{ cols: MAX_FEATURES, is_centered: 1 }]],
  [blockLoss, [{ cols: MAX_FEATURES }]],
  [attention, LONGEST_WINDOWS.map((size) => ({ ...size, past: 0, window: 0 }))],
  ...[attentionStatistics, attentionQueriesBackward, attentionKeysBackward, attentionValuesBackward].map(
    (kernel) => [kernel, TRAINING_WINDOWS] as const,
  ),
  ...[crossEntropy, klDivergence].map((kernel) => [kernel, [{ cols: 2 ** 18 }]] as const),
  ...[causalConvolution, causalConvolutionBackward].map((kernel) => [kernel, [{ taps: 64 }]] as const),
  ...[linearAttention, linearAttentionStatesBackward].map(
    (kernel) => [kernel, [{ tokens: MAX_DISPATCH_TOKENS, key_dim: 256 }]] as const,
  ),
  // Granite 4 has 128 heads of 64 dimensions, which share one key.
  [linearAttentionInputsBackward, [{ heads: 128, key_heads: 1, key_dim: 256, value_dim: 64 }]],
];

describe("the largest sizes that callers dispatch", () => {
  for (const [kernel, sizes] of LARGEST) {
    it(`${kernel.name} declares fewer loop iterations than the limit`, () => {
      for (const size of sizes) {
        const most = declared(kernel, size);
        ok(
          most > 0 && most < MAX_LOOP_ITERATIONS,
          `${most} iterations are declared for ${JSON.stringify(size)}`,
        );
      }
    });
  }

  it("include every kernel whose loops grow with a parameter", () => {
    const grows = (kernel: Kernel) => {
      const of = (value: number) =>
        declared(kernel, Object.fromEntries(Object.keys(kernel.params).map((name) => [name, value])));
      return of(5000) > of(2);
    };
    deepStrictEqual(
      KERNELS.filter(grows).map(({ name }) => name).sort(),
      LARGEST.map(([{ name }]) => name).sort(),
    );
  });
});

/** The sizes of blocks that run every loop and every remainder of a loop. */
const BLOCK_SIZES = [1, 17, 31, 129, 172, 254, 256];
const GROUPS = [[1, 2], [100, 3], [129, 4], [255, 5], [256, 4], [256, 64], [254, 127], [256, MAX_GROUP]];
const GRIDS = [[1, 0, 0], [255, 0, 0], [256, 4, 0], [256, 64, 0], [256, 128, 256], [129, 4, 100], [
  256,
  0,
  256,
]];
const ALIGNED = [true, false];

/** Every key equals the threshold, and more entries are asked for than a row has. This makes the search as long as possible. */
function allTied({ buffers, ...pruned }: ReturnType<typeof pruneBlockCase>): KernelCase {
  return {
    ...pruned,
    buffers: () => {
      const operands = buffers();
      return { ...operands, keys: operands.keys.fill(300), selection: operands.selection.fill(300) };
    },
  };
}

/** Cases of further sizes, for kernels whose loops depend on the size in several ways. */
const FURTHER: ReadonlyMap<Kernel, readonly KernelCase[]> = new Map<Kernel, readonly KernelCase[]>([
  [reverseCholesky, [8, 33, 172, 255].map((size) => choleskyCase(size, size + 5, size))],
  [
    pruneBlock,
    BLOCK_SIZES.flatMap((size) => ALIGNED.map((aligned) => allTied(pruneBlockCase(size, aligned)))),
  ],
  [
    pruneBlockNM,
    GROUPS.flatMap(([size, group]) =>
      ALIGNED.map((aligned) => pruneBlockNMCase(size, aligned, group >> 1, group, 1))
    ),
  ],
  [
    quantizeBlock,
    GRIDS.flatMap(([size, group, grid_size]) =>
      ALIGNED.map((isAligned) =>
        quantizeBlockCase({ size, isAligned, bits: 4, symmetric: 0, grid_size, keep: group >> 1, group })
      )
    ),
  ],
]);

async function openSoftwareDevice(): Promise<GPUDevice | string> {
  try {
    return (await openDevice(await requestAdapter(true))).device;
  } catch (error) {
    if (error instanceof NoAdapterError) return error.message;
    throw error;
  }
}

const opened = await openSoftwareDevice();

/**
 * Lists the shader of each kernel for software adapters, and then its other shaders that declare their loops, because
 * the tests run those too. Shaders that need more workgroup memory than the adapter has are left out.
 */
function countableShaders(workgroupBytes: number): [name: string, kernel: Kernel, shader: ShaderVariant][] {
  return KERNELS.flatMap((kernel) =>
    [...shadersOf(kernel)].filter(([, shader]) =>
      shader === softwareShader(kernel) || (shader.loops && fitsIn(shader, workgroupBytes))
    ).map(([name, shader]): [string, Kernel, ShaderVariant] => [`${kernel.name} (${name})`, kernel, shader])
  );
}

describe("the loops of a kernel on a software adapter", () => {
  if (typeof opened === "string") {
    it(`are not counted, because there is no such adapter: ${opened}`, { skip: opened }, () => {});
    return;
  }
  const device = opened;
  after(() => device.destroy());

  for (const [name, kernel, shader] of countableShaders(device.limits.maxComputeWorkgroupStorageSize)) {
    it(`${name} runs no more loop iterations than declared, and a later loop still runs to its end`, async () => {
      let mostCounted = 0, mostDeclared = 0;
      const runCounted = await countedShader(device, kernel, shader);
      for (const { params, buffers } of [...kernel.cases(), ...FURTHER.get(kernel) ?? []]) {
        const limit = shader.loops?.(params).iterations ?? 0, what = JSON.stringify(params);
        const furtherIterations = MAX_LOOP_ITERATIONS - limit;
        const { iterations, completed } = await runCounted(params, buffers(), furtherIterations);
        ok(iterations <= limit, `${iterations} iterations ran, but ${limit} are declared for ${what}`);
        strictEqual(
          completed,
          furtherIterations,
          `iterations of a later loop, after the kernel ran with ${what}`,
        );
        mostCounted = Math.max(mostCounted, iterations);
        mostDeclared = Math.max(mostDeclared, limit);
      }
      ok(
        mostCounted >= mostDeclared / 2,
        `at most ${mostCounted} iterations ran, but up to ${mostDeclared} are declared`,
      );
    });
  }
});
