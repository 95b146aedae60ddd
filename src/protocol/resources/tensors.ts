/** The tensors of the safetensors bodies of the contract, for the OpenAPI documents and the page of the contract. */

import { OCTET_STREAM_TYPE, SAFETENSORS_TYPE } from "../headers.ts";

/** One tensor of a body. */
export interface BodyTensor {
  readonly name: string;
  /** The shape, in the terms `out`, `in`, `tokens` and `groups`. */
  readonly shape: string;
  /** The accepted dtypes, or the dtype of an answer. */
  readonly dtype: string;
  /** The contents of the tensor, and their order. */
  readonly contents: string;
}

/** A shape that depends on the dtype of the mask. */
const MASK_SHAPE = "[out, ⌈in/8⌉] for U8, [out, in] for BOOL";

const HESSIAN: BodyTensor = {
  name: "hessian",
  shape: "[in, in]",
  dtype: "F32",
  contents:
    "Σ x·xᵀ over the calibration inputs x, times any positive factor. The matrix must be symmetric, so row and column order are the same",
};

const HESSIAN_UPPER: BodyTensor = {
  name: "hessian_upper",
  shape: "[in·(in+1)/2]",
  dtype: "F32",
  contents:
    "the upper triangle of the same matrix with its diagonal, packed row by row: (0,0), (0,1), …, (0,in−1), (1,1), (1,2), …. Entry (i, j) with i ≤ j is number i·in − i·(i−1)/2 + j − i",
};

const VALIDATION_HESSIAN: BodyTensor = {
  name: "validation_hessian",
  shape: "[in, in]",
  dtype: "F32",
  contents:
    "optional. Σ x·xᵀ over inputs that are not in the statistics, in the form of `hessian` and times any positive factor. If it is given, it decides between the results of a solve",
};

const VALIDATION_HESSIAN_UPPER: BodyTensor = {
  name: "validation_hessian_upper",
  shape: "[in·(in+1)/2]",
  dtype: "F32",
  contents:
    "optional. The upper triangle of `validation_hessian`, packed as `hessian_upper`, sent instead of it",
};

/** The tensors of a body of `POST /v1/layers`. */
export const LAYER_REQUEST_TENSORS: readonly BodyTensor[] = [
  {
    name: "weight",
    shape: "[out, in]",
    dtype: "F32, F16, BF16",
    contents: "the weights of the layer, one row per output. This tensor is required",
  },
  HESSIAN,
  HESSIAN_UPPER,
  {
    name: "inputs",
    shape: "[tokens, in]",
    dtype: "F32, F16, BF16",
    contents:
      "the calibration inputs x themselves, one row per token in any order, from which the server computes Σ x·xᵀ",
  },
  VALIDATION_HESSIAN,
  VALIDATION_HESSIAN_UPPER,
  {
    name: "target",
    shape: "[out, in]",
    dtype: "F32",
    contents:
      "optional. Σ y·xᵀ over the calibration inputs x and the outputs y that the layer should have, times the factor of the statistics. The weights move towards these outputs before they are pruned",
  },
  {
    name: "validation_target",
    shape: "[out, in]",
    dtype: "F32",
    contents:
      "optional. The same sum over the inputs of the validation statistics, times their factor. With it, the outputs that the layer should have decide between the results, and not its outputs before the step",
  },
  {
    name: "mask",
    shape: MASK_SHAPE,
    dtype: "U8, BOOL",
    contents:
      "optional. Weights with a 0 in the mask are pruned. A U8 mask has one bit per weight: bit i mod 8 of byte ⌊i/8⌋ of a row belongs to input i, where bit 0 is the least significant. The bits after the last input are ignored",
  },
];

/** The tensors of a body of `PUT /v1/hessians/{digest}`: one of the first two, and optionally one of the others. */
export const STATISTICS_TENSORS: readonly BodyTensor[] = [
  HESSIAN,
  HESSIAN_UPPER,
  VALIDATION_HESSIAN,
  VALIDATION_HESSIAN_UPPER,
];

/** The tensors of an answer of `POST /v1/layers`. */
export const LAYER_ANSWER_TENSORS: readonly BodyTensor[] = [
  {
    name: "weight",
    shape: "[out, in]",
    dtype: "the parameter `dtype`",
    contents:
      "the new weights, one row per output. Pruned weights are exactly 0. With `pattern=columns`, [out, kept]: only the inputs that remain",
  },
  {
    name: "kept",
    shape: "[kept]",
    dtype: "U32",
    contents: "only with `pattern=columns`: the inputs that remain, ascending",
  },
  {
    name: "mask",
    shape: "[out, ⌈in/8⌉]",
    dtype: "U8",
    contents:
      "one bit per weight of the request, in the layout of the request's U8 mask: 1 if the weight was kept, and 0 if it was pruned or is padding",
  },
  {
    name: "codes",
    shape: "[out, in]",
    dtype: "U8",
    contents: "only with `bits`: the code of each weight in its grid, from 0 to 2^bits − 1",
  },
  {
    name: "scales",
    shape: "[out, groups]",
    dtype: "F32",
    contents:
      "only with `bits`: the difference of the values of neighbouring codes, which may be negative if `symmetric`",
  },
  {
    name: "zeros",
    shape: "[out, groups]",
    dtype: "F32",
    contents:
      "only with `bits`: the code of the weight 0, a whole number except in grids that do not contain 0, whose scales have two levels",
  },
];

/** Returns tensors as a Markdown table. */
export function tensorTable(tensors: readonly BodyTensor[]): string {
  const rows = tensors.map(({ name, shape, dtype, contents }) =>
    `| \`${name}\` | ${shape} | ${dtype} | ${contents} |`
  );
  return ["| tensor | shape | dtype | contents |", "| --- | --- | --- | --- |", ...rows].join("\n");
}

/** The media types of a safetensors body. OpenAPI 3.1 describes raw bytes by the format `binary` at most. */
const BINARY = { schema: { type: "string", format: "binary" } } as const;

/** The content of an answer with raw bytes. */
export const BYTES_CONTENT = { [OCTET_STREAM_TYPE]: BINARY };

/** The content of an answer with a safetensors file. */
export const SAFETENSORS_CONTENT = { [SAFETENSORS_TYPE]: BINARY };

/** Returns a safetensors body of a request. @param tensors the tensors of the body, as a Markdown table */
export function safetensorsBody(tensors: string) {
  return {
    required: true,
    description: `A safetensors file with these tensors. The request needs a Content-Length.\n\n${tensors}`,
    content: { [SAFETENSORS_TYPE]: BINARY, [OCTET_STREAM_TYPE]: BINARY },
  } as const;
}
