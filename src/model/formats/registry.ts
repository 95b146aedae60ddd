/** Exports all formats. `deno task generate` writes this file from the names of the files. */

export * from "./awq.ts";
export * from "./compressed_bytes.ts";
export * from "./dense.ts";
export * from "./fp8.ts";
export * from "./gptq.ts";
export * from "./mlx.ts";
export * from "./mxfp4.ts";
export * from "./pack_quantized.ts";
