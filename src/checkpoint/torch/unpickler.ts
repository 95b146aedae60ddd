/**
 * A pickle machine that reads state dicts of tensors and can do nothing else: it has no way to name or to call anything
 * outside `globals.ts`, makes no objects of classes, and keeps within fixed limits. The format is that of Python's
 * pickletools, protocols 2 to 5. It never recurses, so depth is no matter.
 */

import { quote } from "../../safetensors/error.ts";
import { ModelError } from "../../files/model_error.ts";
import { call, findGlobal } from "./globals.ts";
import { OPCODE } from "./opcodes.ts";
import { PickleBytes } from "./pickle_bytes.ts";
import { type Dictionary, kindOf, type PickleValue, type Storage, type Tuple } from "./values.ts";

/** Opcodes a pickle may have: a tensor takes about 60, so this is some 15,000 tensors in one file. */
export const MAX_STEPS = 1 << 20;

/** Values on the stack: torch.save gathers at most 1000 pairs before it puts them into a dictionary. */
export const MAX_STACK = 1 << 14;

const NEWEST_PROTOCOL = 5;

/**
 * The value of a pickle.
 * @param load the storage that a persistent id names
 * @throws {ModelError} it is malformed, uses what a state dict has no need of, or is past a limit; and as `load`
 */
export function unpickle(bytes: Uint8Array, load: (id: PickleValue) => Storage): PickleValue {
  return new Unpickler(bytes, load).run();
}

class Unpickler {
  readonly #input: PickleBytes;
  readonly #load: (id: PickleValue) => Storage;
  readonly #stack: PickleValue[] = [];
  /** Heights of the stack. */
  readonly #marks: number[] = [];
  readonly #memo = new Map<number, PickleValue>();

  constructor(bytes: Uint8Array, load: (id: PickleValue) => Storage) {
    this.#input = new PickleBytes(bytes);
    this.#load = load;
  }

  run(): PickleValue {
    for (let steps = 0; steps < MAX_STEPS; steps++) {
      const opcode = this.#input.uint8();
      if (opcode === OPCODE.STOP) return this.#pop();
      this.#step(opcode);
      if (this.#stack.length > MAX_STACK || this.#marks.length > MAX_STACK) {
        throw new ModelError(`pickle: has more than ${MAX_STACK} values in hand`);
      }
    }
    throw new ModelError(`pickle: has more than ${MAX_STEPS} opcodes`);
  }

  #step(opcode: number): void {
    const input = this.#input;
    switch (opcode) {
      case OPCODE.PROTO:
        return this.#checkProtocol(input.uint8());
      case OPCODE.FRAME:
        return input.skip(8); // a hint for buffering
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
        return this.#push({ kind: "tuple", items: [] });
      case OPCODE.TUPLE:
        return this.#push({ kind: "tuple", items: this.#popMark() });
      case OPCODE.TUPLE1:
        return this.#pushTuple(1);
      case OPCODE.TUPLE2:
        return this.#pushTuple(2);
      case OPCODE.TUPLE3:
        return this.#pushTuple(3);
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
        return this.#remember(input.uint8());
      case OPCODE.LONG_BINPUT:
        return this.#remember(input.uint32());
      case OPCODE.MEMOIZE:
        return this.#remember(this.#memo.size);
      case OPCODE.BINGET:
        return this.#recall(input.uint8());
      case OPCODE.LONG_BINGET:
        return this.#recall(input.uint32());
      case OPCODE.GLOBAL:
        return this.#push(findGlobal(input.line(), input.line()));
      case OPCODE.STACK_GLOBAL: {
        const [module, name] = this.#popMany(2);
        if (typeof module !== "string" || typeof name !== "string") {
          throw this.#malformed("names a global by no text");
        }
        return this.#push(findGlobal(module, name));
      }
      case OPCODE.BINPERSID:
        return this.#push(this.#load(this.#pop()));
      case OPCODE.REDUCE: {
        const [callee, args] = this.#popMany(2);
        if (!isTuple(args)) throw this.#malformed(`calls with ${kindOf(args)} for arguments`);
        return this.#push(call(callee, args.items));
      }
      case OPCODE.BUILD: // the attributes of an OrderedDict, where torch keeps the versions of modules
        this.#pop();
        this.#top("dictionary");
        return;
      default:
        throw this.#malformed(`has the opcode 0x${opcode.toString(16)}, which no state dict needs,`);
    }
  }

  #checkProtocol(version: number): void {
    if (version < 2 || version > NEWEST_PROTOCOL) {
      throw this.#malformed(`is of protocol ${version}, not of 2 to ${NEWEST_PROTOCOL},`);
    }
  }

  #push(value: PickleValue): void {
    this.#stack.push(value);
  }

  #pushTuple(length: number): void {
    this.#push({ kind: "tuple", items: this.#popMany(length) });
  }

  #pop(): PickleValue {
    return this.#popMany(1)[0];
  }

  /** The last `count` values; those before the last mark are out of reach. */
  #popMany(count: number): PickleValue[] {
    const start = this.#stack.length - count;
    if (start < (this.#marks.at(-1) ?? 0)) throw this.#malformed("takes a value from an empty stack");
    return this.#stack.splice(start);
  }

  /** The values since the last mark. */
  #popMark(): PickleValue[] {
    const start = this.#marks.pop();
    if (start === undefined) throw this.#malformed("lacks a mark");
    return this.#stack.splice(start);
  }

  /** The last value, which stays. */
  #top(kind?: "list" | "dictionary"): PickleValue {
    const top = this.#pop();
    if (kind && (typeof top !== "object" || top?.kind !== kind)) {
      throw this.#malformed(`adds to ${kindOf(top)}, not to a ${kind},`);
    }
    this.#push(top);
    return top;
  }

  #setItems(items: readonly PickleValue[]): void {
    const { entries } = this.#top("dictionary") as Dictionary;
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

  #remember(index: number): void {
    this.#memo.set(index, this.#top());
  }

  #recall(index: number): void {
    const value = this.#memo.get(index);
    if (value === undefined) throw this.#malformed(`recalls the value ${index}, which it never kept,`);
    this.#push(value);
  }

  #malformed(rule: string): ModelError {
    return new ModelError(`pickle: ${rule} at byte ${this.#input.position}`);
  }
}

function isTuple(value: PickleValue): value is Tuple {
  return typeof value === "object" && value?.kind === "tuple";
}
