/** Attacks by tensors that do not fit into their storage, and by state dicts of something else. */

import { pickle } from "../../support/torch_archive.ts";
import { pickled, type TorchAttack } from "./attack.ts";

const { call, dict, emptyDict, emptyList, global, int, ints, orderedDict, storage, tensor } = pickle;

/** An attack with one invalid tensor. */
function invalidTensor(name: string, message: RegExp, value: number[]): TorchAttack {
  return pickled(name, message, dict(["w", value]));
}

/**
 * Valid pickles that describe invalid tensors or an invalid state dict. A tensor refers to a storage, which
 * is an entry of the archive with the values.
 */
export const INVALID_TENSORS: readonly TorchAttack[] = [
  invalidTensor(
    "a storage that the archive does not have",
    /storage "7", which is not in the archive/,
    tensor([1], [1], 0, storage("FloatStorage", "7")),
  ),
  invalidTensor(
    "a storage key that leaves the folder",
    /storage "..\/data.pkl", which is not/,
    tensor([1], [1], 0, storage("FloatStorage", "../data.pkl")),
  ),
  invalidTensor(
    "a storage that is longer than its entry",
    /should have 7 elements of F32, but the archive has 24 bytes/,
    tensor([2, 3], [3, 1], 0, storage("FloatStorage", "0", 7)),
  ),
  invalidTensor(
    "a storage that is shorter than its entry",
    /should have 5 elements/,
    tensor([1], [1], 0, storage("FloatStorage", "0", 5)),
  ),
  invalidTensor(
    "a storage of 2^62 elements",
    /integer past 2\^53/,
    tensor([1], [1], 0, storage("FloatStorage", "0", 2n ** 62n)),
  ),
  invalidTensor(
    "a storage of -6 elements",
    /should have -6 elements/,
    tensor([1], [1], 0, storage("FloatStorage", "0", -6)),
  ),
  invalidTensor(
    "a storage of another type",
    /6 elements of F64, but the archive has 24 bytes/,
    tensor([2, 3], [3, 1], 0, storage("DoubleStorage")),
  ),
  invalidTensor("a persistent id that is a number", /persistent id is not that of a storage/, [
    ...int(3),
    0x51,
  ]),
  invalidTensor("a tensor without a storage", /a tensor's storage is number/, tensor([1], [1], 0, int(3))),
  invalidTensor(
    "a tensor that extends beyond its storage",
    /needs elements 0\.\.7 of a storage of 24 bytes/,
    tensor([7], [1]),
  ),
  invalidTensor("an offset that extends beyond the storage", /needs elements 4\.\.7/, tensor([3], [1], 4)),
  invalidTensor(
    "an empty tensor whose offset is beyond its storage",
    /needs elements 7\.\.7/,
    tensor([0], [1], 7),
  ),
  invalidTensor("an offset of 2^53 - 1", /needs elements/, tensor([1], [1], 2n ** 53n - 1n)),
  invalidTensor("a negative offset", /offset is -1/, tensor([1], [1], -1)),
  invalidTensor("a negative size", /size holds -2/, tensor([-2], [1])),
  invalidTensor(
    "a size whose product is above 2^53",
    /size is \[4294967296,4294967296\]/,
    tensor([2 ** 32, 2 ** 32], [2 ** 32, 1]),
  ),
  invalidTensor("a negative stride", /stride holds -1/, tensor([2], [-1])),
  invalidTensor("strides that repeat elements", /strides \[0\], not row by row/, tensor([6], [0])),
  invalidTensor("strides of a transpose", /strides \[1,2\], not row by row/, tensor([3, 2], [1, 2])),
  invalidTensor("fewer strides than extents", /size is \[2,3\] but its stride \[1\]/, tensor([2, 3], [1])),
  invalidTensor("a tensor with 65 axes", /has 65 axes/, tensor(Array(65).fill(1), Array(65).fill(1))),
  invalidTensor(
    "a tensor with too few arguments",
    /offset is undefined/,
    call(global("torch._utils", "_rebuild_tensor_v2"), storage()),
  ),
  invalidTensor(
    "a tensor that is stored conjugated",
    /stored conjugated or negated/,
    call(
      global("torch._utils", "_rebuild_tensor_v2"),
      storage(),
      int(0),
      ints([6]),
      ints([1]),
      [0x89],
      orderedDict(),
      dict(["conj", [0x88]]),
    ),
  ),
  invalidTensor(
    "a parameter that is not made of a tensor",
    /parameter is made of dictionary/,
    call(global("torch._utils", "_rebuild_parameter"), emptyDict),
  ),
  pickled("a tensor instead of a state dict", /holds tensor, not a state dict/, tensor()),
  pickled("a list instead of a state dict", /holds list/, emptyList, tensor(), [0x61]),
  pickled(
    "a state dict within another",
    /"state_dict" is dictionary, not a tensor/,
    dict(["state_dict", dict(["w", tensor()])]),
  ),
  pickled("a number as a tensor name", /0 is tensor/, emptyDict, int(0), tensor(), [0x73]),
  pickled(
    "a tensor name that safetensors reserves",
    /cannot hold.*__metadata__/,
    dict(["__metadata__", tensor()]),
  ),
];
