/**
 * What the values of a pickle become here. None of them has behaviour: a pickle is read as data, and what it asks to
 * be called is looked up in `globals.ts`.
 */

import type { Dtype } from "../../tensor/dtype.ts";

/** A run of bytes in the file that tensors are cut from. */
export interface Storage {
  readonly kind: "storage";
  /** Undefined for raw bytes: the tensor then says what they are. */
  readonly dtype?: Dtype;
  /** Offset in the file. */
  readonly offset: number;
  readonly byteLength: number;
}

/** A dense row-major tensor in the file. */
export interface TorchTensor {
  readonly kind: "tensor";
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Offset in the file of its first byte. */
  readonly offset: number;
}

/** A name the pickle may use, `MODULE NAME`. */
export interface Global {
  readonly kind: "global";
  readonly name: string;
}

/** Immutable, unlike a list. */
export interface Tuple {
  readonly kind: "tuple";
  readonly items: readonly PickleValue[];
}

/** Ordered as Python's. */
export interface Dictionary {
  readonly kind: "dictionary";
  readonly entries: Map<DictionaryKey, PickleValue>;
}

/** What may be a key: enough for state dicts. */
export type DictionaryKey = string | number;

/** A list: nothing of a state dict looks into one, so what it holds is dropped. */
export interface List {
  readonly kind: "list";
}

export type PickleValue =
  | null
  | boolean
  | number
  | string
  | Storage
  | TorchTensor
  | Global
  | Tuple
  | Dictionary
  | List;

/** What a value is, for messages. */
export function kindOf(value: PickleValue | undefined): string {
  if (value === undefined) return "nothing";
  if (value === null) return "None";
  return typeof value === "object" ? value.kind : typeof value;
}
