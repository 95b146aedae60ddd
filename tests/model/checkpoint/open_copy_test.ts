import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { type Checkpoint, openCheckpoint } from "../../../src/model/checkpoint/checkpoint.ts";
import { findCompleteCopy } from "../../../src/model/checkpoint/write/complete_copy.ts";
import { type CopyOptions, type OpenCopy, openCopy } from "../../../src/model/checkpoint/write/open_copy.ts";
import { convertReplacement } from "../../../src/model/checkpoint/tensor_source.ts";
import { planCopy } from "../../../src/model/checkpoint/write/write_plan.ts";
import { encode } from "../../../src/tensor/safetensors/encode.ts";
import { floatsToBytes } from "../../../src/tensor/dtype.ts";
import type { HostTensor } from "../../../src/tensor/host_tensor.ts";
import { patternTensor, shardedCheckpoint, writeFiles } from "../../support/checkpoint_files.ts";
import { listNames, readFolder, withTemporaryFolder } from "../../support/temporary_folder.ts";

const FIRST = "model-00001-of-00002.safetensors";
const SECOND = "model-00002-of-00002.safetensors";

interface CopySetup {
  readonly source: string;
  readonly target: string;
  readonly checkpoint: Checkpoint;
  /** Opens a copy of `checkpoint` in `target`. */
  open(options?: CopyOptions): Promise<OpenCopy>;
}

/** Runs `body` with a sharded checkpoint and the path of a folder for its copy, which does not exist yet. */
function withCopySetup(body: (setup: CopySetup) => Promise<void>): Promise<void> {
  return withTemporaryFolder(async (folder) => {
    const source = `${folder}/source`, target = `${folder}/deep/target`;
    await Deno.mkdir(source);
    await writeFiles(source, shardedCheckpoint());
    const checkpoint = await openCheckpoint(source, denoFileSystem);
    const open = (options?: CopyOptions) => openCopy(planCopy(checkpoint), target, denoFileSystem, options);
    await body({ source, target, checkpoint, open }).finally(() => checkpoint.close());
  });
}

describe("openCopy", () => {
  it("copies every file bit for bit, but leaves out weight files that are not safetensors", () =>
    withCopySetup(async ({ source, target, open }) => {
      await (await (await open()).complete()).publish();
      assert.deepEqual(listNames(target), listNames(source).filter((name) => name !== "pytorch_model.bin"));
      for (const name of listNames(target)) {
        assert.deepEqual(
          await Deno.readFile(`${target}/${name}`),
          await Deno.readFile(`${source}/${name}`),
          name,
        );
      }
    }));

  it("copies the files in folders, but no hidden folder, no other checkpoint and no run, and removes new folders if it is aborted", () =>
    withTemporaryFolder(async (folder) => {
      const source = `${folder}/source`, target = `${folder}/target`, outside = `${folder}/outside`;
      for (const name of ["assets/deep", ".git", "other", "run/.pare", "empty"]) {
        await Deno.mkdir(`${source}/${name}`, { recursive: true });
      }
      await writeFiles(source, shardedCheckpoint());
      const copied = { "assets/figure.svg": "<svg/>", "assets/deep/text.md": "deep" };
      const left = {
        "assets/onnx.onnx": "w",
        ".git/HEAD": "h",
        "other/config.json": "{}",
        "other/a": "a",
        "run/b": "b",
      };
      await writeFiles(source, { ...copied, ...left });
      await Deno.mkdir(outside);
      await Deno.writeTextFile(`${outside}/private`, "p");
      await Deno.symlink(outside, `${source}/link`);
      const checkpoint = await openCheckpoint(source, denoFileSystem);
      const open = () => openCopy(planCopy(checkpoint), target, denoFileSystem);
      const aborted = await open();
      await aborted.complete();
      await aborted.abort();
      await assert.rejects(Deno.stat(target), Deno.errors.NotFound);
      const complete = await (await open()).complete();
      assert.deepEqual(
        await findCompleteCopy(planCopy(checkpoint), target, denoFileSystem, complete.digests),
        complete,
      );
      await complete.publish();
      const nested = [...await readFolder(target)].filter(([name]) => name.includes("/", 1));
      assert.deepEqual(
        nested.map(([name, bytes]) => [name.slice(1), new TextDecoder().decode(bytes)]),
        Object.entries(copied).toSorted(),
      );
      await Deno.remove(target, { recursive: true });
      await Deno.mkdir(target);
      await Deno.symlink(outside, `${target}/assets`);
      const linked = await openCopy(planCopy(checkpoint), target, denoFileSystem, { overwrite: true });
      await assert.rejects(
        linked.complete(),
        /target\/assets: is a link to another folder; write to another folder/,
      );
      await linked.abort();
      assert.deepEqual([...Deno.readDirSync(outside)].map(({ name }) => name), ["private"]);
      await checkpoint.close();
    }));

  it("writes replaced tensors at their offsets and does not change the other tensors", () =>
    withCopySetup(async ({ target, open }) => {
      const copy = await open();
      const replaced = { a: patternTensor("F16", [3, 5], 70), e: patternTensor("F16", [1], 71) };
      const d = patternTensor("F16", [7], 72);
      await Promise.all([
        ...Object.entries(replaced).map(([name, tensor]) => copy.replace(name, tensor)),
        copy.replace("d", d),
      ]);
      await (await copy.complete()).publish();
      const files = shardedCheckpoint() as Record<string, Record<string, HostTensor>>;
      const first = encode({ ...files[FIRST], a: replaced.a }, { format: "pt" });
      const second = encode({ ...files[SECOND], d, e: replaced.e }, { format: "pt" });
      assert.deepEqual(await Deno.readFile(`${target}/${FIRST}`), new Uint8Array(first));
      assert.deepEqual(await Deno.readFile(`${target}/${SECOND}`), new Uint8Array(second));
    }));

  it("writes a replacement that is converted to the dtype of the original, and keeps the second of two replacements", () =>
    withCopySetup(async ({ target, checkpoint, open }) => {
      const copy = await open();
      const values = Float32Array.of(0, -1.5, 3.14159, 65504, 1e-7, -0);
      await copy.replace("c", patternTensor("BF16", [2, 3], 9));
      const floats: HostTensor = { dtype: "F32", shape: [2, 3], data: new Uint8Array(values.buffer) };
      await assert.rejects(copy.replace("c", floats), /replace c: needs dtype BF16, got F32/);
      await copy.replace("c", convertReplacement(checkpoint, "c", floats));
      await (await copy.complete()).publish();
      const copied = await openCheckpoint(target, denoFileSystem);
      assert.deepEqual(await copied.tensor("c"), {
        dtype: "BF16",
        shape: [2, 3],
        data: floatsToBytes(values, "BF16"),
      });
      await copied.close();
    }));

  it("rejects replacements with another shape, an incompatible dtype or too few bytes", () =>
    withCopySetup(async ({ open }) => {
      const copy = await open();
      const shape = { name: "RangeError", message: /replace a: needs shape \[3,5\], got \[5,3\]/ };
      await assert.rejects(copy.replace("a", patternTensor("F16", [5, 3], 1)), shape);
      const u8: HostTensor = { dtype: "U8", shape: [3, 5], data: new Uint8Array(15) };
      await assert.rejects(copy.replace("a", u8), /replace a: needs dtype F16, got U8/);
      const short: HostTensor = { dtype: "F16", shape: [3, 5], data: new Uint8Array(28) };
      await assert.rejects(copy.replace("a", short), /replace a: needs 30 bytes, got 28/);
      await assert.rejects(copy.replace("z", u8), /has no tensor z; the nearest is/);
      await copy.abort();
    }));

  it("uses temporary names until it is published, and removes all files and the new folder if it is aborted", () =>
    withCopySetup(async ({ target, open }) => {
      const copy = await open();
      await copy.replace("d", patternTensor("F16", [7], 8));
      assert.deepEqual(listNames(target), [`${SECOND}.partial`]);
      await copy.abort();
      assert.throws(() => Deno.statSync(target), Deno.errors.NotFound);
    }));

  it("rejects a folder with files unless `overwrite` is set, and then removes the old weights", () =>
    withCopySetup(async ({ target, open }) => {
      await Deno.mkdir(target, { recursive: true });
      await writeFiles(target, {
        "model.safetensors": {},
        "config.json": { old: true },
        "notes.txt": "mine",
      });
      await assert.rejects(open(), { name: "ModelError", message: /target: is not empty/ });
      await (await (await open({ overwrite: true })).complete()).publish();
      assert.ok(!listNames(target).includes("model.safetensors"));
      assert.equal(await Deno.readTextFile(`${target}/config.json`), '{"model_type":"opt"}');
      assert.equal(await Deno.readTextFile(`${target}/notes.txt`), "mine");
      await (await openCheckpoint(target, denoFileSystem)).close();
    }));

  it("gives nobody more rights to a copy than to the original, and its owner the right to write", () =>
    withCopySetup(async ({ source, target }) => {
      for (const name of listNames(source)) await Deno.chmod(`${source}/${name}`, 0o400);
      const checkpoint = await openCheckpoint(source, denoFileSystem);
      const complete =
        await (await openCopy(planCopy(checkpoint), target, denoFileSystem, { extraFiles: ["pare.json"] }))
          .complete({ makeExtras: () => Promise.resolve(new Map([["pare.json", "{}"]])) });
      await complete.publish();
      await checkpoint.close();
      for (const name of listNames(target)) {
        assert.equal((await Deno.stat(`${target}/${name}`)).mode! & 0o777, 0o600, name);
      }
    }));

  it("rejects the folder of the checkpoint itself, even by the path of a link", () =>
    withCopySetup(async ({ source, checkpoint }) => {
      const alias = `${source}/../alias`;
      await Deno.symlink(source, alias);
      for (const folder of [source, alias]) {
        const opening = openCopy(planCopy(checkpoint), folder, denoFileSystem, { overwrite: true });
        await assert.rejects(opening, /is the checkpoint itself/);
      }
    }));
});

describe("findCompleteCopy", () => {
  it("finds a copy that an earlier process completed, which can be published more than once", () =>
    withCopySetup(async ({ source, target, checkpoint, open }) => {
      const extraFiles = ["pare.json"];
      const { digests } = await (await open({ extraFiles })).complete({
        makeExtras: () => Promise.resolve(new Map([["pare.json", "1"]])),
      });
      assert.ok(listNames(target).every((name) => name.endsWith(".partial")));
      for (let times = 0; times < 2; times++) {
        await (await findCompleteCopy(planCopy(checkpoint), target, denoFileSystem, digests, extraFiles))
          .publish();
        const expected = listNames(source).filter((name) => name !== "pytorch_model.bin");
        assert.deepEqual(listNames(target), [...expected, ...extraFiles].sort());
      }
    }));

  it("refuses a copy in which a file was changed, cut short, lengthened or removed, and names the file", () =>
    withCopySetup(async ({ target, checkpoint, open }) => {
      const { digests } = await (await open()).complete();
      for (const name of listNames(target)) {
        const path = `${target}/${name}`, bytes = await Deno.readFile(path);
        const flipped = bytes.with(bytes.length >> 1, bytes[bytes.length >> 1] ^ 1);
        for (const damaged of [flipped, bytes.subarray(1), new Uint8Array([...bytes, 0]), undefined]) {
          await (damaged ? Deno.writeFile(path, damaged) : Deno.remove(path));
          await assert.rejects(findCompleteCopy(planCopy(checkpoint), target, denoFileSystem, digests), {
            name: "DamagedFileError",
            message: new RegExp(name.replace(".partial", "")),
          });
        }
        await Deno.writeFile(path, bytes);
      }
      await (await findCompleteCopy(planCopy(checkpoint), target, denoFileSystem, digests)).publish();
    }));
});

describe("OpenCopy.complete()", () => {
  it("refuses to complete a copy if a replaced tensor was changed after it was written", () =>
    withCopySetup(async ({ checkpoint, target, open }) => {
      const copy = await open();
      const digest = await copy.replace("a", patternTensor("F16", [3, 5], 70));
      await copy.sync("a");
      await copy.close();
      const { byteOffset } = checkpoint.locate("a");
      const path = `${target}/${FIRST}.partial`, bytes = await Deno.readFile(path);
      bytes[byteOffset + 3] ^= 0x40;
      await Deno.writeFile(path, bytes);
      const resumed = await open({ replaced: new Map([["a", digest]]) });
      await assert.rejects(resumed.complete(), {
        name: "DamagedFileError",
        message: /\.partial: a does not have the bytes that were written/,
      });
    }));
});
