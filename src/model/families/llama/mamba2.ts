/**
 * Mamba 2 (Dao and Gu, arXiv 2405.21060), the linear attention of Granite 4 and Nemotron-H. Names follow transformers'
 * `GraniteMoeHybridMambaLayer` and `NemotronHMamba2Mixer`.
 */

import { MAX_KEY_DIM, MAX_VALUE_DIM } from "../../../device/kernels/forward/linear_attention.ts";
import { allColumns } from "../../pieces/columns_view.ts";
import { attendLinearly, convolve } from "../../pieces/linear_attention.ts";
import { applyGate, applyGroup } from "../../pieces/linear.ts";
import { normalize } from "../../pieces/norm.ts";
import { vectorOnDevice } from "../../pieces/vector.ts";
import { type LinearGroup, linearSpec, type NormSpec, type VectorSpec } from "../../layer_specs.ts";
import { checkHeadDimension, configError } from "../config/config.ts";
import type { MambaTraits } from "../family.ts";
import type { LinearAttention } from "./attention_layers.ts";

export interface Mamba2Sizes extends MambaTraits {
  readonly hidden: number;
  /** The epsilon of the norm of the outputs. */
  readonly eps: number;
  /** Whether the linear layers have biases. */
  readonly bias: boolean;
  readonly convolutionBias: boolean;
}

/**
 * Returns the layers of Mamba 2, and the function that runs them.
 * @param name the name of the mixer in a block
 * @throws {ModelError} if heads cannot share the groups equally, or if B and C, or a head, have more elements than the kernel supports
 */
export function mamba2(sizes: Mamba2Sizes, name: string): LinearAttention {
  const { hidden, heads, groups, taps, eps, bias, activation } = sizes;
  if (heads % groups !== 0) {
    throw configError(`${heads} heads of Mamba 2 cannot share ${groups} groups equally`);
  }
  const stateDim = checkHeadDimension(sizes.stateDim, MAX_KEY_DIM);
  const headDim = checkHeadDimension(sizes.headDim, MAX_VALUE_DIM), values = heads * headDim;
  const channels = values + 2 * groups * stateDim, columns = values + channels + heads;
  // The outputs are the gate, then x, B and C, which the convolution reads, and then Δ.
  const projection: LinearGroup = [linearSpec(`${name}.in_proj`, hidden, columns, bias)];
  const vector = (part: string, size: number, shape?: readonly number[]) => ({
    name: `${name}.${part}`,
    size,
    shape,
  });
  const aLog = vector("A_log", heads), dtBias = vector("dt_bias", heads), skip = vector("D", heads);
  const weight = vector("conv1d.weight", channels * taps, [channels, 1, taps]);
  const convolutionBias = sizes.convolutionBias ? vector("conv1d.bias", channels) : undefined;
  // The weights of the norm differ between groups.
  const normWeight = vector("norm.weight", values);
  const norm: NormSpec = { kind: "rms", name: `${name}.norm`, size: values / groups, eps, affine: false };
  return {
    inputs: [projection],
    out: [linearSpec(`${name}.out_proj`, values, hidden, bias)],
    activations: [channels, values, values, values, heads],
    norms: [norm],
    traits: { mamba: sizes },
    vectors: [aLog, dtBias, skip, weight, ...convolutionBias ? [convolutionBias] : [], normWeight],
    attend(pass, x) {
      const [projected] = applyGroup(pass, projection, x);
      const view = (offset: number) => ({ buffer: projected, offset, ld: columns });
      const onDevice = (spec: VectorSpec) => vectorOnDevice(pass, spec);
      const xBC = convolve(pass, projected, columns, {
        parts: [{ offset: values, heads: 1, headDim: channels, headStride: channels }],
        weight: onDevice(weight),
        bias: convolutionBias && onDevice(convolutionBias),
        channels,
        taps,
        activation,
      });
      const y = attendLinearly(pass, {
        ...{ heads, keyHeads: groups, keyDim: stateDim, valueDim: headDim, gateColumns: heads },
        ...{ qkv: xBC, a: view(values + channels), stepLimits: sizes.stepLimits },
        headVectors: vectorOnDevice(pass, aLog, dtBias, skip),
      });
      const gated = applyGate(pass, view(0), allColumns(y, values), values, "silu");
      const normed = allColumns(normalize(pass, norm, gated, pass.rows * groups), values);
      return applyGate(pass, normed, { buffer: onDevice(normWeight), offset: 0, ld: 0 }, values, "none");
    },
  };
}
