/**
 * Computes the position of a tensor in its storage. Views that skip, repeat or reorder elements, such as transposed and expanded tensors,
 * are rejected, because a tensor is read as one consecutive range of bytes.
 */

import { quote } from "../../../base/texts.ts";
import { BYTES_PER_ELEMENT, type Dtype, elementCount } from "../../../tensor/dtype.ts";
import { ModelError } from "../../../base/files/file_error.ts";
import { kindOf, type PickleValue, type TorchStorage, type TorchTensor } from "./pickle_value.ts";

/** The largest number of axes of a tensor, as in torch. */
const MAX_AXES = 64;

/**
 * Checks the arguments of torch's `_rebuild_tensor_v2` and computes where the tensor is stored.
 * @param args the storage, the offset in elements, the size and the stride
 * @param metadata flags that change the meaning of the elements, such as conjugation. No flag may be set.
 * @param dtype the dtype of the elements, if the storage is untyped
 * @throws {ModelError} if an argument has the wrong type, if the tensor does not fit into the storage, or if it is not contiguous
 */
export function rebuildTensor(
  args: readonly PickleValue[],
  metadata: PickleValue,
  dtype?: Dtype,
): TorchTensor {
  const [storage, first, size, stride] = args;
  if (!isStorage(storage)) {
    throw new ModelError(`pickle: a tensor's storage is ${kindOf(storage)}, not a storage`);
  }
  const elementType = storage.dtype ?? dtype;
  if (!elementType) throw new ModelError("pickle: a tensor in an untyped storage names no dtype");
  if (!isSize(first)) {
    throw new ModelError(`pickle: a tensor's offset is ${quote(first)}, not a number of elements`);
  }
  const shape = parseExtents(size, "size");
  const strides = parseExtents(stride, "stride");
  if (metadata !== null && !isEmptyDictionary(metadata)) {
    throw new ModelError("pickle: a tensor is stored conjugated or negated");
  }
  const count = countElements(shape);
  requireContiguous(shape, strides, count);
  const width = BYTES_PER_ELEMENT[elementType];
  if ((first + count) * width > storage.byteLength) {
    throw new ModelError(
      `pickle: a tensor ${quote(shape)} needs elements ${first}..${first + count} of a storage of ` +
        `${storage.byteLength} bytes`,
    );
  }
  return { kind: "tensor", dtype: elementType, shape, offset: storage.offset + first * width };
}

function countElements(shape: readonly number[]): number {
  try {
    return elementCount(shape);
  } catch (cause) {
    throw new ModelError(`pickle: a tensor's size is ${quote(shape)}, which is too large`, { cause });
  }
}

function requireContiguous(shape: readonly number[], strides: readonly number[], count: number): void {
  if (strides.length !== shape.length) {
    throw new ModelError(`pickle: a tensor's size is ${quote(shape)} but its stride ${quote(strides)}`);
  }
  if (count === 0) return;
  let contiguous = 1; // the stride of a contiguous tensor along the axis
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== contiguous) {
      throw new ModelError(
        `pickle: a tensor ${quote(shape)} is stored with strides ${quote(strides)}, not row by row; ` +
          "call contiguous() on it before torch.save",
      );
    }
    contiguous *= shape[axis];
  }
}

function parseExtents(value: PickleValue | undefined, argument: string): number[] {
  if (typeof value !== "object" || value?.kind !== "tuple") {
    throw new ModelError(`pickle: a tensor's ${argument} is ${kindOf(value)}, not a tuple`);
  }
  if (value.items.length > MAX_AXES) {
    throw new ModelError(`pickle: a tensor has ${value.items.length} axes, above the limit of ${MAX_AXES}`);
  }
  return value.items.map((item) => {
    if (!isSize(item)) {
      throw new ModelError(`pickle: a tensor's ${argument} holds ${quote(item)}, not a valid extent`);
    }
    return item;
  });
}

function isSize(value: PickleValue | undefined): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function isStorage(value: PickleValue | undefined): value is TorchStorage {
  return typeof value === "object" && value?.kind === "storage";
}

function isEmptyDictionary(value: PickleValue): boolean {
  return typeof value === "object" && value?.kind === "dictionary" && value.entries.size === 0;
}
