/**
 * Hostile weight files in the format of torch.save, generated on demand, each with the error that the reader must throw. No file is larger
 * than a few MiB.
 */

import { MAX_ENTRIES } from "../../src/checkpoint/torch/zip_archive.ts";
import { MAX_PICKLE_BYTES } from "../../src/checkpoint/torch/read_torch_file.ts";
import { MAX_STACK, MAX_STEPS } from "../../src/checkpoint/torch/unpickler.ts";
import { pickle, torchEntries, torchFile, zip, type ZipEntry } from "../support/torch_archive.ts";

/** A file that the reader must refuse. */
export interface TorchAttack {
  readonly name: string;
  /** A pattern that the error's message must match. */
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

/** Describes a file whose pickle consists of the given opcodes. */
function withPickle(name: string, message: RegExp, ...body: number[][]): TorchAttack {
  return { name, message, file: () => torchFile(pickle.file(...body)) };
}

/** Describes a file whose pickle calls a Python function when it is loaded. */
function withCall(module: string, name: string, ...args: number[][]): TorchAttack {
  const message = new RegExp(`uses "${module}.${name}", which a state dict of dense tensors does not need`);
  return withPickle(`a call of ${module}.${name}`, message, call(global(module, name), ...args));
}

/** Describes a file with one malformed tensor. */
function withTensor(name: string, message: RegExp, value: number[]): TorchAttack {
  return withPickle(name, message, dict(["w", value]));
}

/** Describes a file whose archive consists of the given entries. */
function withArchive(name: string, message: RegExp, entries: () => ZipEntry[]): TorchAttack {
  return { name, message, file: () => zip(entries()) };
}

/** Describes a valid file with one more entry. */
function withEntry(name: string, message: RegExp, more: ZipEntry): TorchAttack {
  return withArchive(name, message, () => [...torchEntries(), more]);
}

function repeat(bytes: readonly number[], count: number): number[] {
  return Array.from({ length: bytes.length * count }, (_, i) => bytes[i % bytes.length]);
}

/** Describes a valid file in which the bytes from `fromEnd` before its end are replaced. */
function withPatch(name: string, message: RegExp, fromEnd: number, bytes: number[]): TorchAttack {
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
  withCall("os", "system", pickle.text("id")),
  withCall("posix", "system", pickle.text("id")),
  withCall("builtins", "eval", pickle.text("1")),
  withCall("builtins", "getattr", pickle.text("a"), pickle.text("b")),
  withCall("torch.hub", "load", pickle.text("a")),
  withCall("torch", "load", pickle.text("a")),
  withCall("torch.storage", "_load_from_bytes", pickle.text("a")),
  withCall("torch._utils", "_rebuild_sparse_tensor", ints([1])),
  withCall("torch", "ComplexFloatStorage"),
  withCall("__proto__", "constructor"),
  withPickle(
    "a global named through the prototype",
    /uses "torch.constructor"/,
    global("torch", "constructor"),
  ),
  withPickle(
    "a global whose name has spaces",
    /uses "torch FloatStorage.x"/,
    global("torch FloatStorage", "x"),
  ),
  withPickle("a global named with a newline", /uses "torch\.Fl"/, global("torch", "Fl\noatStorage")),
  withPickle(
    "a call of a storage class",
    /calls "torch FloatStorage"/,
    call(global("torch", "FloatStorage")),
  ),
  withPickle("a call of a number", /calls number/, call(int(3))),
  withPickle(
    "a call without a tuple",
    /calls a function with list/,
    global("collections", "OrderedDict"),
    emptyList,
    reduce,
  ),
  withPickle("a new object of a class", /opcode 0x81/, global("collections", "OrderedDict"), pickle.tuple(), [
    0x81,
  ]),
  withPickle("an instance", /opcode 0x69/, mark, [0x69, 0x61, 0x0a, 0x62, 0x0a]),
  withPickle("an extension code", /opcode 0x82/, [0x82, 1]),
  withPickle("an out-of-band buffer", /opcode 0x97/, [0x97]),
  withPickle("a text persistent id", /opcode 0x50/, [0x50, 0x61, 0x0a]),
  withPickle("attributes of a list", /adds to list, not to a dictionary/, emptyList, emptyDict, [0x62]),
  withPickle(
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
  withPickle("a pickle without a value", /takes a value from an empty stack/),
  withPickle("protocol 1", /protocol 1/, [0x80, 1]),
  withPickle("protocol 6", /protocol 6/, [0x80, 6]),
  withPickle("a memo that was never stored", /recalls the value 7, which it never stored/, get(7)),
  withPickle("a memo past 2^31", /recalls the value 4294967295/, get(0xffffffff)),
  withPickle("a memo of an empty stack", /empty stack/, put(0)),
  withPickle("a tuple without a mark", /lacks a mark/, [0x74]),
  withPickle("a value from before a mark", /empty stack/, int(1), mark, [0x85]),
  withPickle("items set without a dictionary", /adds to number/, int(1), mark, int(1), int(2), [0x75]),
  withPickle("a key without a value", /a key without a value/, emptyDict, mark, int(1), [0x75]),
  withPickle("a dictionary as a key", /has dictionary for a key/, emptyDict, emptyDict, int(1), [0x73]),
  withPickle(
    "a dictionary that contains itself as a key",
    /has dictionary for a key/,
    emptyDict,
    put(0),
    get(0),
    int(1),
    [
      0x73,
    ],
  ),
  withPickle("a repeated key", /repeats the key "w"/, dict(["w", tensor()], ["w", tensor()])),
  withPickle("text that is not UTF-8", /not valid UTF-8/, [0x58, 2, 0, 0, 0, 0xc0, 0x80]),
  withPickle("a text of 4 GiB", /ends at byte \d+ but needs/, [0x58, 0xff, 0xff, 0xff, 0xff]),
  withPickle("a text of 2^64 bytes", /opcode 0x8d/, [0x8d, ...repeat([0xff], 8)]),
  withPickle("an integer of 255 bytes", /integer of 255 bytes/, [0x8a, 255, ...repeat([0x7f], 255)]),
  withPickle("an integer of 4 GiB", /opcode 0x8b/, [0x8b, 0xff, 0xff, 0xff, 0x7f]),
  withPickle("a global of a MiB", /has no end within/, [0x63, ...repeat([0x61], 1 << 20)]),
  withPickle(
    "too many values on the stack",
    new RegExp(`more than ${MAX_STACK} values`),
    repeat([0x7d], MAX_STACK + 1),
  ),
  withPickle("too many marks", new RegExp(`more than ${MAX_STACK} values`), repeat(mark, MAX_STACK + 1)),
  withPickle("a MiB of nested tuples", new RegExp(`more than ${MAX_STEPS} opcodes`), [
    0x29,
    ...repeat([0x85], MAX_STEPS),
  ]),
  withPickle(
    "a list with too many items",
    new RegExp(`more than ${MAX_STEPS} opcodes`),
    emptyList,
    repeat([0x7d, 0x61], MAX_STEPS / 2),
  ),
];

const TENSORS: readonly TorchAttack[] = [
  withTensor(
    "a missing storage",
    /storage "7", which is not in the archive/,
    tensor([1], [1], 0, storage("FloatStorage", "7")),
  ),
  withTensor(
    "a storage key that contains ..",
    /storage "..\/data.pkl", which is not/,
    tensor([1], [1], 0, storage("FloatStorage", "../data.pkl")),
  ),
  withTensor(
    "a storage longer than its entry",
    /should have 7 elements of F32, but the archive has 24 bytes/,
    tensor([2, 3], [3, 1], 0, storage("FloatStorage", "0", 7)),
  ),
  withTensor(
    "a storage shorter than its entry",
    /should have 5 elements/,
    tensor([1], [1], 0, storage("FloatStorage", "0", 5)),
  ),
  withTensor(
    "a storage of 2^62 elements",
    /integer past 2\^53/,
    tensor([1], [1], 0, storage("FloatStorage", "0", 2n ** 62n)),
  ),
  withTensor(
    "a storage of -6 elements",
    /should have -6 elements/,
    tensor([1], [1], 0, storage("FloatStorage", "0", -6)),
  ),
  withTensor(
    "a storage of another type",
    /6 elements of F64, but the archive has 24 bytes/,
    tensor([2, 3], [3, 1], 0, storage("DoubleStorage")),
  ),
  withTensor("a persistent id that is a number", /persistent id is not that of a storage/, [
    ...int(3),
    0x51,
  ]),
  withTensor(
    "a tensor whose storage is a number",
    /a tensor's storage is number/,
    tensor([1], [1], 0, int(3)),
  ),
  withTensor(
    "a tensor past its storage",
    /needs elements 0\.\.7 of a storage of 24 bytes/,
    tensor([7], [1]),
  ),
  withTensor("an offset past its storage", /needs elements 4\.\.7/, tensor([3], [1], 4)),
  withTensor("an offset past an empty tensor's storage", /needs elements 7\.\.7/, tensor([0], [1], 7)),
  withTensor("an offset of 2^53 - 1", /needs elements/, tensor([1], [1], 2n ** 53n - 1n)),
  withTensor("a negative offset", /offset is -1/, tensor([1], [1], -1)),
  withTensor("a negative size", /size holds -2/, tensor([-2], [1])),
  withTensor(
    "a size whose product is past 2^53",
    /size is \[4294967296,4294967296\]/,
    tensor([2 ** 32, 2 ** 32], [2 ** 32, 1]),
  ),
  withTensor("a negative stride", /stride holds -1/, tensor([2], [-1])),
  withTensor("strides that repeat", /strides \[0\], not row by row/, tensor([6], [0])),
  withTensor("strides of a transpose", /strides \[1,2\], not row by row/, tensor([3, 2], [1, 2])),
  withTensor("strides that are too few", /size is \[2,3\] but its stride \[1\]/, tensor([2, 3], [1])),
  withTensor("65 axes", /has 65 axes/, tensor(Array(65).fill(1), Array(65).fill(1))),
  withTensor(
    "too few arguments",
    /offset is undefined/,
    call(global("torch._utils", "_rebuild_tensor_v2"), storage()),
  ),
  withTensor(
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
  withTensor(
    "a parameter that contains no tensor",
    /parameter is made of dictionary/,
    call(global("torch._utils", "_rebuild_parameter"), emptyDict),
  ),
  withPickle("a tensor without a state dict", /holds tensor, not a state dict/, tensor()),
  withPickle("a list of tensors", /holds list/, emptyList, tensor(), [0x61]),
  withPickle(
    "a state dict within another",
    /"state_dict" is dictionary, not a tensor/,
    dict(["state_dict", dict(["w", tensor()])]),
  ),
  withPickle("a number as a name", /0 is tensor/, emptyDict, int(0), tensor(), [0x73]),
  withPickle(
    "a name that safetensors reserves",
    /cannot hold.*__metadata__/,
    dict(["__metadata__", tensor()]),
  ),
];

const ARCHIVES: readonly TorchAttack[] = [
  { name: "an empty file", message: /cannot be read/, file: () => NO_BYTES },
  { name: "a file of zeros", message: /cannot be read/, file: () => new Uint8Array(4096) },
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
  withArchive("an archive without entries", /prepended data/, () => []),
  withArchive("an archive without a pickle", /has no data.pkl/, () => torchEntries().slice(1)),
  withArchive(
    "an archive without a root folder",
    /has no root folder/,
    () => torchEntries().map((e) => ({ ...e, name: e.name.slice(4) })),
  ),
  withEntry("an archive with two root folders", /"other\/data\/1" is outside the root folder "any\/"/, {
    name: "other/data/1",
    data: NO_BYTES,
  }),
  withEntry("two entries with the same name", /duplicate filename/, {
    name: "any/data/0",
    data: new Uint8Array(24),
  }),
  withEntry("a name that contains ..", /Unsafe filename/, { name: "any/../../etc/x", data: NO_BYTES }),
  withEntry("an absolute name", /Unsafe filename/, { name: "/etc/x", data: NO_BYTES }),
  withEntry("a name with a drive", /Unsafe filename/, { name: "C:/x", data: NO_BYTES }),
  withEntry("a name with backslashes", /Unsafe filename|outside the root/, {
    name: "any\\..\\x",
    data: NO_BYTES,
  }),
  withEntry("an entry that is a folder", /is a folder/, { name: "any/data/", data: NO_BYTES }),
  withEntry("a compressed entry", /is compressed \(method 8\)/, {
    name: "any/data/1",
    data: new Uint8Array(8),
    method: 8,
  }),
  withEntry("a compressed entry that claims a TiB", /is compressed/, {
    name: "any/data/1",
    data: new Uint8Array(8),
    method: 8,
    size: 2 ** 40,
    compressedSize: 8,
  }),
  withEntry("a stored entry that claims a TiB", /is compressed \(method 0\)/, {
    name: "any/data/1",
    data: new Uint8Array(8),
    size: 2 ** 40,
    compressedSize: 8,
  }),
  withEntry("an encrypted entry", /is encrypted/, {
    name: "any/data/1",
    data: new Uint8Array(16),
    flags: 0x801,
  }),
  withEntry("an entry past the end of the file", /claims 1099511627776 bytes/, {
    name: "any/data/1",
    data: NO_BYTES,
    size: 2 ** 40,
  }),
  withEntry("an entry past 2^53", /cannot be read|claims/, {
    name: "any/data/1",
    data: NO_BYTES,
    size: 2 ** 62,
  }),
  withEntry("an entry with another name in its own header", /another name/, {
    name: "any/data/1",
    data: NO_BYTES,
    localName: "any/data/2",
  }),
  withEntry("an entry that uses the bytes of another", /another name|no header|inside/, {
    name: "any/data/1",
    data: new Uint8Array(24),
    begin: 0,
  }),
  withEntry("an entry in the middle of another", /no header of a stored entry/, {
    name: "any/data/1",
    data: NO_BYTES,
    begin: 44,
  }),
  withArchive(
    "an entry that overlaps the next one",
    /begins at byte \d+, inside "any\/data\/0"/,
    () => torchEntries().map((e) => e.name === "any/data/0" ? { ...e, size: 60 } : e),
  ),
  withEntry("big-endian data", /byte order is "big"/, {
    name: "any/byteorder",
    data: new TextEncoder().encode("big"),
  }),
  withEntry("an unknown byte order", /byte order is ""/, { name: "any/byteorder", data: NO_BYTES }),
  withArchive("a pickle above the size limit", new RegExp(`above the limit of ${MAX_PICKLE_BYTES}`), () => [
    { name: "any/data.pkl", data: new Uint8Array(MAX_PICKLE_BYTES + 1) },
  ]),
  withArchive(
    "too many entries",
    new RegExp(`more than ${MAX_ENTRIES} entries`),
    () => Array.from({ length: MAX_ENTRIES + 1 }, (_, i) => ({ name: `a/${i}`, data: NO_BYTES })),
  ),
  withPatch("a directory past the end", /cannot be read|no header/, 6, [0xf0, 0xff, 0xff, 0x7f]),
  withPatch("a directory of 4 GiB", /directory of 4294967294 bytes does not end/, 10, [
    0xfe,
    0xff,
    0xff,
    0xff,
  ]),
  withPatch("a directory that claims too many entries", /cannot be read|has /, 14, [9, 0, 9, 0]),
];

/** All attacks on the torch reader. */
export const TORCH_ATTACKS: readonly TorchAttack[] = [...CODE, ...MACHINE, ...TENSORS, ...ARCHIVES];
