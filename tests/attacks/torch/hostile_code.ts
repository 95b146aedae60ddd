/** Attacks by code: pickles that make Python run functions or create objects. */

import { pickle } from "../../support/torch_archive.ts";
import { pickled, type TorchAttack } from "./attack.ts";

const { call, emptyDict, emptyList, global, int, ints, mark, reduce } = pickle;

/** An attack whose pickle calls this function when Python loads it. */
function calls(module: string, name: string, ...args: number[][]): TorchAttack {
  const message = new RegExp(`uses "${module}.${name}", which a state dict of dense tensors does not need`);
  return pickled(`a call of ${module}.${name}`, message, call(global(module, name), ...args));
}

/**
 * Pickles that call functions, name globals (importable Python names) or create objects that a state dict
 * does not need.
 */
export const HOSTILE_CODE: readonly TorchAttack[] = [
  calls("os", "system", pickle.text("id")),
  calls("posix", "system", pickle.text("id")),
  calls("builtins", "eval", pickle.text("1")),
  calls("builtins", "getattr", pickle.text("a"), pickle.text("b")),
  calls("torch.hub", "load", pickle.text("a")),
  calls("torch", "load", pickle.text("a")),
  calls("torch.storage", "_load_from_bytes", pickle.text("a")),
  calls("torch._utils", "_rebuild_sparse_tensor", ints([1])),
  calls("torch", "ComplexFloatStorage"),
  calls("__proto__", "constructor"),
  pickled(
    "a global whose name is an inherited property name",
    /uses "torch.constructor"/,
    global("torch", "constructor"),
  ),
  pickled(
    "a global whose name contains spaces",
    /uses "torch FloatStorage.x"/,
    global("torch FloatStorage", "x"),
  ),
  pickled("a global whose name contains a line break", /uses "torch\.Fl"/, global("torch", "Fl\noatStorage")),
  pickled("a call of a storage class", /calls "torch FloatStorage"/, call(global("torch", "FloatStorage"))),
  pickled("a call of a number", /calls number/, call(int(3))),
  pickled(
    "a call without a tuple",
    /calls a function with list/,
    global("collections", "OrderedDict"),
    emptyList,
    reduce,
  ),
  pickled(
    "a new object of a class (NEWOBJ)",
    /opcode 0x81/,
    global("collections", "OrderedDict"),
    pickle.tuple(),
    [
      0x81,
    ],
  ),
  pickled("an instance of a class (INST)", /opcode 0x69/, mark, [0x69, 0x61, 0x0a, 0x62, 0x0a]),
  pickled("an extension code", /opcode 0x82/, [0x82, 1]),
  pickled("an out-of-band buffer", /opcode 0x97/, [0x97]),
  pickled("a persistent id in text form", /opcode 0x50/, [0x50, 0x61, 0x0a]),
  pickled("attributes that are set on a list", /adds to list, not to a dictionary/, emptyList, emptyDict, [
    0x62,
  ]),
  pickled(
    "an OrderedDict with arguments",
    /OrderedDict is made with arguments/,
    call(global("collections", "OrderedDict"), emptyDict),
  ),
];
