/**
 * A weight file as torch.save writes it (since 1.6): a zip archive of `data.pkl`, a pickled state dict, and the storages its
 * tensors are cut from, `data/0`, `data/1`… Only where the tensors lie is read here. Files of the older format are
 * refused: there every storage's place is known only after the pickles before it.
 */

import { quote } from "../../safetensors/error.ts";
import { BYTES_PER_ELEMENT } from "../../tensor/dtype.ts";
import { ModelError } from "../../files/model_error.ts";
import type { ReadableFile } from "../../files/file_system.ts";
import { storageDtype } from "./globals.ts";
import { unpickle } from "./unpickler.ts";
import { kindOf, type PickleValue, type Storage, type TorchTensor } from "./values.ts";
import { type ArchiveEntry, readArchive } from "./zip_archive.ts";

/** A state dict of 15,000 tensors takes 5 MB. */
export const MAX_PICKLE_BYTES = 32 << 20;

/** How a file of torch.save before 1.6 begins: a pickled magic number. */
const OLD_FORMAT = "80028a0a6cfc9c46f9206aa850192e";

/** How a file begins that stands for one kept by git-lfs. */
const LFS_POINTER = "version https://git-lfs";

/** What converts a file of any version of torch to the one read here. */
const CONVERSION = 'state = torch.load(name, map_location="cpu", weights_only=True); torch.save(state, name)';

/**
 * The tensors of a file, in the order of its state dict.
 * @throws {ModelError} it is no such file, holds anything but dense tensors, or was made to do harm
 */
export async function readTorchFile(file: ReadableFile): Promise<ReadonlyMap<string, TorchTensor>> {
  await checkBeginning(file);
  const entries = await readArchive(file);
  const pickle = entries.get("data.pkl");
  if (!pickle) throw new ModelError("zip archive: has no data.pkl, which torch.save always writes");
  if (pickle.byteLength > MAX_PICKLE_BYTES) {
    throw new ModelError(`pickle: its ${pickle.byteLength} bytes are above the limit of ${MAX_PICKLE_BYTES}`);
  }
  await checkByteOrder(file, entries.get("byteorder"));
  const bytes = await file.read(pickle.offset, pickle.byteLength);
  return tensorsOf(unpickle(bytes, (id) => findStorage(id, entries)));
}

async function checkBeginning(file: ReadableFile): Promise<void> {
  const start = await file.read(0, Math.min(file.byteLength, LFS_POINTER.length));
  if (start.toHex().startsWith(OLD_FORMAT)) {
    throw new ModelError(`is in the format of torch.save before 1.6. Convert it with Python: ${CONVERSION}`);
  }
  if (new TextDecoder().decode(start) === LFS_POINTER) {
    throw new ModelError("is a git-lfs pointer, not the weights; fetch them with git lfs pull");
  }
}

async function checkByteOrder(file: ReadableFile, entry: ArchiveEntry | undefined): Promise<void> {
  if (!entry) return; // versions before 2.1 wrote none, on little-endian machines
  const text = new TextDecoder().decode(await file.read(entry.offset, Math.min(entry.byteLength, 16)));
  if (text !== "little") throw new ModelError(`its byte order is ${quote(text)}; only little is supported`);
}

/** The storage of a persistent id, ("storage", class, key, device, elements). */
function findStorage(id: PickleValue, entries: ReadonlyMap<string, ArchiveEntry>): Storage {
  if (typeof id !== "object" || id?.kind !== "tuple" || id.items.length !== 5 || id.items[0] !== "storage") {
    throw new ModelError("pickle: a persistent id is not that of a storage");
  }
  const [, storageClass, key, , elements] = id.items;
  const dtype = storageDtype(storageClass);
  const entry = typeof key === "string" ? entries.get(`data/${key}`) : undefined;
  if (!entry) throw new ModelError(`pickle: needs the storage ${quote(key)}, which is not in the archive`);
  const bytes = typeof elements === "number" ? elements * (dtype ? BYTES_PER_ELEMENT[dtype] : 1) : NaN;
  if (bytes !== entry.byteLength) {
    throw new ModelError(
      `pickle: the storage ${quote(key)} should have ${quote(elements)} elements of ${
        dtype ?? "bytes"
      }, but the ` +
        `archive has ${entry.byteLength} bytes`,
    );
  }
  return { kind: "storage", dtype, ...entry };
}

function tensorsOf(value: PickleValue): ReadonlyMap<string, TorchTensor> {
  if (typeof value !== "object" || value?.kind !== "dictionary") {
    throw new ModelError(`pickle: holds ${kindOf(value)}, not a state dict`);
  }
  const tensors = new Map<string, TorchTensor>();
  for (const [name, item] of value.entries) {
    if (typeof name !== "string" || typeof item !== "object" || item?.kind !== "tensor") {
      throw new ModelError(
        `pickle: ${quote(name)} is ${
          kindOf(item)
        }, not a tensor; the file must hold a model's state_dict() alone`,
      );
    }
    tensors.set(name, item);
  }
  return tensors;
}
