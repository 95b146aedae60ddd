/**
 * Runs a shader of a kernel and counts the loop iterations of every invocation. Some drivers end loops early
 * after too many iterations, and a test can find this with a further loop that runs after the kernel. To
 * count, the WGSL source is rewritten. Each loop increments a counter, once per iteration and once when the
 * loop ends. A new entry point calls the original one, runs the further loop, and reports the counts.
 */

import { blockEnd } from "../../scripts/self_check/faults/wgsl_faults.ts";
import type { Kernel, ShaderVariant } from "../../src/device/kernels/kernel.ts";
import type { Values } from "../../src/device/kernels/kernel_case.ts";

/** The loop counts of a dispatch. */
export interface LoopReport {
  /** The largest number of loop iterations that any invocation counted in the kernel. */
  readonly iterations: number;
  /**
   * The smallest number of iterations of the further loop that any invocation completed. It is less than
   * requested if the driver ended the loop early.
   */
  readonly completed: number;
}

/** The size of the buffer with the kernel parameters, in bytes. */
const PARAMS_BYTES = 256;

/**
 * Compiles a shader with counters in its loops, and returns a function that dispatches it. After the kernel, every invocation runs a
 * further loop of `furtherIterations`.
 *
 * @throws {GPUError} if the rewritten shader does not compile
 */
export async function countedShader(device: GPUDevice, kernel: Kernel, shader: ShaderVariant) {
  device.pushErrorScope("validation");
  const layouts = [operandLayout(device, kernel), reportLayout(device)];
  const entryPoint = shader.entryPoint ?? kernel.name;
  const pipeline = device.createComputePipeline({
    layout: device.createPipelineLayout({ bindGroupLayouts: layouts }),
    compute: {
      module: device.createShaderModule({ code: countLoops(shader.code, entryPoint) }),
      entryPoint,
      constants: shader.constants,
    },
  });
  await throwErrorOfScope(device);
  const storage = (words: Values, usage = 0) => {
    const buffer = device.createBuffer({
      size: Math.max(4, words.byteLength),
      usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | usage,
    });
    device.queue.writeBuffer(buffer, 0, words);
    return buffer;
  };
  const bind = (layout: GPUBindGroupLayout, buffers: readonly GPUBuffer[]) =>
    device.createBindGroup({
      layout,
      entries: buffers.map((buffer, binding) => ({ binding, resource: { buffer } })),
    });

  return async (
    params: Readonly<Record<string, number>>,
    contents: Readonly<Record<string, Values>>,
    furtherIterations: number,
  ): Promise<LoopReport> => {
    device.pushErrorScope("validation");
    const operands = Object.keys(kernel.bindings).map((name) => storage(contents[name]));
    const uniform = storage(encodeParams(kernel, params), GPUBufferUsage.UNIFORM);
    const report = storage(Uint32Array.of(0, 0xffffffff, furtherIterations), GPUBufferUsage.COPY_SRC);
    const readable = device.createBuffer({
      size: 12,
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    });
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bind(layouts[0], [...operands, uniform]));
    pass.setBindGroup(1, bind(layouts[1], [report]));
    pass.dispatchWorkgroups(...shader.grid(params));
    pass.end();
    encoder.copyBufferToBuffer(report, 0, readable, 0, 12);
    device.queue.submit([encoder.finish()]);
    await throwErrorOfScope(device);
    await readable.mapAsync(GPUMapMode.READ);
    const [iterations, completed] = new Uint32Array(readable.getMappedRange().slice(0));
    for (const buffer of [...operands, uniform, report, readable]) buffer.destroy();
    return { iterations, completed };
  };
}

async function throwErrorOfScope(device: GPUDevice): Promise<void> {
  const error = await device.popErrorScope();
  if (error) throw error;
}

function operandLayout(device: GPUDevice, { bindings }: Kernel): GPUBindGroupLayout {
  const types = Object.values(bindings).map((access) => access === "read" ? "read-only-storage" : "storage");
  return device.createBindGroupLayout({
    entries: [...types, "uniform" as const].map((type, binding) => ({
      binding,
      visibility: GPUShaderStage.COMPUTE,
      buffer: { type },
    })),
  });
}

function reportLayout(device: GPUDevice): GPUBindGroupLayout {
  return device.createBindGroupLayout({
    entries: [{ binding: 0, visibility: GPUShaderStage.COMPUTE, buffer: { type: "storage" } }],
  });
}

/** Encodes the kernel parameters as the words of the uniform buffer. */
function encodeParams(kernel: Kernel, params: Readonly<Record<string, number>>): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(PARAMS_BYTES / 4), floats = new Float32Array(words.buffer);
  Object.entries(kernel.params).forEach(([name, type], i) => {
    (type === "f32" ? floats : words)[i] = params[name];
  });
  return words;
}

/**
 * Rewrites WGSL source so that its loops are counted and `entryPoint` reports the counts.
 *
 * @throws {RangeError} if the source has no such entry point
 */
export function countLoops(code: string, entryPoint: string): string {
  const counted = countEachLoop(code.replace(/\/\/.*$/gm, ""));
  const entry = new RegExp(`@compute\\s+(@workgroup_size\\(.*\\))\\s*fn ${entryPoint}\\(([^{]*)\\)\\s*{`);
  const match = counted.match(entry);
  if (!match) throw new RangeError(`no entry point ${entryPoint}`);
  const [whole, size, parameters] = match;
  const plain = parameters.replace(/@builtin\(\w+\)\s*/g, "");
  const names = [...plain.matchAll(/(\w+)\s*:/g)].map(([, name]) => name);
  return `
var<private> loop_iterations: u32;
struct LoopReport { iterations: atomic<u32>, completed: atomic<u32>, further: u32 }
@group(1) @binding(0) var<storage, read_write> loop_report: LoopReport;
${counted.replace(whole, `fn counted_body(${plain}) {`)}
@compute ${size} fn ${entryPoint}(${parameters}) {
  counted_body(${names.join(", ")});
  atomicMax(&loop_report.iterations, loop_iterations);
  var completed = 0u;
  for (var i = 0u; i < loop_report.further; i++) { completed++; }
  atomicMin(&loop_report.completed, completed);
}`;
}

/** Inserts an increment at the start of each loop's body and another one after the loop. `code` has no comments. */
function countEachLoop(code: string): string {
  const insertions: number[] = [];
  for (const { index } of code.matchAll(/\b(?:for|while|loop)\b/g)) {
    const open = bodyStart(code, index);
    insertions.push(open + 1, blockEnd(code, open) + 1);
  }
  const increment = " loop_iterations++; ";
  let counted = code;
  for (const at of insertions.sort((a, b) => b - a)) {
    counted = counted.slice(0, at) + increment + counted.slice(at);
  }
  return counted;
}

/** The index of the brace that opens the body of the loop at `index`: the first one outside of parentheses. */
function bodyStart(code: string, index: number): number {
  for (let at = index, depth = 0;; at++) {
    if (code[at] === "(") depth++;
    else if (code[at] === ")") depth--;
    else if (code[at] === "{" && depth === 0) return at;
  }
}
