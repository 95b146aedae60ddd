/** The short convolution of LFM2, out(C · convolve(B · x)), where one layer computes B, C and x. Names follow transformers' `Lfm2ShortConv`. */

import { type LinearGroup, linearSpec, type VectorSpec } from "../../layer_specs.ts";
import { allColumns } from "../../pieces/columns_view.ts";
import { applyGate, applyGroup } from "../../pieces/linear.ts";
import { convolve } from "../../pieces/linear_attention.ts";
import { vectorOnDevice } from "../../pieces/vector.ts";
import type { LinearAttention } from "./attention_layers.ts";

/** @param taps the number of tokens that the convolution reads @param hasBias whether its layers and the convolution have biases */
export function shortConvolution(hidden: number, taps: number, hasBias: boolean): LinearAttention {
  const projection: LinearGroup = [linearSpec("conv.in_proj", hidden, 3 * hidden, hasBias)];
  const weight: VectorSpec = { name: "conv.conv.weight", size: hidden * taps, shape: [hidden, 1, taps] };
  const bias: VectorSpec | undefined = hasBias ? { name: "conv.conv.bias", size: hidden } : undefined;
  const parts = [{ offset: 0, heads: 1, headDim: hidden, headStride: hidden }];
  return {
    inputs: [projection],
    out: [linearSpec("conv.out_proj", hidden, hidden, hasBias)],
    activations: [hidden, hidden],
    vectors: [weight, ...bias ? [bias] : []],
    traits: { taps },
    attend(pass, input) {
      const [projected] = applyGroup(pass, projection, input);
      const [b, c, x] = [0, 1, 2].map((part) => (
        { buffer: projected, offset: part * hidden, ld: 3 * hidden }
      ));
      const convolved = convolve(pass, applyGate(pass, b, x, hidden, "none"), hidden, {
        ...{ parts, channels: hidden, taps, activation: "none" },
        weight: vectorOnDevice(pass, weight),
        bias: bias && vectorOnDevice(pass, bias),
      });
      return applyGate(pass, c, allColumns(convolved, hidden), hidden, "none");
    },
  };
}
