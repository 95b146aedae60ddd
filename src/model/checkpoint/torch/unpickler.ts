/**
 * Runs the opcodes of a pickle, restricted to the state dicts of tensors that `torch.save` writes. A pickle can use
 * only the names in `pickle_globals.ts`, cannot create objects of other classes, and is limited in time and memory.
 * Nesting depth is not limited, because the unpickler does not recurse. Python's module `pickletools` documents the
 * opcodes of protocols 2 to 5.
 */

import { quote } from "../../../tensor/safetensors/error.ts";
import { ModelError } from "../../../base/files/file_error.ts";
import { callGlobal, findGlobal } from "./pickle_globals.ts";
import { OPCODE } from "./opcodes.ts";
import { PickleBytes } from "./pickle_bytes.ts";
import {
  kindOf,
  type PickleDictionary,
  type PickleTuple,
  type PickleValue,
  type TorchStorage,
} from "./pickle_value.ts";

/** The largest number of opcodes. A tensor takes about 60, so a file may have about 15,000 tensors. */
const MAX_STEPS = 1 << 20;

/** The largest number of values on the stack. torch.save adds at most 1000 pairs to a dictionary at a time. */
const MAX_STACK = 1 << 14;

/** The most levels of nested tuples. A state dict has three. Otherwise one opcode per level would fill memory. */
const MAX_TUPLE_DEPTH = 16;

const NEWEST_PROTOCOL = 5;

/**
 * Reads the value of a pickle.
 * @param findStorage finds the storage that a persistent id names
 * @throws {ModelError} if the pickle is malformed, uses an unsupported opcode or name, or exceeds a limit. Errors of
 * `findStorage` are passed on.
 */
export function unpickle(bytes: Uint8Array, findStorage: (id: PickleValue) => TorchStorage): PickleValue {
  return new Unpickler(bytes, findStorage).run();
}

class Unpickler {
  readonly #input: PickleBytes;
  readonly #findStorage: (id: PickleValue) => TorchStorage;
  readonly #stack: PickleValue[] = [];
  /** The marks on the stack. Each mark is the number of values below it. */
  readonly #marks: number[] = [];
  /** The values that the pickle stored for later use, by index. */
  readonly #memo = new Map<number, PickleValue>();

  constructor(bytes: Uint8Array, findStorage: (id: PickleValue) => TorchStorage) {
    this.#input = new PickleBytes(bytes);
    this.#findStorage = findStorage;
  }

  /** Runs all opcodes up to STOP and returns the value on top of the stack. */
  run(): PickleValue {
    for (let steps = 0; steps < MAX_STEPS; steps++) {
      const opcode = this.#input.uint8();
      if (opcode === OPCODE.STOP) return this.#pop();
      this.#runOpcode(opcode);
      if (this.#stack.length > MAX_STACK || this.#marks.length > MAX_STACK) {
        throw new ModelError(`pickle: has more than ${MAX_STACK} values on the stack`);
      }
    }
    throw new ModelError(`pickle: has more than ${MAX_STEPS} opcodes`);
  }

  #runOpcode(opcode: number): void {
    const input = this.#input;
    switch (opcode) {
      case OPCODE.PROTO:
        return this.#checkProtocol(input.uint8());
      case OPCODE.FRAME:
        return input.skip(8); // the length of the frame, a hint for buffered readers
      case OPCODE.MARK:
        this.#marks.push(this.#stack.length);
        return;
      case OPCODE.NONE:
        return this.#push(null);
      case OPCODE.NEWTRUE:
        return this.#push(true);
      case OPCODE.NEWFALSE:
        return this.#push(false);
      case OPCODE.BININT:
        return this.#push(input.int32());
      case OPCODE.BININT1:
        return this.#push(input.uint8());
      case OPCODE.BININT2:
        return this.#push(input.uint16());
      case OPCODE.LONG1:
        return this.#push(input.integer(input.uint8()));
      case OPCODE.BINFLOAT:
        return this.#push(input.float64());
      case OPCODE.BINUNICODE:
        return this.#push(input.text(input.uint32()));
      case OPCODE.SHORT_BINUNICODE:
        return this.#push(input.text(input.uint8()));
      case OPCODE.EMPTY_TUPLE:
        return this.#pushTuple([]);
      case OPCODE.TUPLE:
        return this.#pushTuple(this.#popMark());
      case OPCODE.TUPLE1:
        return this.#pushTuple(this.#popMany(1));
      case OPCODE.TUPLE2:
        return this.#pushTuple(this.#popMany(2));
      case OPCODE.TUPLE3:
        return this.#pushTuple(this.#popMany(3));
      case OPCODE.EMPTY_LIST:
        return this.#push({ kind: "list" });
      case OPCODE.APPEND:
        this.#pop();
        this.#top("list");
        return;
      case OPCODE.APPENDS:
        this.#popMark();
        this.#top("list");
        return;
      case OPCODE.EMPTY_DICT:
        return this.#push({ kind: "dictionary", entries: new Map() });
      case OPCODE.SETITEM:
        return this.#setItems(this.#popMany(2));
      case OPCODE.SETITEMS:
        return this.#setItems(this.#popMark());
      case OPCODE.BINPUT:
        return this.#storeInMemo(input.uint8());
      case OPCODE.LONG_BINPUT:
        return this.#storeInMemo(input.uint32());
      case OPCODE.MEMOIZE:
        return this.#storeInMemo(this.#memo.size);
      case OPCODE.BINGET:
        return this.#pushFromMemo(input.uint8());
      case OPCODE.LONG_BINGET:
        return this.#pushFromMemo(input.uint32());
      case OPCODE.GLOBAL:
        return this.#push(findGlobal(input.line(), input.line()));
      case OPCODE.STACK_GLOBAL: {
        const [module, name] = this.#popMany(2);
        if (typeof module !== "string" || typeof name !== "string") {
          throw this.#malformed("names a global by a value that is not text");
        }
        return this.#push(findGlobal(module, name));
      }
      case OPCODE.BINPERSID:
        return this.#push(this.#findStorage(this.#pop()));
      case OPCODE.REDUCE: {
        const [callee, args] = this.#popMany(2);
        if (!isTuple(args)) {
          throw this.#malformed(`calls a function with ${kindOf(args)} instead of a tuple of arguments`);
        }
        return this.#push(callGlobal(callee, args.items));
      }
      case OPCODE.BUILD: // sets attributes of an OrderedDict: torch stores the versions of modules in them
        this.#pop();
        this.#top("dictionary");
        return;
      default:
        throw this.#malformed(`has the opcode 0x${opcode.toString(16)}, which no state dict needs`);
    }
  }

  #checkProtocol(version: number): void {
    if (version < 2 || version > NEWEST_PROTOCOL) {
      throw this.#malformed(`uses protocol ${version}; supported are 2 to ${NEWEST_PROTOCOL}`);
    }
  }

  #push(value: PickleValue): void {
    this.#stack.push(value);
  }

  #pushTuple(items: readonly PickleValue[]): void {
    const depth = 1 + Math.max(0, ...items.map((item) => isTuple(item) ? item.depth : 0));
    if (depth > MAX_TUPLE_DEPTH) throw this.#malformed(`nests tuples more than ${MAX_TUPLE_DEPTH} deep`);
    this.#push({ kind: "tuple", items, depth });
  }

  #pop(): PickleValue {
    return this.#popMany(1)[0];
  }

  /** Removes the top `count` values and returns them. Values below the last mark cannot be removed. */
  #popMany(count: number): PickleValue[] {
    const start = this.#stack.length - count;
    if (start < (this.#marks.at(-1) ?? 0)) throw this.#malformed("takes a value from an empty stack");
    return this.#stack.splice(start);
  }

  /** Removes the last mark and the values above it, and returns the values. */
  #popMark(): PickleValue[] {
    const start = this.#marks.pop();
    if (start === undefined) throw this.#malformed("lacks a mark, which the opcode needs");
    return this.#stack.splice(start);
  }

  /** Returns the top value without removing it. @throws {ModelError} if it is not of the given kind */
  #top(kind?: "list" | "dictionary"): PickleValue {
    const top = this.#pop();
    if (kind && (typeof top !== "object" || top?.kind !== kind)) {
      throw this.#malformed(`adds to ${kindOf(top)}, not to a ${kind}`);
    }
    this.#push(top);
    return top;
  }

  /** Adds keys and values, in alternating order, to the dictionary on top of the stack. */
  #setItems(items: readonly PickleValue[]): void {
    const { entries } = this.#top("dictionary") as PickleDictionary;
    if (items.length % 2 !== 0) throw this.#malformed("gives a key without a value");
    for (let i = 0; i < items.length; i += 2) {
      const key = items[i];
      if (typeof key !== "string" && typeof key !== "number") {
        throw this.#malformed(`has ${kindOf(key)} for a key`);
      }
      if (entries.has(key)) throw this.#malformed(`repeats the key ${quote(key)}`);
      entries.set(key, items[i + 1]);
    }
  }

  #storeInMemo(index: number): void {
    this.#memo.set(index, this.#top());
  }

  #pushFromMemo(index: number): void {
    const value = this.#memo.get(index);
    if (value === undefined) throw this.#malformed(`recalls the value ${index}, which it never stored`);
    this.#push(value);
  }

  #malformed(rule: string): ModelError {
    return new ModelError(`pickle: ${rule} (before byte ${this.#input.position})`);
  }
}

function isTuple(value: PickleValue): value is PickleTuple {
  return typeof value === "object" && value?.kind === "tuple";
}
