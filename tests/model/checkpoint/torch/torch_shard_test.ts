/** Compares torch files with safetensors files of the same values. Hostile files are tested in tests/attacks. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { denoFileSystem } from "../../../../src/cli/files/deno_file_system.ts";
import type { Shard } from "../../../../src/model/checkpoint/weight_files.ts";
import { readTorchShard, safetensorsName } from "../../../../src/model/checkpoint/torch/torch_shard.ts";
import { decode } from "../../../../src/tensor/safetensors/decode.ts";
import { encode } from "../../../../src/tensor/safetensors/encode.ts";
import type { HostTensor } from "../../../../src/tensor/host_tensor.ts";
import { memoryFile, sparseFile } from "../../../support/memory_file.ts";
import { pickle, torchEntries, torchFile, zipSegments } from "../../../support/torch_archive.ts";

const FIXTURES = fileURLToPath(new URL("../../../fixtures/torch", import.meta.url));
const VALUES = new Uint8Array(Float32Array.of(0, 1, 2, 3, 4, 5).buffer);

async function withFixture<T>(name: string, body: (shard: Shard) => Promise<T>): Promise<T> {
  const file = await denoFileSystem.open(`${FIXTURES}/${name}`);
  try {
    return await body(await readTorchShard(name, file));
  } finally {
    await file.close();
  }
}

async function readAll({ header, file, position }: Shard): Promise<Map<string, HostTensor>> {
  const tensors = new Map<string, HostTensor>();
  for (const info of header.tensors) {
    const { name, dtype, shape, begin, end } = info;
    tensors.set(name, { dtype, shape, data: await file.read(position(info), end - begin) });
  }
  return tensors;
}

async function expectedTensors(name: string): Promise<Map<string, HostTensor>> {
  return decode(await Deno.readFile(`${FIXTURES}/${name}`)).tensors;
}

/** Sorts tensors by name, because the two files contain them in different orders. */
function sortByName<T>(tensors: ReadonlyMap<string, T>): [string, T][] {
  return [...tensors].sort(([a], [b]) => a < b ? -1 : 1);
}

describe("readTorchShard", () => {
  it("reads every dtype, scalars, buffers, parameters and slices of storages bit for bit", () =>
    withFixture("kinds.bin", async (shard) => {
      const tensors = await readAll(shard);
      assert.deepEqual(sortByName(tensors), sortByName(await expectedTensors("kinds.safetensors")));
      assert.deepEqual(tensors.get("scalar")?.shape, []);
      assert.equal(tensors.get("empty")?.data.byteLength, 0);
    }));

  for (const protocol of [2, 4, 5]) {
    it(`reads pickle protocol ${protocol} and dtypes without a storage class`, () =>
      withFixture(`protocol${protocol}.bin`, async (shard) => {
        const tensors = await readAll(shard);
        const expected = await expectedTensors("protocol.safetensors");
        assert.deepEqual([...tensors.keys()].sort(), [...expected.keys()].sort());
        for (const [name, { dtype, shape, data }] of tensors) {
          assert.equal(dtype, name.toUpperCase());
          assert.deepEqual({ shape, data }, {
            shape: expected.get(name)?.shape,
            data: expected.get(name)?.data,
          });
        }
      }));
  }

  it("encodes the header of a valid safetensors copy with aligned tensors", () =>
    withFixture("kinds.bin", async (shard) => {
      const tensors = await readAll(shard);
      const header = await shard.readHeaderBytes();
      const copy = new Uint8Array(header.byteLength + shard.header.dataBytes);
      copy.set(header);
      for (const { name, begin } of shard.header.tensors) {
        copy.set(tensors.get(name)?.data ?? [], header.byteLength + begin);
      }
      assert.equal(header.byteLength, shard.header.headerBytes);
      assert.deepEqual(decode(copy), { header: shard.header, tensors });
      assert.deepEqual(copy, encode(tensors, { format: "pt" }));
      for (const { name, begin, end, shape } of shard.header.tensors) {
        const width = (end - begin) / (shape.reduce((product, extent) => product * extent, 1) || 1);
        assert.equal(begin % (width || 1), 0, name);
      }
    }));

  it("reads files of older versions, which do not state the byte order, with any root folder", async () => {
    const tensors = await readAll(await readTorchShard("w.bin", memoryFile(torchFile())));
    assert.deepEqual([...tensors], [["w", { dtype: "F32", shape: [2, 3], data: VALUES }]]);
  });

  it("reads archives of more than 4 GiB, tensors of more than 2^32 bytes and offsets past 2^31 elements", async () => {
    const gap = 5 * 2 ** 30, elements = 3 * 2 ** 30;
    const [data, , version] = torchEntries(pickle.file(pickle.dict(
      ["w", pickle.tensor()],
      ["far", pickle.tensor([2, 1], [1, 1], elements - 2, pickle.storage("HalfStorage", "1", elements))],
      ["near", pickle.tensor([elements], [1], 0, pickle.storage("HalfStorage", "1", elements))],
    )));
    const { segments, byteLength } = zipSegments([
      data,
      // Only the last four bytes of this long storage are given. All bytes before them are zeros, which `sparseFile` adds.
      { name: "any/data/1", data: Uint8Array.of(1, 2, 3, 4), size: 2 * elements },
      { name: "any/data/0", data: VALUES, gap: gap + 2 * elements },
      version,
    ]);
    const storage = segments.find(({ bytes }) => bytes.length === 4);
    assert.ok(storage);
    const moved = segments.map((segment) =>
      segment === storage ? { ...segment, at: segment.at + 2 * elements - 4 } : segment
    );
    const shard = await readTorchShard("w.bin", sparseFile(moved, byteLength));
    const read = (index: number, length: number) => {
      const info = shard.header.tensors[index];
      return shard.file.read(shard.position(info) + (info.end - info.begin - length), length);
    };
    assert.deepEqual(shard.header.tensors.map(({ name }) => name), ["w", "far", "near"]);
    assert.ok(shard.position(shard.header.tensors[0]) > 2 ** 33);
    assert.deepEqual(await read(0, 24), VALUES);
    assert.deepEqual(await read(1, 4), Uint8Array.of(1, 2, 3, 4));
    assert.deepEqual(await read(2, 4), Uint8Array.of(1, 2, 3, 4));
  });

  it("reads an empty state dict", async () => {
    const { header } = await readTorchShard("w.bin", memoryFile(torchFile(pickle.file(pickle.dict()))));
    assert.deepEqual(header.tensors, []);
  });

  for (
    const [name, message] of [
      ["old_format.bin", /torch.save before 1.6. Convert it with Python: .*torch.load.*torch.save/],
      [
        "transposed.bin",
        /tensor \[3,2\] is stored with strides \[1,3\], not row by row; call contiguous\(\)/,
      ],
      ["sparse.bin", /uses "torch._utils._rebuild_sparse_tensor"/],
      ["module.bin", /uses "torch.nn.modules.linear.Linear"/],
      [
        "training.bin",
        /"state_dict" is dictionary, not a tensor; the file must hold a model's state_dict\(\) alone/,
      ],
    ] as const
  ) {
    it(`rejects ${name} and explains why`, () =>
      assert.rejects(withFixture(name, readAll), { name: "ModelError", message }));
  }
});

describe("safetensorsName", () => {
  it("always ends in .safetensors", () => {
    assert.equal(safetensorsName("pytorch_model.bin"), "model.safetensors");
    assert.equal(safetensorsName("pytorch_model-00001-of-00002.bin"), "model-00001-of-00002.safetensors");
    assert.equal(safetensorsName("weights.pt"), "weights.pt.safetensors");
  });
});
