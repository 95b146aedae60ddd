/**
 * Products by the MatMul primitive of oneDNN 3. A primitive is the code for products of one size, with one distance
 * between the rows of each matrix and one α and β. To create a primitive takes 1 ms the first time in a process, so
 * primitives are kept.
 */

import type { Gemm } from "./gemm.ts";

/** Every function returns a status, which is 0 if the function succeeded. Handles are addresses of oneDNN's objects. */
export const MATMUL_SYMBOLS = {
  // handle of the new engine, kind, index
  dnnl_engine_create: { parameters: ["buffer", "i32", "usize"], result: "i32" },
  // handle of the new stream, engine, flags
  dnnl_stream_create: { parameters: ["buffer", "usize", "u32"], result: "i32" },
  dnnl_stream_wait: { parameters: ["usize"], result: "i32" },
  // handle of the new description, number of dimensions, dimensions, data type, strides
  dnnl_memory_desc_create_with_strides: {
    parameters: ["buffer", "i32", "buffer", "i32", "buffer"],
    result: "i32",
  },
  dnnl_memory_desc_destroy: { parameters: ["usize"], result: "i32" },
  dnnl_post_ops_create: { parameters: ["buffer"], result: "i32" },
  // operations, algorithm, its two numbers
  dnnl_post_ops_append_eltwise: { parameters: ["usize", "i32", "f32", "f32"], result: "i32" },
  // operations, scale, zero point, data type
  dnnl_post_ops_append_sum: { parameters: ["usize", "f32", "i32", "i32"], result: "i32" },
  dnnl_post_ops_destroy: { parameters: ["usize"], result: "i32" },
  dnnl_primitive_attr_create: { parameters: ["buffer"], result: "i32" },
  dnnl_primitive_attr_set_post_ops: { parameters: ["usize", "usize"], result: "i32" },
  dnnl_primitive_attr_destroy: { parameters: ["usize"], result: "i32" },
  // handle of the new description, engine, descriptions of A, B, the bias and C, attributes
  dnnl_matmul_primitive_desc_create: {
    parameters: ["buffer", "usize", "usize", "usize", "usize", "usize", "usize"],
    result: "i32",
  },
  dnnl_primitive_desc_destroy: { parameters: ["usize"], result: "i32" },
  // handle of the new primitive, its description
  dnnl_primitive_create: { parameters: ["buffer", "usize"], result: "i32" },
  // primitive, stream, number of arguments, arguments
  dnnl_primitive_execute: { parameters: ["usize", "usize", "i32", "buffer"], result: "i32" },
  dnnl_primitive_destroy: { parameters: ["usize"], result: "i32" },
  // handle of the new memory object, its description, engine, address of the elements
  dnnl_memory_create: { parameters: ["buffer", "usize", "usize", "usize"], result: "i32" },
  dnnl_memory_set_data_handle: { parameters: ["usize", "usize"], result: "i32" },
  dnnl_memory_destroy: { parameters: ["usize"], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

type MatMulSymbols = Deno.StaticForeignLibraryInterface<typeof MATMUL_SYMBOLS>;

/** Values of oneDNN's enumerations and macros. */
const CPU_ENGINE = 1, IN_ORDER = 1, ELTWISE_LINEAR = 0x26, TYPE_OF_C = 0;
const BF16 = 2, F32 = 3, NO_BIAS = 0n;
/** The roles of A, B and C in a product. */
const ROLES = [1n, 33n, 17n];

/** The most primitives that are kept. The one that was used least recently is destroyed to make room. */
const MAX_PRIMITIVES = 256;

/** The indices of the arguments that a primitive has: all but the addresses. Arguments that often differ come first. */
const SHAPE = [2, 3, 4, 7, 9, 12, 0, 1, 5, 10];

interface Primitive {
  readonly handle: bigint;
  readonly isRounded: boolean;
  /** The product for which the primitive was created. */
  readonly product: Parameters<Gemm>;
  /** The memory objects of A, B and C. */
  readonly memories: readonly bigint[];
  /** Three pairs of a role and a memory object. */
  readonly args: BigUint64Array<ArrayBuffer>;
}

/** The MatMul primitives of one thread. */
export class MatMul {
  readonly #engine: bigint;
  readonly #stream: bigint;
  /** From the most to the least recently used one, because a product mostly has the shape of one shortly before it. */
  readonly #primitives: Primitive[] = [];

  /** @throws {Error} if oneDNN does not start */
  constructor(private readonly library: MatMulSymbols) {
    this.#engine = this.#create("dnnl_engine_create", CPU_ENGINE, 0n);
    this.#stream = this.#create("dnnl_stream_create", this.#engine, IN_ORDER);
  }

  /**
   * Computes a product of matrices at addresses of this process. C is f32. A and B are bf16 if `isRounded` is set, and
   * f32 otherwise.
   * @throws {Error} if a function of oneDNN fails. The message has its name and its status
   */
  multiply(isRounded: boolean, product: Parameters<Gemm>): void {
    const [, , , , , , a, , b, , , c] = product, { library } = this;
    const { handle, memories: [aMemory, bMemory, cMemory], args } = this.#find(isRounded, product);
    const placed = library.dnnl_memory_set_data_handle(aMemory, BigInt(a)) ||
      library.dnnl_memory_set_data_handle(bMemory, BigInt(b)) ||
      library.dnnl_memory_set_data_handle(cMemory, BigInt(c));
    requireSuccess("dnnl_memory_set_data_handle", placed);
    requireSuccess("dnnl_primitive_execute", library.dnnl_primitive_execute(handle, this.#stream, 3, args));
    requireSuccess("dnnl_stream_wait", library.dnnl_stream_wait(this.#stream));
  }

  #find(isRounded: boolean, product: Parameters<Gemm>): Primitive {
    const primitives = this.#primitives;
    const index = primitives.findIndex((primitive) =>
      SHAPE.every((i) => primitive.product[i] === product[i]) && primitive.isRounded === isRounded
    );
    if (index === 0) return primitives[0];
    const primitive = index > 0 ? primitives.splice(index, 1)[0] : this.#createPrimitive(isRounded, product);
    primitives.unshift(primitive);
    if (primitives.length > MAX_PRIMITIVES) this.#destroy(primitives.pop()!);
    return primitive;
  }

  #createPrimitive(isRounded: boolean, product: Parameters<Gemm>): Primitive {
    const [transA, transB, m, n, k, alpha, , lda, , ldb, beta, , ldc] = product;
    const type = isRounded ? BF16 : F32, attributes = this.#attributes(alpha, beta);
    const a = this.#describe(m, k, type, transA, lda), b = this.#describe(k, n, type, transB, ldb);
    const c = this.#describe(m, n, F32, 0, ldc), matrices = [a, b, c];
    const operands = [this.#engine, a, b, NO_BIAS, c, attributes];
    const description = this.#create("dnnl_matmul_primitive_desc_create", ...operands);
    const handle = this.#create("dnnl_primitive_create", description);
    const memories = matrices.map((matrix) => this.#create("dnnl_memory_create", matrix, this.#engine, 0n));
    this.#call("dnnl_primitive_desc_destroy", description);
    this.#call("dnnl_primitive_attr_destroy", attributes);
    for (const matrix of matrices) this.#call("dnnl_memory_desc_destroy", matrix);
    const args = BigUint64Array.from(memories.flatMap((memory, i) => [ROLES[i], memory]));
    return { handle, isRounded, product, memories, args };
  }

  #destroy({ handle, memories }: Primitive): void {
    this.#call("dnnl_primitive_destroy", handle);
    for (const memory of memories) this.#call("dnnl_memory_destroy", memory);
  }

  /** Describes op(X), (rows, cols), where X is stored by rows with `ld` elements from one row to the next. */
  #describe(rows: number, cols: number, type: number, transposed: number, ld: number): bigint {
    const sizes = BigInt64Array.of(BigInt(rows), BigInt(cols)), distance = BigInt(ld);
    const strides = transposed ? BigInt64Array.of(1n, distance) : BigInt64Array.of(distance, 1n);
    return this.#create("dnnl_memory_desc_create_with_strides", 2, sizes, type, strides);
  }

  /** Returns attributes by which a primitive multiplies the product by α, and then adds β·C. */
  #attributes(alpha: number, beta: number): bigint {
    const attributes = this.#create("dnnl_primitive_attr_create"),
      operations = this.#create("dnnl_post_ops_create");
    if (alpha !== 1) this.#call("dnnl_post_ops_append_eltwise", operations, ELTWISE_LINEAR, alpha, 0);
    if (beta !== 0) this.#call("dnnl_post_ops_append_sum", operations, beta, 0, TYPE_OF_C);
    this.#call("dnnl_primitive_attr_set_post_ops", attributes, operations);
    this.#call("dnnl_post_ops_destroy", operations);
    return attributes;
  }

  /** Calls a function that writes the handle of a new object to its first argument, and returns the handle. */
  #create(name: keyof MatMulSymbols, ...args: readonly (number | bigint | BigInt64Array)[]): bigint {
    const handle = new BigUint64Array(1);
    this.#call(name, handle, ...args);
    return handle[0];
  }

  #call(name: keyof MatMulSymbols, ...args: readonly unknown[]): void {
    requireSuccess(name, (this.library[name] as (...args: readonly unknown[]) => number)(...args));
  }
}

/** @throws {Error} if `status`, which the function `name` of oneDNN returned, is not 0 */
export function requireSuccess(name: string, status: number): void {
  if (status !== 0) throw new Error(`oneDNN failed to multiply: ${name} returned status ${status}`);
}
