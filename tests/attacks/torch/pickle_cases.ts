/** Assembles the pickles of `corpus/pickle.json`. A pickle is written there as a list of instructions. */

import { pickle, torchFile } from "../../support/torch_archive.ts";
import { type AttackCase, readCorpus } from "../corpus.ts";
import type { TorchAttack } from "./attack.ts";

/**
 * One instruction, or a value that takes several:
 *
 * - the name of a constant of `pickle`, such as `"mark"`
 * - the name of a function of `pickle` with its arguments, such as `["int", 3]` or `["call", ["global", "os", "system"], ["text", "id"]]`
 * - bytes in hexadecimal, once or repeated
 */
type Instruction =
  | string
  | readonly [name: string, ...args: unknown[]]
  | { readonly hex: string }
  | { readonly repeat: string; readonly times: number };

/** A case of `corpus/pickle.json`. It has the member `pickle`, or the bytes of the whole pickle in the member `file`. */
interface PickleCase extends AttackCase {
  readonly message: string;
  readonly pickle?: readonly Instruction[];
  readonly file?: string;
}

type Builder = Record<string, unknown>;

function assemble(instruction: Instruction): number[] {
  if (typeof instruction === "string") return (pickle as Builder)[instruction] as number[];
  if ("hex" in instruction) return [...Uint8Array.fromHex(instruction.hex)];
  if ("repeat" in instruction) return [...Uint8Array.fromHex(instruction.repeat.repeat(instruction.times))];
  const [name, ...args] = instruction;
  const build = (pickle as Builder)[name] as (...args: unknown[]) => number[];
  return build(...args.map((arg, index) => argument(name, arg, index)));
}

/** Converts an argument. Those of `call` and `tuple`, the values of `dict` and the storage of `tensor` are instructions. */
function argument(name: string, arg: unknown, index: number): unknown {
  if (name === "call" || name === "tuple" || (name === "tensor" && index === 3)) {
    return assemble(arg as Instruction);
  }
  if (name === "dict") {
    const [key, value] = arg as [string, Instruction];
    return [key, assemble(value)];
  }
  return Array.isArray(arg) ? arg.map(integer) : integer(arg);
}

/** Converts `{ integer: DIGITS }` to a bigint, because JSON has no integers above 2^53. */
function integer(value: unknown): unknown {
  return typeof value === "object" && value !== null && "integer" in value
    ? BigInt(String(value.integer))
    : value;
}

/** Pickles that run code, break the rules of the pickle machine, exceed its limits, or describe invalid tensors. */
export const PICKLE_ATTACKS: readonly TorchAttack[] = readCorpus<PickleCase>("pickle").map((attack) => ({
  name: attack.name,
  message: new RegExp(attack.message),
  file: () =>
    torchFile(
      attack.pickle ? pickle.file(...attack.pickle.map(assemble)) : Uint8Array.fromHex(attack.file ?? ""),
    ),
}));
