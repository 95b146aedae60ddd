/**
 * The only names a pickle may use, and what they stand for: storages, dtypes, and the functions that put a tensor
 * together. Nothing is looked up outside these tables, so a pickle can name nothing else, let alone call it.
 */

import { quote } from "../../safetensors/error.ts";
import type { Dtype } from "../../tensor/dtype.ts";
import { ModelError } from "../../files/model_error.ts";
import { rebuildTensor } from "./rebuild_tensor.ts";
import { type Dictionary, type Global, kindOf, type PickleValue } from "./values.ts";

/** The dtype of each typed storage. */
const STORAGES: ReadonlyMap<string, Dtype | undefined> = new Map<string, Dtype | undefined>([
  ["torch DoubleStorage", "F64"],
  ["torch FloatStorage", "F32"],
  ["torch HalfStorage", "F16"],
  ["torch BFloat16Storage", "BF16"],
  ["torch LongStorage", "I64"],
  ["torch IntStorage", "I32"],
  ["torch ShortStorage", "I16"],
  ["torch CharStorage", "I8"],
  ["torch ByteStorage", "U8"],
  ["torch BoolStorage", "BOOL"],
  ["torch.storage UntypedStorage", undefined],
]);

/** The dtypes that tensors of raw storages name: those that have no storage of their own. */
const DTYPES: ReadonlyMap<string, Dtype> = new Map([
  ["torch uint16", "U16"],
  ["torch uint32", "U32"],
  ["torch uint64", "U64"],
]);

const FUNCTIONS: ReadonlyMap<string, (args: readonly PickleValue[]) => PickleValue> = new Map([
  ["collections OrderedDict", emptyDictionary],
  ["torch._utils _rebuild_tensor_v2", (args) => rebuildTensor(args.slice(0, 4), args[6] ?? null)],
  ["torch._utils _rebuild_tensor_v3", rebuildUntyped],
  ["torch._utils _rebuild_parameter", (args) => tensorOf(args[0])],
]);

/** The name as a value. @throws {ModelError} it is not one of those that make up tensors */
export function findGlobal(module: string, name: string): Global {
  const whole = `${module} ${name}`;
  if (![STORAGES, DTYPES, FUNCTIONS].some((table) => table.has(whole))) {
    throw new ModelError(
      `pickle: uses ${quote(`${module}.${name}`)}, which is no part of a state dict of dense tensors`,
    );
  }
  return { kind: "global", name: whole };
}

/** The dtype of a storage class; undefined for raw bytes. @throws {ModelError} the value is no storage class */
export function storageDtype(value: PickleValue): Dtype | undefined {
  if (!isGlobal(value) || !STORAGES.has(value.name)) {
    throw new ModelError(`pickle: a storage's class is ${kindOf(value)}`);
  }
  return STORAGES.get(value.name);
}

/** What the global `callee` gives for `args`. @throws {ModelError} it is none of the functions, or the arguments do not fit */
export function call(callee: PickleValue, args: readonly PickleValue[]): PickleValue {
  const run = isGlobal(callee) ? FUNCTIONS.get(callee.name) : undefined;
  if (!run) throw new ModelError(`pickle: calls ${isGlobal(callee) ? quote(callee.name) : kindOf(callee)}`);
  return run(args);
}

function isGlobal(value: PickleValue): value is Global {
  return typeof value === "object" && value?.kind === "global";
}

function emptyDictionary(args: readonly PickleValue[]): Dictionary {
  if (args.length > 0) throw new ModelError("pickle: an OrderedDict is made with arguments");
  return { kind: "dictionary", entries: new Map() };
}

function rebuildUntyped(args: readonly PickleValue[]): PickleValue {
  const named = args[6] ?? null;
  const dtype = isGlobal(named) ? DTYPES.get(named.name) : undefined;
  if (!dtype) throw new ModelError("pickle: a tensor of raw bytes names no dtype");
  return rebuildTensor(args.slice(0, 4), args[7] ?? null, dtype);
}

function tensorOf(value: PickleValue | undefined): PickleValue {
  if (typeof value === "object" && value?.kind === "tensor") return value;
  throw new ModelError(`pickle: a parameter is made of ${kindOf(value)}`);
}
