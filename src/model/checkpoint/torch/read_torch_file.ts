/**
 * Reads the positions of the tensors in a weight file that `torch.save` (version 1.6 or later) wrote. Such a file is a zip
 * archive. Its entry `data.pkl` is a pickled state dict, a dictionary of tensors. The entries `data/0`, `data/1` and so on are
 * the storages that contain the data of the tensors. The older format is rejected, because the position of a storage in it is
 * only known after all earlier pickles have been read.
 */

import { quote } from "../../../base/texts.ts";
import { BYTES_PER_ELEMENT } from "../../../tensor/dtype.ts";
import { ModelError } from "../../../base/files/file_error.ts";
import type { ReadableFile } from "../../../base/files/file_system.ts";
import { storageDtype } from "./pickle_globals.ts";
import { unpickle } from "./unpickler.ts";
import { kindOf, type PickleValue, type TorchStorage, type TorchTensor } from "./pickle_value.ts";
import { type ArchiveEntry, readArchive } from "./zip_archive.ts";

/** The largest pickle that is read. The pickle of 15,000 tensors takes 5 MB. */
export const MAX_PICKLE_BYTES = 32 << 20;

/** The first bytes of a file that torch.save before 1.6 wrote, in hexadecimal: a pickled magic number. */
const OLD_FORMAT = "80028a0a6cfc9c46f9206aa850192e";

/** The Python code that converts a file of any version to the supported format. */
const CONVERSION = 'state = torch.load(name, map_location="cpu", weights_only=True); torch.save(state, name)';

/**
 * Reads where the tensors of a file are stored.
 * @returns the tensors by name, in the order of the state dict
 * @throws {ModelError} if the file is malformed, hostile or in another format, or if it contains anything but dense tensors
 */
export async function readTorchFile(file: ReadableFile): Promise<ReadonlyMap<string, TorchTensor>> {
  await checkFormat(file);
  const entries = await readArchive(file);
  const pickle = entries.get("data.pkl");
  if (!pickle) throw new ModelError("zip archive: has no data.pkl, which torch.save always writes");
  if (pickle.byteLength > MAX_PICKLE_BYTES) {
    throw new ModelError(`pickle: its ${pickle.byteLength} bytes are above the limit of ${MAX_PICKLE_BYTES}`);
  }
  await checkByteOrder(file, entries.get("byteorder"));
  const bytes = await file.read(pickle.offset, pickle.byteLength);
  return requireStateDict(unpickle(bytes, (id) => findStorage(id, entries)));
}

async function checkFormat(file: ReadableFile): Promise<void> {
  const start = await file.read(0, Math.min(file.byteLength, OLD_FORMAT.length / 2));
  if (start.toHex().startsWith(OLD_FORMAT)) {
    throw new ModelError(`is in the format of torch.save before 1.6. Convert it with Python: ${CONVERSION}`);
  }
}

async function checkByteOrder(file: ReadableFile, entry: ArchiveEntry | undefined): Promise<void> {
  if (!entry) return; // torch before 2.1 did not write this entry
  const text = new TextDecoder().decode(await file.read(entry.offset, Math.min(entry.byteLength, 16)));
  if (text !== "little") throw new ModelError(`its byte order is ${quote(text)}; only little is supported`);
}

/**
 * Finds the storage that a persistent id names. A persistent id refers to data outside of the pickle. Here it
 * is the tuple ("storage", class, key, device, elements).
 */
function findStorage(id: PickleValue, entries: ReadonlyMap<string, ArchiveEntry>): TorchStorage {
  if (typeof id !== "object" || id?.kind !== "tuple" || id.items.length !== 5 || id.items[0] !== "storage") {
    throw new ModelError("pickle: a persistent id does not name a storage");
  }
  const [, storageClass, key, , elements] = id.items;
  const dtype = storageDtype(storageClass);
  const entry = typeof key === "string" ? entries.get(`data/${key}`) : undefined;
  if (!entry) throw new ModelError(`pickle: needs the storage ${quote(key)}, which is not in the archive`);
  const bytes = typeof elements === "number" ? elements * (dtype ? BYTES_PER_ELEMENT[dtype] : 1) : NaN;
  if (bytes !== entry.byteLength) {
    const wanted = `${quote(elements)} elements of ${dtype ?? "bytes"}`;
    throw new ModelError(
      `pickle: the storage ${
        quote(key)
      } should have ${wanted}, but the archive has ${entry.byteLength} bytes`,
    );
  }
  return { kind: "storage", dtype, ...entry };
}

function requireStateDict(value: PickleValue): ReadonlyMap<string, TorchTensor> {
  if (typeof value !== "object" || value?.kind !== "dictionary") {
    throw new ModelError(`pickle: holds ${kindOf(value)}, not a state dict`);
  }
  const tensors = new Map<string, TorchTensor>();
  for (const [name, item] of value.entries) {
    if (typeof name !== "string" || typeof item !== "object" || item?.kind !== "tensor") {
      const rule = "not a tensor; the file must hold a model's state_dict() alone";
      throw new ModelError(`pickle: ${quote(name)} is ${kindOf(item)}, ${rule}`);
    }
    tensors.set(name, item);
  }
  return tensors;
}
