/**
 * A tensor from the storage it is a view of. Views that skip or repeat elements (transposed, expanded) are refused:
 * what is read later is one run of bytes.
 */

import { quote } from "../../safetensors/error.ts";
import { BYTES_PER_ELEMENT, type Dtype } from "../../tensor/dtype.ts";
import { elementCount } from "../../tensor/shape.ts";
import { ModelError } from "../../files/model_error.ts";
import { kindOf, type PickleValue, type Storage, type TorchTensor } from "./values.ts";

/** Axes a tensor may have: what torch itself allows. */
const MAX_AXES = 64;

/**
 * The tensor that `args`, (storage, offset in elements, size, stride), describes.
 * @param metadata bits that change how elements read (conjugate, negative): none may be set
 * @param dtype of a storage of raw bytes
 * @throws {ModelError} an argument is of another kind, a size lies, or the view has gaps
 */
export function rebuildTensor(
  args: readonly PickleValue[],
  metadata: PickleValue,
  dtype?: Dtype,
): TorchTensor {
  const [storage, first, size, stride] = args;
  if (!isStorage(storage)) throw new ModelError(`pickle: a tensor's storage is ${kindOf(storage)}`);
  const elementType = storage.dtype ?? dtype;
  if (!elementType) throw new ModelError("pickle: a tensor of raw bytes names no dtype");
  if (!isSize(first)) throw new ModelError(`pickle: a tensor's offset is ${quote(first)}`);
  const shape = sizes(size, "size");
  const strides = sizes(stride, "stride");
  if (metadata !== null && !isEmptyDictionary(metadata)) {
    throw new ModelError("pickle: a tensor is stored conjugated or negated");
  }
  const count = countOf(shape);
  checkDense(shape, strides, count);
  const width = BYTES_PER_ELEMENT[elementType];
  if ((first + count) * width > storage.byteLength) {
    throw new ModelError(
      `pickle: a tensor ${quote(shape)} needs elements ${first}..${first + count} of a storage of ` +
        `${storage.byteLength} bytes`,
    );
  }
  return { kind: "tensor", dtype: elementType, shape, offset: storage.offset + first * width };
}

function countOf(shape: readonly number[]): number {
  try {
    return elementCount(shape);
  } catch (cause) {
    throw new ModelError(`pickle: a tensor's size is ${quote(shape)}`, { cause });
  }
}

function checkDense(shape: readonly number[], strides: readonly number[], count: number): void {
  if (strides.length !== shape.length) {
    throw new ModelError(`pickle: a tensor's size is ${quote(shape)} but its stride ${quote(strides)}`);
  }
  if (count === 0) return;
  let dense = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== dense) {
      throw new ModelError(
        `pickle: a tensor ${quote(shape)} is stored with strides ${quote(strides)}, not row by row; ` +
          "call contiguous() on it before torch.save",
      );
    }
    dense *= shape[axis];
  }
}

function sizes(value: PickleValue | undefined, what: string): number[] {
  if (typeof value !== "object" || value?.kind !== "tuple") {
    throw new ModelError(`pickle: a tensor's ${what} is ${kindOf(value)}`);
  }
  if (value.items.length > MAX_AXES) {
    throw new ModelError(`pickle: a tensor has ${value.items.length} axes, above ${MAX_AXES}`);
  }
  return value.items.map((item) => {
    if (!isSize(item)) throw new ModelError(`pickle: a tensor's ${what} holds ${quote(item)}`);
    return item;
  });
}

function isSize(value: PickleValue | undefined): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function isStorage(value: PickleValue | undefined): value is Storage {
  return typeof value === "object" && value?.kind === "storage";
}

function isEmptyDictionary(value: PickleValue): boolean {
  return typeof value === "object" && value?.kind === "dictionary" && value.entries.size === 0;
}
