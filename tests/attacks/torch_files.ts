/**
 * Hostile weight files in the format of PyTorch's `torch.save` (a zip archive with a pickle), each with the error that
 * the reader must throw for it. The files are created on demand and no larger than a few MiB.
 */

import { MAX_ENTRIES } from "../../src/checkpoint/torch/zip_archive.ts";
import { MAX_PICKLE_BYTES } from "../../src/checkpoint/torch/read_torch_file.ts";
import { MAX_STACK, MAX_STEPS } from "../../src/checkpoint/torch/unpickler.ts";
import { pickle, torchEntries, torchFile, zip, type ZipEntry } from "../support/torch_archive.ts";

/** A file that every reader must refuse. */
export interface TorchAttack {
  /** A short description that completes the sentence "The reader refuses …". */
  readonly name: string;
  /** A pattern that the error message must match. */
  readonly message: RegExp;
  /** Creates the file. */
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

/** An attack whose pickle consists of these opcodes. */
function pickled(name: string, message: RegExp, ...body: number[][]): TorchAttack {
  return { name, message, file: () => torchFile(pickle.file(...body)) };
}

/** An attack whose pickle calls this function when Python loads it. */
function calls(module: string, name: string, ...args: number[][]): TorchAttack {
  const message = new RegExp(`uses "${module}.${name}", which a state dict of dense tensors does not need`);
  return pickled(`a call of ${module}.${name}`, message, call(global(module, name), ...args));
}

/** An attack with one invalid tensor. */
function invalidTensor(name: string, message: RegExp, value: number[]): TorchAttack {
  return pickled(name, message, dict(["w", value]));
}

/** An attack that is an invalid archive with these entries. */
function archive(name: string, message: RegExp, entries: () => ZipEntry[]): TorchAttack {
  return { name, message, file: () => zip(entries()) };
}

/** An attack that is a valid archive with one more entry, which is invalid. */
function extraEntry(name: string, message: RegExp, more: ZipEntry): TorchAttack {
  return archive(name, message, () => [...torchEntries(), more]);
}

/** Returns `bytes`, repeated `count` times. */
function repeat(bytes: readonly number[], count: number): number[] {
  return Array.from({ length: bytes.length * count }, (_, i) => bytes[i % bytes.length]);
}

/** An attack that is a valid file with some bytes replaced, beginning `fromEnd` bytes before its end. */
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

/**
 * Pickles that call functions, name globals (importable Python names) or create objects that a state dict
 * does not need.
 */
const CODE: readonly TorchAttack[] = [
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

/**
 * Pickles that violate the rules of the pickle machine or exceed its limits. The machine has a stack of
 * values, marks on the stack, and a memo of values that can be recalled by index.
 */
const MACHINE: readonly TorchAttack[] = [
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

/**
 * Valid pickles that describe invalid tensors or an invalid state dict. A tensor refers to a storage, which
 * is an entry of the archive with the values.
 */
const TENSORS: readonly TorchAttack[] = [
  invalidTensor(
    "a storage that the archive does not have",
    /storage "7", which is not in the archive/,
    tensor([1], [1], 0, storage("FloatStorage", "7")),
  ),
  invalidTensor(
    "a storage key that leaves the folder",
    /storage "..\/data.pkl", which is not/,
    tensor([1], [1], 0, storage("FloatStorage", "../data.pkl")),
  ),
  invalidTensor(
    "a storage that is longer than its entry",
    /should have 7 elements of F32, but the archive has 24 bytes/,
    tensor([2, 3], [3, 1], 0, storage("FloatStorage", "0", 7)),
  ),
  invalidTensor(
    "a storage that is shorter than its entry",
    /should have 5 elements/,
    tensor([1], [1], 0, storage("FloatStorage", "0", 5)),
  ),
  invalidTensor(
    "a storage of 2^62 elements",
    /integer past 2\^53/,
    tensor([1], [1], 0, storage("FloatStorage", "0", 2n ** 62n)),
  ),
  invalidTensor(
    "a storage of -6 elements",
    /should have -6 elements/,
    tensor([1], [1], 0, storage("FloatStorage", "0", -6)),
  ),
  invalidTensor(
    "a storage of another type",
    /6 elements of F64, but the archive has 24 bytes/,
    tensor([2, 3], [3, 1], 0, storage("DoubleStorage")),
  ),
  invalidTensor("a persistent id that is a number", /persistent id is not that of a storage/, [
    ...int(3),
    0x51,
  ]),
  invalidTensor("a tensor without a storage", /a tensor's storage is number/, tensor([1], [1], 0, int(3))),
  invalidTensor(
    "a tensor that extends beyond its storage",
    /needs elements 0\.\.7 of a storage of 24 bytes/,
    tensor([7], [1]),
  ),
  invalidTensor("an offset that extends beyond the storage", /needs elements 4\.\.7/, tensor([3], [1], 4)),
  invalidTensor(
    "an empty tensor whose offset is beyond its storage",
    /needs elements 7\.\.7/,
    tensor([0], [1], 7),
  ),
  invalidTensor("an offset of 2^53 - 1", /needs elements/, tensor([1], [1], 2n ** 53n - 1n)),
  invalidTensor("a negative offset", /offset is -1/, tensor([1], [1], -1)),
  invalidTensor("a negative size", /size holds -2/, tensor([-2], [1])),
  invalidTensor(
    "a size whose product is above 2^53",
    /size is \[4294967296,4294967296\]/,
    tensor([2 ** 32, 2 ** 32], [2 ** 32, 1]),
  ),
  invalidTensor("a negative stride", /stride holds -1/, tensor([2], [-1])),
  invalidTensor("strides that repeat elements", /strides \[0\], not row by row/, tensor([6], [0])),
  invalidTensor("strides of a transpose", /strides \[1,2\], not row by row/, tensor([3, 2], [1, 2])),
  invalidTensor("fewer strides than extents", /size is \[2,3\] but its stride \[1\]/, tensor([2, 3], [1])),
  invalidTensor("a tensor with 65 axes", /has 65 axes/, tensor(Array(65).fill(1), Array(65).fill(1))),
  invalidTensor(
    "a tensor with too few arguments",
    /offset is undefined/,
    call(global("torch._utils", "_rebuild_tensor_v2"), storage()),
  ),
  invalidTensor(
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
  invalidTensor(
    "a parameter that is not made of a tensor",
    /parameter is made of dictionary/,
    call(global("torch._utils", "_rebuild_parameter"), emptyDict),
  ),
  pickled("a tensor instead of a state dict", /holds tensor, not a state dict/, tensor()),
  pickled("a list instead of a state dict", /holds list/, emptyList, tensor(), [0x61]),
  pickled(
    "a state dict within another",
    /"state_dict" is dictionary, not a tensor/,
    dict(["state_dict", dict(["w", tensor()])]),
  ),
  pickled("a number as a tensor name", /0 is tensor/, emptyDict, int(0), tensor(), [0x73]),
  pickled(
    "a tensor name that safetensors reserves",
    /cannot hold.*__metadata__/,
    dict(["__metadata__", tensor()]),
  ),
];

/** Invalid or hostile zip archives. */
const ARCHIVES: readonly TorchAttack[] = [
  { name: "an empty file", message: /cannot be read/, file: () => NO_BYTES },
  { name: "a file of zeros", message: /cannot be read/, file: () => new Uint8Array(4096) },
  { name: "a truncated file", message: /cannot be read/, file: () => torchFile().slice(0, 200) },
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
    name: "a Git LFS pointer",
    message: /git-lfs pointer/,
    file: () => new TextEncoder().encode("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
  },
  archive("an archive without entries", /prepended data/, () => []),
  archive("an archive without a pickle", /has no data.pkl/, () => torchEntries().slice(1)),
  archive(
    "an archive without a root folder",
    /has no root folder/,
    () => torchEntries().map((e) => ({ ...e, name: e.name.slice(4) })),
  ),
  extraEntry("an archive with two root folders", /"other\/data\/1" is outside the root folder "any\/"/, {
    name: "other/data/1",
    data: NO_BYTES,
  }),
  extraEntry("a repeated file name", /duplicate filename/, { name: "any/data/0", data: new Uint8Array(24) }),
  extraEntry("a file name that leaves the folder", /Unsafe filename/, {
    name: "any/../../etc/x",
    data: NO_BYTES,
  }),
  extraEntry("an absolute file name", /Unsafe filename/, { name: "/etc/x", data: NO_BYTES }),
  extraEntry("a file name with a drive letter", /Unsafe filename/, { name: "C:/x", data: NO_BYTES }),
  extraEntry("a file name with backslashes", /Unsafe filename|outside the root/, {
    name: "any\\..\\x",
    data: NO_BYTES,
  }),
  extraEntry("an entry that is a folder", /is a folder/, { name: "any/data/", data: NO_BYTES }),
  extraEntry("a compressed entry", /is compressed \(method 8\)/, {
    name: "any/data/1",
    data: new Uint8Array(8),
    method: 8,
  }),
  extraEntry("a compressed entry that expands to 1 TiB", /is compressed/, {
    name: "any/data/1",
    data: new Uint8Array(8),
    method: 8,
    size: 2 ** 40,
    compressedSize: 8,
  }),
  extraEntry("a stored entry that claims to expand to 1 TiB", /is compressed \(method 0\)/, {
    name: "any/data/1",
    data: new Uint8Array(8),
    size: 2 ** 40,
    compressedSize: 8,
  }),
  extraEntry("an encrypted entry", /is encrypted/, {
    name: "any/data/1",
    data: new Uint8Array(16),
    flags: 0x801,
  }),
  extraEntry("an entry that ends after the end of the file", /claims 1099511627776 bytes/, {
    name: "any/data/1",
    data: NO_BYTES,
    size: 2 ** 40,
  }),
  extraEntry("an entry with a size above 2^53", /cannot be read|claims/, {
    name: "any/data/1",
    data: NO_BYTES,
    size: 2 ** 62,
  }),
  extraEntry("an entry with a different name in its local header", /another name/, {
    name: "any/data/1",
    data: NO_BYTES,
    localName: "any/data/2",
  }),
  extraEntry("an entry that begins at the bytes of another", /another name|no header|inside/, {
    name: "any/data/1",
    data: new Uint8Array(24),
    begin: 0,
  }),
  extraEntry("an entry that begins inside another", /no header of a stored entry/, {
    name: "any/data/1",
    data: NO_BYTES,
    begin: 44,
  }),
  archive(
    "an entry that overlaps the next one",
    /begins at byte \d+, inside "any\/data\/0"/,
    () => torchEntries().map((e) => e.name === "any/data/0" ? { ...e, size: 60 } : e),
  ),
  extraEntry("big-endian data", /byte order is "big"/, {
    name: "any/byteorder",
    data: new TextEncoder().encode("big"),
  }),
  extraEntry("an empty byte order", /byte order is ""/, { name: "any/byteorder", data: NO_BYTES }),
  archive("a pickle above the size limit", new RegExp(`above the limit of ${MAX_PICKLE_BYTES}`), () => [
    { name: "any/data.pkl", data: new Uint8Array(MAX_PICKLE_BYTES + 1) },
  ]),
  archive(
    "too many entries",
    new RegExp(`more than ${MAX_ENTRIES} entries`),
    () => Array.from({ length: MAX_ENTRIES + 1 }, (_, i) => ({ name: `a/${i}`, data: NO_BYTES })),
  ),
  patched("a directory that begins after the end of the file", /cannot be read|no header/, 6, [
    0xf0,
    0xff,
    0xff,
    0x7f,
  ]),
  patched("a directory of 4 GiB", /directory of 4294967294 bytes does not end/, 10, [0xfe, 0xff, 0xff, 0xff]),
  patched("a directory that counts more entries than it has", /cannot be read|has /, 14, [9, 0, 9, 0]),
];

/** All attacks. */
export const TORCH_ATTACKS: readonly TorchAttack[] = [...CODE, ...MACHINE, ...TENSORS, ...ARCHIVES];
