/** Fuzzes the readers of PyTorch weight files: the pickle machine and the zip archive. */

import { describe } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import { kindOf } from "../../src/model/checkpoint/torch/pickle_value.ts";
import { readTorchShard } from "../../src/model/checkpoint/torch/torch_shard.ts";
import { unpickle } from "../../src/model/checkpoint/torch/unpickler.ts";
import { ModelError } from "../../src/base/files/file_error.ts";
import { memoryFile } from "../support/memory_file.ts";
import { pickle, torchEntries, torchFile, zip, type ZipEntry } from "../support/torch_archive.ts";
import { damagedBytes } from "./arbitraries/damaged_bytes.ts";
import { fuzz, type Outcome, unlessRefused } from "./property.ts";

const isDocumented = (error: unknown) => error instanceof ModelError && error.message.length <= 500;

/** Integers that are valid or extreme. */
const integer = fc.oneof(fc.integer({ min: -1, max: 7 }), fc.constantFrom(2 ** 31, 2 ** 32, 2 ** 53 - 1));

/** The bytes of one instruction, or of a few that belong together. */
const instruction: fc.Arbitrary<number[]> = fc.oneof(
  fc.constantFrom(pickle.none, pickle.mark, pickle.emptyList, pickle.emptyDict, pickle.reduce, pickle.build),
  fc.constantFrom(0x29, 0x74, 0x75, 0x73, 0x85, 0x86, 0x87, 0x88, 0x89, 0x51, 0x61, 0x65, 0x94).map((
    opcode,
  ) => [opcode]),
  fc.nat(9).map(pickle.get),
  fc.nat(9).map(pickle.put),
  integer.map(pickle.int),
  fc.constantFrom("w", "storage", "cpu", "0", "", "__metadata__").map(pickle.text),
  fc.constantFrom(
    ["torch", "FloatStorage"],
    ["torch._utils", "_rebuild_tensor_v2"],
    ["torch._utils", "_rebuild_parameter"],
    ["collections", "OrderedDict"],
    ["os", "system"],
  ).map(([module, name]) => pickle.global(module, name)),
  fc.tuple(fc.array(integer, { maxLength: 3 }), fc.array(integer, { maxLength: 3 }), integer)
    .map(([size, stride, offset]) => pickle.tensor(size, stride, offset)),
  fc.tuple(
    fc.constantFrom("FloatStorage", "HalfStorage", "UntypedStorage"),
    fc.constantFrom("0", "1"),
    integer,
  )
    .map(([type, key, elements]) => pickle.storage(type, key, elements)),
  fc.array(fc.nat(255), { maxLength: 3 }),
);

const program = fc.array(instruction, { maxLength: 24 }).map((body) => pickle.file(...body));
const stateDict = fc.array(fc.tuple(fc.string({ maxLength: 4 }), instruction), { maxLength: 4 })
  .map((pairs) => pickle.file(pickle.dict(...pairs)));
const validPickle = fc.constant(
  pickle.file(pickle.dict(["w", pickle.tensor()], ["b", pickle.tensor([6], [1])])),
);
const anyPickle = fc.oneof(program, stateDict, damagedBytes(validPickle), damagedBytes(stateDict));

/** Reads a weight file, and checks that its tensors lie in the file. */
async function readFile(bytes: Uint8Array): Promise<Outcome> {
  const file = memoryFile(bytes);
  const shard = await unlessRefused(() => readTorchShard("pytorch_model.bin", file), isDocumented);
  assert.ok(
    file.longestRead <= bytes.length + 65_558,
    `the reader requested ${file.longestRead} bytes at once`,
  );
  if (!shard) return "refused";
  for (const tensor of shard.header.tensors) {
    const at = shard.position(tensor);
    assert.ok(
      at >= 0 && at + tensor.end - tensor.begin <= bytes.length,
      `${tensor.name} lies outside the file`,
    );
  }
  return "accepted";
}

describe("fuzzing PyTorch files", () => {
  fuzz("pickle", anyPickle, async (bytes) => {
    const storage = { kind: "storage", dtype: "F32", offset: 64, byteLength: 24 } as const;
    const findStorage = () => storage;
    // Undefined stands for a refused pickle, so the value is wrapped.
    const result = await unlessRefused(() => ({ value: unpickle(bytes, findStorage) }), isDocumented);
    if (!result) return "refused";
    const kinds = "None boolean number string storage tensor global tuple dictionary list".split(" ");
    assert.ok(kinds.includes(kindOf(result.value)), kindOf(result.value));
    return "accepted";
  });

  fuzz("PyTorch weight file", anyPickle.map((pickle) => torchFile(pickle)), readFile);

  const size = fc.oneof(fc.nat(100), fc.constantFrom(2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 40, 2 ** 53));
  const wrong = fc.record({
    method: fc.constantFrom(0, 8, 99),
    flags: fc.constantFrom(0x0800, 0x0801, 8),
    size,
    compressedSize: size,
    begin: size,
    localName: fc.constantFrom("any/data/0", "any/data/1", ""),
  }, { requiredKeys: [] });
  const entry: fc.Arbitrary<ZipEntry> = fc.tuple(
    fc.constantFrom("any/data/1", "any/data/0", "any/byteorder", "other/x", "../x", "any/", "/x"),
    fc.uint8Array({ maxLength: 24 }),
    fc.oneof(fc.constant({}), wrong),
  ).map(([name, data, fields]) => ({ name, data, ...fields }));
  const archive = fc.array(entry, { maxLength: 2 }).map((more) => zip([...torchEntries(), ...more]));
  fuzz("zip archive", fc.oneof(archive, damagedBytes(archive)), readFile);
});
