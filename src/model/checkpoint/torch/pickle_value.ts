/** Declares the values that a pickle can contain. They are data without behaviour. */

import type { Dtype } from "../../../tensor/dtype.ts";

/** A torch storage: consecutive bytes from `offset` of the file. Tensors are views of storages. */
export interface TorchStorage {
  readonly kind: "storage";
  /** The dtype of the elements. Undefined for an untyped storage, for which each tensor names the dtype. */
  readonly dtype?: Dtype;
  readonly offset: number;
  readonly byteLength: number;
}

/** A dense tensor in the file, in row-major order. */
export interface TorchTensor {
  readonly kind: "tensor";
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly offset: number;
}

/** A Python class or function that the pickle uses. */
export interface PickleGlobal {
  readonly kind: "global";
  /** The name of the module and the name in the module, separated by a space. */
  readonly name: string;
}

/** A Python tuple, for example the arguments of a call. */
export interface PickleTuple {
  readonly kind: "tuple";
  readonly items: readonly PickleValue[];
  /** 1 for a tuple without tuples among its items, and otherwise one more than the deepest of them. */
  readonly depth: number;
}

export interface PickleDictionary {
  readonly kind: "dictionary";
  /** State dicts need no other types of keys. */
  readonly entries: Map<string | number, PickleValue>;
}

/** A Python list. Its items are dropped, because reading a state dict never needs them. */
export interface PickleList {
  readonly kind: "list";
}

export type PickleValue =
  | null
  | boolean
  | number
  | string
  | TorchStorage
  | TorchTensor
  | PickleGlobal
  | PickleTuple
  | PickleDictionary
  | PickleList;

export function kindOf(value: PickleValue | undefined): string {
  if (value === undefined) return "nothing";
  if (value === null) return "None";
  return typeof value === "object" ? value.kind : typeof value;
}
