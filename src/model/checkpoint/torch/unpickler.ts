/**
 * Runs the opcodes of a pickle, restricted to the state dicts of tensors that `torch.save` writes. A pickle can use
 * only the names in `pickle_globals.ts`, cannot create objects of other classes, and is limited in time and memory.
 * Nesting depth is not limited, because the unpickler does not recurse. Python's module `pickletools` documents the
 * opcodes. Those that create arbitrary objects (such as NEWOBJ, INST and EXT1) and the text opcodes of protocol 0 are
 * not supported.
 */

import { quote } from "../../../base/texts.ts";
import { ModelError } from "../../../base/files/file_error.ts";
import { callGlobal, findGlobal } from "./pickle_globals.ts";
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

/** The last opcode of a pickle. */
const STOP = 0x2e;

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
  /** The work of each opcode of protocols 2 to 5 that `torch.save` writes, except STOP, by its byte. */
  readonly #opcodes = new Map<number, () => void>([
    [0x80, () => this.#checkProtocol(this.#input.uint8())], // PROTO
    [0x95, () => this.#input.skip(8)], // FRAME: its length, a hint for buffered readers
    [0x28, () => this.#marks.push(this.#stack.length)], // MARK
    [0x4e, () => this.#push(null)], // NONE
    [0x88, () => this.#push(true)], // NEWTRUE
    [0x89, () => this.#push(false)], // NEWFALSE
    [0x4a, () => this.#push(this.#input.int32())], // BININT
    [0x4b, () => this.#push(this.#input.uint8())], // BININT1
    [0x4d, () => this.#push(this.#input.uint16())], // BININT2
    [0x8a, () => this.#push(this.#input.integer(this.#input.uint8()))], // LONG1
    [0x47, () => this.#push(this.#input.float64())], // BINFLOAT
    [0x58, () => this.#push(this.#input.text(this.#input.uint32()))], // BINUNICODE
    [0x8c, () => this.#push(this.#input.text(this.#input.uint8()))], // SHORT_BINUNICODE
    [0x29, () => this.#pushTuple([])], // EMPTY_TUPLE
    [0x74, () => this.#pushTuple(this.#popMark())], // TUPLE
    [0x85, () => this.#pushTuple(this.#popMany(1))], // TUPLE1
    [0x86, () => this.#pushTuple(this.#popMany(2))], // TUPLE2
    [0x87, () => this.#pushTuple(this.#popMany(3))], // TUPLE3
    [0x5d, () => this.#push({ kind: "list" })], // EMPTY_LIST
    [0x61, () => (this.#pop(), this.#top("list"))], // APPEND
    [0x65, () => (this.#popMark(), this.#top("list"))], // APPENDS
    [0x7d, () => this.#push({ kind: "dictionary", entries: new Map() })], // EMPTY_DICT
    [0x73, () => this.#setItems(this.#popMany(2))], // SETITEM
    [0x75, () => this.#setItems(this.#popMark())], // SETITEMS
    [0x71, () => this.#storeInMemo(this.#input.uint8())], // BINPUT
    [0x72, () => this.#storeInMemo(this.#input.uint32())], // LONG_BINPUT
    [0x94, () => this.#storeInMemo(this.#memo.size)], // MEMOIZE
    [0x68, () => this.#pushFromMemo(this.#input.uint8())], // BINGET
    [0x6a, () => this.#pushFromMemo(this.#input.uint32())], // LONG_BINGET
    [0x63, () => this.#push(findGlobal(this.#input.line(), this.#input.line()))], // GLOBAL
    [0x93, () => this.#pushGlobal(this.#popMany(2))], // STACK_GLOBAL
    [0x51, () => this.#push(this.#findStorage(this.#pop()))], // BINPERSID
    [0x52, () => this.#pushResult(this.#popMany(2))], // REDUCE
    // BUILD sets attributes of an OrderedDict, in which torch stores the versions of modules.
    [0x62, () => (this.#pop(), this.#top("dictionary"))],
  ]);

  constructor(bytes: Uint8Array, findStorage: (id: PickleValue) => TorchStorage) {
    this.#input = new PickleBytes(bytes);
    this.#findStorage = findStorage;
  }

  /** Runs all opcodes up to STOP and returns the value on top of the stack. */
  run(): PickleValue {
    for (let steps = 0; steps < MAX_STEPS; steps++) {
      const opcode = this.#input.uint8();
      if (opcode === STOP) return this.#pop();
      const work = this.#opcodes.get(opcode);
      if (!work) throw this.#malformed(`has the opcode 0x${opcode.toString(16)}, which no state dict needs`);
      work();
      if (this.#stack.length > MAX_STACK || this.#marks.length > MAX_STACK) {
        throw new ModelError(`pickle: has more than ${MAX_STACK} values on the stack`);
      }
    }
    throw new ModelError(`pickle: has more than ${MAX_STEPS} opcodes`);
  }

  #pushGlobal([module, name]: readonly PickleValue[]): void {
    if (typeof module !== "string" || typeof name !== "string") {
      throw this.#malformed("names a global by a value that is not text");
    }
    this.#push(findGlobal(module, name));
  }

  #pushResult([callee, args]: readonly PickleValue[]): void {
    if (!isTuple(args)) {
      throw this.#malformed(`calls a function with ${kindOf(args)} instead of a tuple of arguments`);
    }
    this.#push(callGlobal(callee, args.items));
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
