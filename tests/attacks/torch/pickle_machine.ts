/** Attacks on the pickle machine, which is the interpreter of the opcodes of a pickle. */

import { MAX_STACK, MAX_STEPS } from "../../../src/checkpoint/torch/unpickler.ts";
import { pickle, torchFile } from "../../support/torch_archive.ts";
import { NO_BYTES, pickled, type TorchAttack } from "./attack.ts";

const { dict, emptyDict, emptyList, get, int, mark, put, tensor } = pickle;

/** Returns `bytes`, repeated `count` times. */
function repeat(bytes: readonly number[], count: number): number[] {
  return Array.from({ length: bytes.length * count }, (_, i) => bytes[i % bytes.length]);
}

/**
 * Pickles that violate the rules of the pickle machine or exceed its limits. The machine has a stack of
 * values, marks on the stack, and a memo of values that can be recalled by index.
 */
export const PICKLE_MACHINE: readonly TorchAttack[] = [
  { name: "an empty pickle", message: /pickle: ends at byte 0/, file: () => torchFile(NO_BYTES) },
  {
    name: "a pickle without an end",
    message: /pickle: ends at byte 3/,
    file: () => torchFile(Uint8Array.of(0x80, 2, 0x7d)),
  },
  pickled("a pickle without a value", /takes a value from an empty stack/),
  pickled("protocol 1", /protocol 1/, [0x80, 1]),
  pickled("protocol 6", /protocol 6/, [0x80, 6]),
  pickled("a memo value that was never stored", /recalls the value 7, which it never stored/, get(7)),
  pickled("a memo index above 2^31", /recalls the value 4294967295/, get(0xffffffff)),
  pickled("a memo of a value from an empty stack", /empty stack/, put(0)),
  pickled("a tuple without a mark", /lacks a mark/, [0x74]),
  pickled("a tuple that takes a value from before a mark", /empty stack/, int(1), mark, [0x85]),
  pickled("items that are set on a number", /adds to number/, int(1), mark, int(1), int(2), [0x75]),
  pickled("a key without a value", /a key without a value/, emptyDict, mark, int(1), [0x75]),
  pickled("a dictionary as a key", /has dictionary for a key/, emptyDict, emptyDict, int(1), [0x73]),
  pickled("a dictionary as a key of itself", /has dictionary for a key/, emptyDict, put(0), get(0), int(1), [
    0x73,
  ]),
  pickled("a repeated key", /repeats the key "w"/, dict(["w", tensor()], ["w", tensor()])),
  pickled("a string that is not valid UTF-8", /not valid UTF-8/, [0x58, 2, 0, 0, 0, 0xc0, 0x80]),
  pickled("a string of 4 GiB", /ends at byte \d+ but needs/, [0x58, 0xff, 0xff, 0xff, 0xff]),
  pickled("a string of 2^64 bytes", /opcode 0x8d/, [0x8d, ...repeat([0xff], 8)]),
  pickled("an integer of 255 bytes", /integer of 255 bytes/, [0x8a, 255, ...repeat([0x7f], 255)]),
  pickled("an integer of 4 GiB", /opcode 0x8b/, [0x8b, 0xff, 0xff, 0xff, 0x7f]),
  pickled("a global name of one MiB", /has no end within/, [0x63, ...repeat([0x61], 1 << 20)]),
  pickled(
    "a stack that is too large",
    new RegExp(`more than ${MAX_STACK} values`),
    repeat([0x7d], MAX_STACK + 1),
  ),
  pickled("too many marks", new RegExp(`more than ${MAX_STACK} values`), repeat(mark, MAX_STACK + 1)),
  pickled("too many nested tuples", new RegExp(`more than ${MAX_STEPS} opcodes`), [
    0x29,
    ...repeat([0x85], MAX_STEPS),
  ]),
  pickled(
    "a list that grows too long",
    new RegExp(`more than ${MAX_STEPS} opcodes`),
    emptyList,
    repeat([0x7d, 0x61], MAX_STEPS / 2),
  ),
];
