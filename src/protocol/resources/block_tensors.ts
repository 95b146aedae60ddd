/** The tensors in the bodies and answers of `/v1/states/{name}` and `/v1/blocks`, from which the contract gets its tables. */

import {
  HIDDEN_STATES,
  MASK,
  PROBE,
  PROBE_ROWS,
  PRUNED,
  TARGET,
  TRAINED,
  VALIDATION_HIDDEN_STATES,
  VALIDATION_TARGET,
  VALIDATION_WINDOWS,
  WINDOWS,
} from "../blocks/block_names.ts";
import { type BodyTensor, STATISTICS_TENSORS } from "./tensors.ts";

/** The tensors of a body of `PUT /v1/states/{name}`. */
export const STATES_TENSORS: readonly BodyTensor[] = [
  {
    name: WINDOWS,
    shape: "[windows, tokens]",
    dtype: "U32",
    contents: "the token ids of the calibration windows",
  },
  {
    name: VALIDATION_WINDOWS,
    shape: "[held out, tokens]",
    dtype: "U32",
    contents:
      "optional. The token ids of windows that are held out. They decide between results, and are not fitted",
  },
  {
    name: HIDDEN_STATES,
    shape: "[windows, tokens, columns]",
    dtype: "F32",
    contents:
      "the inputs of the block `block` for the calibration windows, instead of all other tensors but the next one. The columns are the " +
      "hidden states, and then the keys and values that blocks share",
  },
  {
    name: VALIDATION_HIDDEN_STATES,
    shape: "[held out, tokens, columns]",
    dtype: "F32",
    contents: "optional. The same for windows that are held out",
  },
  {
    name: "*",
    shape: "as in the checkpoint",
    dtype: "F32, F16, BF16",
    contents:
      "the tensors of the model before its first block, by their names in the checkpoint: the table of tokens " +
      "and, if the model has them, the table of positions, the projection and the norm of the embedding. The table of tokens may have fewer " +
      "rows than the vocabulary. The ids in the windows are then the indices of its rows",
  },
];

/** The tensors of a body of `POST /v1/blocks/KIND`. */
export const BLOCK_TENSORS: readonly BodyTensor[] = [
  {
    name: "*",
    shape: "as in the checkpoint",
    dtype: "F32, F16, BF16",
    contents: "all tensors of the block, by their names in the checkpoint",
  },
  {
    name: `${PRUNED}*`,
    shape: "as in the checkpoint",
    dtype: "F32, F16, BF16",
    contents:
      "Tensors that replace tensors of the block, except for the states of the dense model. `measure` and `train` need them, `collect` and " +
      "`run` may have them, and `prune` has none",
  },
];

/** The tensors of an answer of `POST /v1/blocks/prune`. */
export const BLOCK_ANSWER_TENSORS: readonly BodyTensor[] = [
  {
    name: "*",
    shape: "[out, in]",
    dtype: "the parameter `dtype`",
    contents: "the new weight of each layer, by its name in the checkpoint, one row per output",
  },
  {
    name: `*${MASK}`,
    shape: "[out, ⌈in/8⌉]",
    dtype: "U8",
    contents:
      "one bit per weight of each layer, 1 where the weight was not pruned, as in the answer of `POST /v1/layers`",
  },
  {
    name: `*${PROBE}`,
    shape: `[${PROBE_ROWS}, in]`,
    dtype: "F32",
    contents:
      "random combinations P of the calibration inputs of each layer, weighted by `token_weights`. ‖M·Pᵀ‖² estimates tr(M·H·Mᵀ) for the " +
      "statistics H of the report and every matrix M. Absent if a layer is rounded after a reconstruction, whose weights the report compares",
  },
  {
    name: "*.codes, *.scales, *.zeros",
    shape: "as in the answer of `POST /v1/layers`",
    dtype: "U8, F32, F32",
    contents: "only for a layer with `bits`: the codes and the grids of the weight",
  },
  {
    name: `${TRAINED}*`,
    shape: "as in the checkpoint",
    dtype: "as in the request",
    contents: "only if the block is trained: the tensors of the block that the reconstruction has changed",
  },
];

const MOMENTS_SHAPE = "[in, in] or [out, in]";

/** The sums over the inputs of layers that share them. */
const SUMS_TENSORS: readonly BodyTensor[] = [
  ...STATISTICS_TENSORS.filter(({ name }) => name.endsWith("hessian_upper")),
  {
    name: "moments",
    shape: MOMENTS_SHAPE,
    dtype: "F32",
    contents:
      "only with `target=dense`. Σ y·xᵀ over the inputs x and the wanted outputs y, if the outputs of the layer are added to a residual " +
      "stream. Otherwise Σ d·xᵀ, where d is the input in the dense model",
  },
  {
    name: "validation_moments",
    shape: MOMENTS_SHAPE,
    dtype: "F32",
    contents: "only with `target=dense` and windows that are held out. The same sum over their inputs",
  },
];

/** The tensors of a body of `POST /v1/states/{name}/sums`. */
export const SUMS_REQUEST_TENSORS: readonly BodyTensor[] = [
  ...SUMS_TENSORS,
  {
    name: "*",
    shape: "[out, in]",
    dtype: "F32, F16, BF16",
    contents:
      "optional, and only with `target=dense`. The weights of layers with these inputs, by their names, whose targets the answer has in " +
      "the place of the moments",
  },
];

/** The tensors of an answer of `POST /v1/states/{name}/sums`. */
export const SUMS_ANSWER_TENSORS: readonly BodyTensor[] = [
  ...SUMS_TENSORS,
  ...[TARGET, VALIDATION_TARGET].map((prefix) => ({
    name: `${prefix}*`,
    shape: "[out, in]",
    dtype: "F32",
    contents: `the tensor \`${prefix.slice(0, -1)}\` of \`POST /v1/layers\`, for each weight in the body`,
  })),
];
