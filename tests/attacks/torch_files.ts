/**
 * Hostile weight files in torch's format, made on demand, each with the error that must meet it. None is larger than a
 * few MiB.
 */

import { MAX_ENTRIES } from "../../src/checkpoint/torch/zip_archive.ts";
import { MAX_PICKLE_BYTES } from "../../src/checkpoint/torch/read_torch_file.ts";
import { MAX_STACK, MAX_STEPS } from "../../src/checkpoint/torch/unpickler.ts";
import { pickle, torchEntries, torchFile, zip, type ZipEntry } from "../support/torch_archive.ts";

/** A file no reader may accept. */
export interface TorchAttack {
  readonly name: string;
  /** What the error's message must say. */
  readonly message: RegExp;
  file(): Uint8Array<ArrayBuffer>;
}

const {
  call,
  dict,
  emptyDict,
  emptyList,
  get,
  global,
  int,
  ints,
  mark,
  orderedDict,
  put,
  reduce,
  storage,
  tensor,
} = pickle;
const NO_BYTES = new Uint8Array(0);

/** A file whose pickle is these opcodes. */
function pickled(name: string, message: RegExp, ...body: number[][]): TorchAttack {
  return { name, message, file: () => torchFile(pickle.file(...body)) };
}

/** A pickle that runs code when Python reads it. */
function runs(module: string, name: string, ...args: number[][]): TorchAttack {
  const message = new RegExp(`uses "${module}.${name}", which a state dict of dense tensors does not need`);
  return pickled(`a call of ${module}.${name}`, message, call(global(module, name), ...args));
}

/** A file in which one tensor is not as it should be. */
function wrongTensor(name: string, message: RegExp, value: number[]): TorchAttack {
  return pickled(name, message, dict(["w", value]));
}

/** A file whose archive is not as it should be. */
function archive(name: string, message: RegExp, entries: () => ZipEntry[]): TorchAttack {
  return { name, message, file: () => zip(entries()) };
}

/** A file with one more entry. */
function entry(name: string, message: RegExp, more: ZipEntry): TorchAttack {
  return archive(name, message, () => [...torchEntries(), more]);
}

function repeat(bytes: readonly number[], count: number): number[] {
  return Array.from({ length: bytes.length * count }, (_, i) => bytes[i % bytes.length]);
}

/** A file after which nothing is as it was: the sound one with bytes from `at` replaced. */
function patched(name: string, message: RegExp, fromEnd: number, bytes: number[]): TorchAttack {
  return {
    name,
    message,
    file: () => {
      const file = torchFile();
      file.set(bytes, file.byteLength - fromEnd);
      return file;
    },
  };
}

const CODE: readonly TorchAttack[] = [
  runs("os", "system", pickle.text("id")),
  runs("posix", "system", pickle.text("id")),
  runs("builtins", "eval", pickle.text("1")),
  runs("builtins", "getattr", pickle.text("a"), pickle.text("b")),
  runs("torch.hub", "load", pickle.text("a")),
  runs("torch", "load", pickle.text("a")),
  runs("torch.storage", "_load_from_bytes", pickle.text("a")),
  runs("torch._utils", "_rebuild_sparse_tensor", ints([1])),
  runs("torch", "ComplexFloatStorage"),
  runs("__proto__", "constructor"),
  pickled("a global named through the prototype", /uses "torch.constructor"/, global("torch", "constructor")),
  pickled("a global whose name has spaces", /uses "torch FloatStorage.x"/, global("torch FloatStorage", "x")),
  pickled("a global named with a newline", /uses "torch\.Fl"/, global("torch", "Fl\noatStorage")),
  pickled("a call of a storage class", /calls "torch FloatStorage"/, call(global("torch", "FloatStorage"))),
  pickled("a call of a number", /calls number/, call(int(3))),
  pickled(
    "a call without a tuple",
    /calls a function with list/,
    global("collections", "OrderedDict"),
    emptyList,
    reduce,
  ),
  pickled("a new object of a class", /opcode 0x81/, global("collections", "OrderedDict"), pickle.tuple(), [
    0x81,
  ]),
  pickled("an instance", /opcode 0x69/, mark, [0x69, 0x61, 0x0a, 0x62, 0x0a]),
  pickled("an extension code", /opcode 0x82/, [0x82, 1]),
  pickled("an out-of-band buffer", /opcode 0x97/, [0x97]),
  pickled("a text persistent id", /opcode 0x50/, [0x50, 0x61, 0x0a]),
  pickled("attributes of a list", /adds to list, not to a dictionary/, emptyList, emptyDict, [0x62]),
  pickled(
    "an OrderedDict with arguments",
    /OrderedDict is made with arguments/,
    call(global("collections", "OrderedDict"), emptyDict),
  ),
];

const MACHINE: readonly TorchAttack[] = [
  { name: "an empty pickle", message: /pickle: ends at byte 0/, file: () => torchFile(NO_BYTES) },
  {
    name: "a pickle without an end",
    message: /pickle: ends at byte 3/,
    file: () => torchFile(Uint8Array.of(0x80, 2, 0x7d)),
  },
  pickled("a pickle of nothing", /takes a value from an empty stack/),
  pickled("protocol 1", /protocol 1/, [0x80, 1]),
  pickled("protocol 6", /protocol 6/, [0x80, 6]),
  pickled("a memo never kept", /recalls the value 7, which it never stored/, get(7)),
  pickled("a memo past 2^31", /recalls the value 4294967295/, get(0xffffffff)),
  pickled("a memo of nothing", /empty stack/, put(0)),
  pickled("a tuple without a mark", /lacks a mark/, [0x74]),
  pickled("a value from before a mark", /empty stack/, int(1), mark, [0x85]),
  pickled("items set without a dictionary", /adds to number/, int(1), mark, int(1), int(2), [0x75]),
  pickled("a key without a value", /a key without a value/, emptyDict, mark, int(1), [0x75]),
  pickled("a dictionary for a key", /has dictionary for a key/, emptyDict, emptyDict, int(1), [0x73]),
  pickled("a dictionary in itself as a key", /has dictionary for a key/, emptyDict, put(0), get(0), int(1), [
    0x73,
  ]),
  pickled("a repeated key", /repeats the key "w"/, dict(["w", tensor()], ["w", tensor()])),
  pickled("text that is not UTF-8", /not valid UTF-8/, [0x58, 2, 0, 0, 0, 0xc0, 0x80]),
  pickled("a text of 4 GiB", /ends at byte \d+ but needs/, [0x58, 0xff, 0xff, 0xff, 0xff]),
  pickled("a text of 2^64 bytes", /opcode 0x8d/, [0x8d, ...repeat([0xff], 8)]),
  pickled("an integer of 255 bytes", /integer of 255 bytes/, [0x8a, 255, ...repeat([0x7f], 255)]),
  pickled("an integer of 4 GiB", /opcode 0x8b/, [0x8b, 0xff, 0xff, 0xff, 0x7f]),
  pickled("a global of a MiB", /has no end within/, [0x63, ...repeat([0x61], 1 << 20)]),
  pickled("a stack without end", new RegExp(`more than ${MAX_STACK} values`), repeat([0x7d], MAX_STACK + 1)),
  pickled("marks without end", new RegExp(`more than ${MAX_STACK} values`), repeat(mark, MAX_STACK + 1)),
  pickled("a MiB of nested tuples", new RegExp(`more than ${MAX_STEPS} opcodes`), [
    0x29,
    ...repeat([0x85], MAX_STEPS),
  ]),
  pickled(
    "a list that grows without end",
    new RegExp(`more than ${MAX_STEPS} opcodes`),
    emptyList,
    repeat([0x7d, 0x61], MAX_STEPS / 2),
  ),
];

const TENSORS: readonly TorchAttack[] = [
  wrongTensor(
    "a storage that is not there",
    /storage "7", which is not in the archive/,
    tensor([1], [1], 0, storage("FloatStorage", "7")),
  ),
  wrongTensor(
    "a storage key that climbs",
    /storage "..\/data.pkl", which is not/,
    tensor([1], [1], 0, storage("FloatStorage", "../data.pkl")),
  ),
  wrongTensor(
    "a storage longer than its entry",
    /should have 7 elements of F32, but the archive has 24 bytes/,
    tensor([2, 3], [3, 1], 0, storage("FloatStorage", "0", 7)),
  ),
  wrongTensor(
    "a storage shorter than its entry",
    /should have 5 elements/,
    tensor([1], [1], 0, storage("FloatStorage", "0", 5)),
  ),
  wrongTensor(
    "a storage of 2^62 elements",
    /integer past 2\^53/,
    tensor([1], [1], 0, storage("FloatStorage", "0", 2n ** 62n)),
  ),
  wrongTensor(
    "a storage of -6 elements",
    /should have -6 elements/,
    tensor([1], [1], 0, storage("FloatStorage", "0", -6)),
  ),
  wrongTensor(
    "a storage of another type",
    /6 elements of F64, but the archive has 24 bytes/,
    tensor([2, 3], [3, 1], 0, storage("DoubleStorage")),
  ),
  wrongTensor("a persistent id that is a number", /persistent id is not that of a storage/, [
    ...int(3),
    0x51,
  ]),
  wrongTensor("a tensor of no storage", /a tensor's storage is number/, tensor([1], [1], 0, int(3))),
  wrongTensor(
    "a tensor past its storage",
    /needs elements 0\.\.7 of a storage of 24 bytes/,
    tensor([7], [1]),
  ),
  wrongTensor("an offset past its storage", /needs elements 4\.\.7/, tensor([3], [1], 4)),
  wrongTensor("an offset past an empty tensor's storage", /needs elements 7\.\.7/, tensor([0], [1], 7)),
  wrongTensor("an offset of 2^53 - 1", /needs elements/, tensor([1], [1], 2n ** 53n - 1n)),
  wrongTensor("a negative offset", /offset is -1/, tensor([1], [1], -1)),
  wrongTensor("a negative size", /size holds -2/, tensor([-2], [1])),
  wrongTensor(
    "a size whose product is past 2^53",
    /size is \[4294967296,4294967296\]/,
    tensor([2 ** 32, 2 ** 32], [2 ** 32, 1]),
  ),
  wrongTensor("a negative stride", /stride holds -1/, tensor([2], [-1])),
  wrongTensor("strides that repeat", /strides \[0\], not row by row/, tensor([6], [0])),
  wrongTensor("strides of a transpose", /strides \[1,2\], not row by row/, tensor([3, 2], [1, 2])),
  wrongTensor("strides that are too few", /size is \[2,3\] but its stride \[1\]/, tensor([2, 3], [1])),
  wrongTensor("65 axes", /has 65 axes/, tensor(Array(65).fill(1), Array(65).fill(1))),
  wrongTensor(
    "too few arguments",
    /offset is undefined/,
    call(global("torch._utils", "_rebuild_tensor_v2"), storage()),
  ),
  wrongTensor(
    "a tensor that is stored conjugated",
    /stored conjugated or negated/,
    call(
      global("torch._utils", "_rebuild_tensor_v2"),
      storage(),
      int(0),
      ints([6]),
      ints([1]),
      [0x89],
      orderedDict(),
      dict(["conj", [0x88]]),
    ),
  ),
  wrongTensor(
    "a parameter of no tensor",
    /parameter is made of dictionary/,
    call(global("torch._utils", "_rebuild_parameter"), emptyDict),
  ),
  pickled("a tensor alone", /holds tensor, not a state dict/, tensor()),
  pickled("a list of tensors", /holds list/, emptyList, tensor(), [0x61]),
  pickled(
    "a state dict within another",
    /"state_dict" is dictionary, not a tensor/,
    dict(["state_dict", dict(["w", tensor()])]),
  ),
  pickled("a number for a name", /0 is tensor/, emptyDict, int(0), tensor(), [0x73]),
  pickled("a name that safetensors keeps", /cannot hold.*__metadata__/, dict(["__metadata__", tensor()])),
];

const ARCHIVES: readonly TorchAttack[] = [
  { name: "nothing", message: /cannot be read/, file: () => NO_BYTES },
  { name: "zeros", message: /cannot be read/, file: () => new Uint8Array(4096) },
  { name: "half a file", message: /cannot be read/, file: () => torchFile().slice(0, 200) },
  {
    name: "bytes after the archive",
    message: /cannot be read/,
    file: () => Uint8Array.from([...torchFile(), 0]),
  },
  {
    name: "bytes before the archive",
    message: /prepended|cannot be read|no header/,
    file: () => Uint8Array.from([...Array(64).fill(0), ...torchFile()]),
  },
  {
    name: "a git-lfs pointer",
    message: /git-lfs pointer/,
    file: () => new TextEncoder().encode("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
  },
  archive("no entries", /prepended data/, () => []),
  archive("no pickle", /has no data.pkl/, () => torchEntries().slice(1)),
  archive(
    "no root folder",
    /has no root folder/,
    () => torchEntries().map((e) => ({ ...e, name: e.name.slice(4) })),
  ),
  entry("two roots", /"other\/data\/1" is outside the root folder "any\/"/, {
    name: "other/data/1",
    data: NO_BYTES,
  }),
  entry("a repeated name", /duplicate filename/, { name: "any/data/0", data: new Uint8Array(24) }),
  entry("a name that climbs", /Unsafe filename/, { name: "any/../../etc/x", data: NO_BYTES }),
  entry("an absolute name", /Unsafe filename/, { name: "/etc/x", data: NO_BYTES }),
  entry("a drive", /Unsafe filename/, { name: "C:/x", data: NO_BYTES }),
  entry("a backslash", /Unsafe filename|outside the root/, { name: "any\\..\\x", data: NO_BYTES }),
  entry("a folder", /is a folder/, { name: "any/data/", data: NO_BYTES }),
  entry("a compressed entry", /is compressed \(method 8\)/, {
    name: "any/data/1",
    data: new Uint8Array(8),
    method: 8,
  }),
  entry("a bomb", /is compressed/, {
    name: "any/data/1",
    data: new Uint8Array(8),
    method: 8,
    size: 2 ** 40,
    compressedSize: 8,
  }),
  entry("a stored bomb", /is compressed \(method 0\)/, {
    name: "any/data/1",
    data: new Uint8Array(8),
    size: 2 ** 40,
    compressedSize: 8,
  }),
  entry("an encrypted entry", /is encrypted/, { name: "any/data/1", data: new Uint8Array(16), flags: 0x801 }),
  entry("an entry past the end of the file", /claims 1099511627776 bytes/, {
    name: "any/data/1",
    data: NO_BYTES,
    size: 2 ** 40,
  }),
  entry("an entry past 2^53", /cannot be read|claims/, { name: "any/data/1", data: NO_BYTES, size: 2 ** 62 }),
  entry("an entry with another name in its own header", /another name/, {
    name: "any/data/1",
    data: NO_BYTES,
    localName: "any/data/2",
  }),
  entry("an entry on another's bytes", /another name|no header|inside/, {
    name: "any/data/1",
    data: new Uint8Array(24),
    begin: 0,
  }),
  entry("an entry in the middle of another", /no header of a stored entry/, {
    name: "any/data/1",
    data: NO_BYTES,
    begin: 44,
  }),
  archive(
    "an entry that runs into the next",
    /begins at byte \d+, inside "any\/data\/0"/,
    () => torchEntries().map((e) => e.name === "any/data/0" ? { ...e, size: 60 } : e),
  ),
  entry("big-endian data", /byte order is "big"/, {
    name: "any/byteorder",
    data: new TextEncoder().encode("big"),
  }),
  entry("an unknown byte order", /byte order is ""/, { name: "any/byteorder", data: NO_BYTES }),
  archive("a pickle past its limit", new RegExp(`above the limit of ${MAX_PICKLE_BYTES}`), () => [
    { name: "any/data.pkl", data: new Uint8Array(MAX_PICKLE_BYTES + 1) },
  ]),
  archive(
    "entries without end",
    new RegExp(`more than ${MAX_ENTRIES} entries`),
    () => Array.from({ length: MAX_ENTRIES + 1 }, (_, i) => ({ name: `a/${i}`, data: NO_BYTES })),
  ),
  patched("a directory past the end", /cannot be read|no header/, 6, [0xf0, 0xff, 0xff, 0x7f]),
  patched("a directory of 4 GiB", /directory of 4294967294 bytes does not end/, 10, [0xfe, 0xff, 0xff, 0xff]),
  patched("more entries than there are", /cannot be read|has /, 14, [9, 0, 9, 0]),
];

/** Every attack. */
export const TORCH_ATTACKS: readonly TorchAttack[] = [...CODE, ...MACHINE, ...TENSORS, ...ARCHIVES];
