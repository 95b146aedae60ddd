/**
 * Lists the Python classes and functions that a pickle may use: storages, dtypes and the functions that create tensors. Unpickling a file
 * in Python can run any code that the file names. Here, names are only looked up in the tables of this file.
 */

import { quote } from "../../../base/texts.ts";
import type { Dtype } from "../../../tensor/dtype.ts";
import { ModelError } from "../../../base/files/file_error.ts";
import { rebuildTensor } from "./rebuild_tensor.ts";
import { kindOf, type PickleDictionary, type PickleGlobal, type PickleValue } from "./pickle_value.ts";

/** The dtypes of the storage classes. An untyped storage has no dtype. */
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

/** The dtypes without a storage class of their own. Tensors of these dtypes are stored in untyped storages. */
const DTYPES: ReadonlyMap<string, Dtype> = new Map([
  ["torch uint16", "U16"],
  ["torch uint32", "U32"],
  ["torch uint64", "U64"],
]);

/** The functions that a pickle may call. They receive the positional arguments of the call. */
const FUNCTIONS: ReadonlyMap<string, (args: readonly PickleValue[]) => PickleValue> = new Map([
  ["collections OrderedDict", makeOrderedDict],
  ["torch._utils _rebuild_tensor_v2", (args) => rebuildTensor(args.slice(0, 4), args[6] ?? null)],
  ["torch._utils _rebuild_tensor_v3", rebuildUntypedTensor],
  ["torch._utils _rebuild_parameter", (args) => unwrapParameter(args[0])],
]);

/** Looks up a name. @throws {ModelError} if the name is not in the tables */
export function findGlobal(module: string, name: string): PickleGlobal {
  const qualifiedName = `${module} ${name}`;
  if (![STORAGES, DTYPES, FUNCTIONS].some((table) => table.has(qualifiedName))) {
    throw new ModelError(
      `pickle: uses ${quote(`${module}.${name}`)}, which a state dict of dense tensors does not need`,
    );
  }
  return { kind: "global", name: qualifiedName };
}

/**
 * Returns the dtype of a storage class. Returns undefined for the untyped storage.
 * @throws {ModelError} if `value` is not a storage class
 */
export function storageDtype(value: PickleValue): Dtype | undefined {
  if (!isGlobal(value) || !STORAGES.has(value.name)) {
    throw new ModelError(`pickle: a storage's class is ${kindOf(value)}, not a storage class`);
  }
  return STORAGES.get(value.name);
}

/** Calls the function `callee`. @throws {ModelError} if `callee` is not a supported function, or if the arguments are invalid */
export function callGlobal(callee: PickleValue, args: readonly PickleValue[]): PickleValue {
  const implementation = isGlobal(callee) ? FUNCTIONS.get(callee.name) : undefined;
  if (implementation) return implementation(args);
  const name = isGlobal(callee) ? quote(callee.name) : kindOf(callee);
  throw new ModelError(`pickle: calls ${name}, which is not a supported function`);
}

function isGlobal(value: PickleValue): value is PickleGlobal {
  return typeof value === "object" && value?.kind === "global";
}

function makeOrderedDict(args: readonly PickleValue[]): PickleDictionary {
  if (args.length > 0) {
    throw new ModelError("pickle: an OrderedDict is made with arguments, which no state dict needs");
  }
  return { kind: "dictionary", entries: new Map() };
}

function rebuildUntypedTensor(args: readonly PickleValue[]): PickleValue {
  const named = args[6] ?? null;
  const dtype = isGlobal(named) ? DTYPES.get(named.name) : undefined;
  if (!dtype) throw new ModelError("pickle: a tensor in an untyped storage names no dtype");
  return rebuildTensor(args.slice(0, 4), args[7] ?? null, dtype);
}

function unwrapParameter(value: PickleValue | undefined): PickleValue {
  if (typeof value === "object" && value?.kind === "tensor") return value;
  throw new ModelError(`pickle: a parameter is made of ${kindOf(value)}, not of a tensor`);
}
